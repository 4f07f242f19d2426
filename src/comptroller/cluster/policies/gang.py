"""Gang scheduling: all ranks of a job run in the same slices of time, and jobs take turns.

Source: Ousterhout (1982), "Scheduling techniques for concurrent systems"; Feitelson and Rudolph (1992).
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_view import JobGrant, JobView, turns

EVERY_S = 1800
"""Length of a slice: thirty times the restart that ends it. At half of it restarts take twice the share."""


def grants(view: JobView) -> list[JobGrant]:
    """Who runs keeps its GPUs until its slice is over, then who has waited longest comes first."""
    ran_out = (view.held > 0) & (view.clock_s - view.since_s >= EVERY_S)
    runs = (view.held > 0) & ~ran_out
    return turns(view, np.lexsort((np.where(runs, view.submitted_s, view.since_s), ~runs)))

"""Shortest remaining time first, by the service left times the GPUs asked for; who has more left is stopped.

Source: SRTF as Tiresias compares with it (Gu et al., NSDI 2019). It knows durations, which no scheduler does.
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_view import JobGrant, JobView, turns

NEEDS = ("durations",)


def grants(view: JobView) -> list[JobGrant]:
    """The jobs with the least GPU-seconds left that fit together."""
    return turns(view, np.argsort(view.remaining_s * view.asked, kind="stable"))

"""Least attained service in two queues: jobs that received little run first, those within a queue by submission.

Source: Tiresias, discretised 2D-LAS (Gu et al., NSDI 2019).
"""

from __future__ import annotations

import numpy as np

from comptroller.cluster.job_view import JobGrant, JobView, turns

EVERY_S = 300
"""A job passes to the second queue at the next such moment. At half of it, jobs pass on sooner and stop more often."""
LIMIT_GPU_S = 3200.0
"""GPU-seconds after which a job is in the second queue: the threshold of the paper's evaluation. At twice as many more
jobs run to their end before any of them is stopped."""


def grants(view: JobView) -> list[JobGrant]:
    """Those of the first queue, then those of the second, as many as fit together."""
    second = view.received_gpu_s >= LIMIT_GPU_S
    return turns(view, np.lexsort((view.submitted_s, second)))

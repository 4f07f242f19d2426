"""Steps whose kernels are shorter than their launches."""

from __future__ import annotations

import numpy as np

from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer


def launched_s(ready: ReplicaTimer, step: ReplicaStep, launch_s: float) -> float:
    """Seconds of one step where every call lasts at least its launch: an engine that replays no graph.

    t = sum over operations of max(t_operation, calls * t_launch)

    step: one point.  A device whose kernels are long hides the launches; one whose kernels are short waits for them.
    """
    seconds, _, _ = ready.seconds(step)
    return float(np.maximum(seconds[:, 0], ready.operations.count * launch_s).sum())

"""A budget of calls: the number of calls so far."""

from __future__ import annotations

import numpy as np

from comptroller.strategies.monitors import Floats, MonitorLessons, RunSignal
from comptroller.work.trajectories import AgentTrajectories


def signal_of(lessons: MonitorLessons) -> RunSignal:
    """The number of calls so far."""
    return _calls


def _calls(calls: AgentTrajectories) -> Floats:
    return (calls.step + 1).astype(np.float64)

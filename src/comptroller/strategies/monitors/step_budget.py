"""A budget of calls: the number of calls so far."""

from __future__ import annotations

import numpy as np

from comptroller.strategies.monitors import Floats, RunSignal
from comptroller.work.trajectories import AgentTrajectories


def signal_of(training: AgentTrajectories) -> RunSignal:
    """The number of calls so far; nothing is learned."""
    return _calls


def _calls(calls: AgentTrajectories) -> Floats:
    return (calls.step + 1).astype(np.float64)

"""A budget of dollars: what the run has cost so far."""

from __future__ import annotations

from comptroller.strategies.monitors import Floats, MonitorLessons, RunSignal
from comptroller.strategies.monitors._windows import total_so_far
from comptroller.work.trajectories import AgentTrajectories


def signal_of(lessons: MonitorLessons) -> RunSignal:
    """Dollars so far. Calls without a recorded price count as 0."""
    return _dollars


def _dollars(calls: AgentTrajectories) -> Floats:
    return total_so_far(calls, calls.usd)

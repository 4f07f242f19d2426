"""Milestones: calls since the last long reply, in which an agent writes (an edit, a test) and does not only look."""

from __future__ import annotations

import numpy as np

from comptroller.strategies.monitors import Floats, MonitorLessons, RunSignal
from comptroller.strategies.monitors._windows import calls_since
from comptroller.work.trajectories import AgentTrajectories

LONG = 0.8
"""Quantile of the reply's tokens in the training runs from which on a reply is long: a fifth of all calls."""


def lessons_of(training: AgentTrajectories) -> MonitorLessons:
    """Tokens from which on a reply is long, by the training runs' lengths."""
    return {"long_tokens": float(np.quantile(training.output_tokens, LONG)) if training.output_tokens.size else 0.0}


def signal_of(lessons: MonitorLessons) -> RunSignal:
    """Calls since the last long reply."""
    least = float(lessons["long_tokens"])

    def signal(calls: AgentTrajectories) -> Floats:
        return calls_since(calls, calls.output_tokens >= least)

    return signal

"""A stuck agent: of the last calls, the share whose tool gave back as many characters as a call shortly before.

An agent that repeats itself sees the same again. The texts of actions would say it more surely than the length of what
they gave back, which is what records of calls have; two different results of one length are rare beyond short ones.
"""

from __future__ import annotations

import numpy as np

from comptroller.strategies.monitors import Floats, MonitorLessons, RunSignal
from comptroller.strategies.monitors._windows import mean_of_last
from comptroller.work.trajectories import AgentTrajectories

WINDOW = 10
"""Calls looked back on, and over which the share is taken: OpenHands' detector of loops looks at the last 4 to 12."""

SHORT = 40
"""Characters of a result at most as long as which nothing is read off its length: an exit code, an empty list."""


READS = ("observation",)


def signal_of(lessons: MonitorLessons) -> RunSignal:
    """The share of repeated results."""
    return repeated_share


def repeated_share(calls: AgentTrajectories) -> Floats:
    """Share of the last calls of the run whose result is as long as one of the results before it."""
    seen, run = np.nan_to_num(calls.observation), calls.run
    again = np.zeros(len(seen), bool)
    for back in range(1, WINDOW + 1):
        same = (seen[back:] == seen[:-back]) & (run[back:] == run[:-back])
        again[back:] |= same
    return mean_of_last(calls, (again & (seen > SHORT)).astype(float), WINDOW)

"""Sums and means over the calls of a run so far, or over its last few."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.work.trajectories import AgentTrajectories

Floats = npt.NDArray[np.float64]


def total_so_far(calls: AgentTrajectories, column: Floats) -> Floats:
    """Sum of a column over the calls of the run up to each; unknown cells count as 0."""
    known = np.cumsum(np.nan_to_num(column))
    before = np.concatenate(([0.0], known))[calls.starts[:-1]]
    return np.asarray(known - before[calls.run])


def mean_of_last(calls: AgentTrajectories, column: Floats, most: int) -> Floats:
    """Mean of a column over the last calls of the run, at most so many."""
    known = np.concatenate(([0.0], np.cumsum(np.nan_to_num(column))))
    ends = np.arange(len(calls.run)) + 1
    first = np.maximum(ends - most, calls.starts[calls.run])
    return np.asarray((known[ends] - known[first]) / (ends - first))


def calls_since(calls: AgentTrajectories, event: npt.NDArray[np.bool_]) -> Floats:
    """Calls of the run since the last one with an event, 0 at it; since the beginning where there was none."""
    here = np.arange(len(calls.run))
    last = np.maximum.accumulate(np.where(event, here, -1))
    begin = calls.starts[calls.run]
    return np.asarray(np.where(last >= begin, here - last, here - begin + 1), np.float64)

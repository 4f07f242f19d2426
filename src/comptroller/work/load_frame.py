"""What every forecast of a load shares: how far it looks, its season, its quantiles, and what it may look back at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Floats = npt.NDArray[np.float64]

ForecastQuantiles = Callable[[Floats], Floats]
"""From all values up to a moment to quantiles of the next steps: (horizon, levels), rising along levels."""

LEVELS = tuple((2 * place + 1) / 20 for place in range(10))
"""Quantiles of a forecast: the middles of ten equal parts, so that twice the mean pinball loss over them is the CRPS of
the ten points (Gneiting and Raftery 2007, section 4.2). The first and the last bound 90 %."""

RECENT = 6
"""Latest values that a regression sees: an hour of ten-minute windows. Twelve changed no CRPS of the recorded loads by
more than its noise."""


@dataclass(frozen=True, slots=True)
class ForecastFrame:
    """How far a forecast looks. horizon: steps ahead.  season: steps after which a load is alike, 0 for none.  levels:
    of its quantiles, rising."""

    horizon: int
    season: int = 0
    levels: tuple[float, ...] = LEVELS

    def __post_init__(self) -> None:
        if self.horizon < 1 or self.season < 0:
            raise InputError(f"forecast of {self.horizon} steps, season {self.season}; allowed: from 1, from 0")
        if any(not 0 < level < 1 for level in self.levels) or list(self.levels) != sorted(set(self.levels)):
            raise InputError(f"quantiles {self.levels}; allowed: rising, each between 0 and 1")


def ahead_of(values: Floats, horizon: int) -> Floats:
    """The next `horizon` values of each moment that has them: (moments, horizon).

    >>> ahead_of(np.array([1.0, 2.0, 3.0, 4.0]), 2).tolist()
    [[2.0, 3.0], [3.0, 4.0]]
    """
    return np.lib.stride_tricks.sliding_window_view(values[1:], horizon)


def rising(quantiles: Floats) -> Floats:
    """Quantiles none of which is below a lower one: crossed ones are sorted (Chernozhukov et al. 2010)."""
    return np.asarray(np.sort(quantiles, axis=-1))


def first_moment(frame: ForecastFrame) -> int:
    """The first moment that all of `signals` are known at."""
    return max(RECENT, frame.season) - 1


def signals(values: Floats, frame: ForecastFrame, step: int) -> Floats:
    """What a regression for the value `step` ahead sees at each moment from `first_moment` on: (moments, columns).

    The latest values, their mean; where there is a season, the value and the mean of three about it one season before
    the target, and the mean of the season so far.
    """
    first = first_moment(frame)
    moments = np.arange(first, values.size)
    columns = [values[moments - lag] for lag in range(RECENT)]
    columns.append(np.mean(columns, axis=0))
    if frame.season:
        sums = np.concatenate([[0.0], np.cumsum(values)])
        before = moments + step - frame.season * -(-step // frame.season)
        low, high = np.maximum(before - 1, 0), np.minimum(before + 1, moments)
        columns += [values[before], (sums[high + 1] - sums[low]) / (high + 1 - low)]
        columns.append((sums[moments + 1] - sums[moments + 1 - frame.season]) / frame.season)
    return np.stack(columns, axis=1)

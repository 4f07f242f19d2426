"""What a scaling policy sees of a service: its past by the second, and what one replica is meant to carry."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Seconds = npt.NDArray[np.float64]
"""A value for every second so far, the last one the latest; mean over the second for arrivals, else at its end."""


class ScalingView(NamedTuple):
    """A service at one moment.

    arrivals: calls per second.  in_flight: calls in the service, waiting or running.  queued: those not admitted.
    cache: share of the cache in use, over replicas that take calls.  ready: replicas that take calls, by the second.
    current: those ready and those on their way.  target_calls, target_per_s: what one replica is to have in flight, and
    to take a second.  capacity_per_s: what it can take within the objectives, however full it is to be.
    start_up_s: from the decision until a replica takes calls.  least, most: replicas.  share: of the calls that are to
    be within the objectives.
    """

    arrivals: Seconds
    in_flight: Seconds
    queued: Seconds
    cache: Seconds
    ready: Seconds
    current: int
    target_calls: float
    target_per_s: float
    capacity_per_s: float
    start_up_s: float
    least: int
    most: int
    share: float = 0.95


def recent(values: Seconds, seconds: int) -> Seconds:
    """The last so many seconds, fewer at the start.

    >>> recent(np.array([1.0, 2.0, 3.0]), 2).tolist()
    [2.0, 3.0]
    """
    return values[-seconds:]


def mean(values: Seconds, seconds: int) -> float:
    """Mean over the last so many seconds; 0 where nothing was seen yet."""
    kept = recent(values, seconds)
    return float(kept.mean()) if kept.size else 0.0


def moving_mean(values: Seconds, seconds: int) -> Seconds:
    """Mean over the so many seconds that end with each second, fewer at the start.

    >>> moving_mean(np.array([2.0, 4.0, 6.0]), 2).tolist()
    [2.0, 3.0, 5.0]
    """
    sums = np.cumsum(values)
    means = sums / np.minimum(np.arange(1, values.size + 1), seconds)
    means[seconds:] = (sums[seconds:] - sums[:-seconds]) / seconds
    return np.asarray(means)


def whole(replicas: float) -> int:
    """Whole replicas that carry so many; what is above a whole number by rounding alone is not one more."""
    return math.ceil(replicas - 1e-9)

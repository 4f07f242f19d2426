"""What loads followed moments like this one, in the past of a service: a predictive distribution without a model.

A load is told in replicas, on two scales of time. Bursts of seconds may be spread over what comes after them, by the
fill that is asked for; the level of minutes may not, for a queue that grows for minutes outlasts any objective. So a
fill above 1, which suits a load that is calm between bursts, leaves none short that stays high.
"""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling_view import ScalingView, Seconds, moving_mean

SHORT_S, LONG_S = 20, 120
"""Means of arrivals that say what a moment is like, and what has to be carried: the burst of now, the level about it.
A queue of twenty seconds is what objectives of seconds cannot hide."""

STRIDE_S = 5
"""Moments of the past that are compared are so far apart; a mean of twenty seconds changes little within."""

MOST_MOMENTS = 4000
"""Moments that are compared at most, evenly over the past: those of five and a half hours are, of days every so many.
Twice as many take twice as long, and a day's level is among them every twenty seconds."""

LIKE = 60
"""Moments that are most like now: five minutes of them for a 95th percentile. Fewer follow chance, twice as many are
half of an hour's past and no longer like now."""


def needed_replicas(view: ScalingView, ahead_s: int) -> tuple[Seconds, Seconds] | None:
    """The most replicas needed in the `ahead_s` seconds after each moment that was like now, and weights; none where no
    moment lies so far back.

    Needed is burst / target_per_s, and no less than level / capacity_per_s. Likeness is distance in the logarithms of
    both means; the nearest `LIKE` moments count, the nearer the more.
    """
    load, level = (moving_mean(view.arrivals, seconds) for seconds in (SHORT_S, LONG_S))
    stride = max(STRIDE_S, load.size // MOST_MOMENTS)
    moments = np.arange(SHORT_S, load.size - ahead_s, stride)
    if not moments.size:
        return None
    floor = max(0.05 * float(load.mean()), 1e-9)
    place = np.log(np.stack([each[np.append(moments, -1)] for each in (load, level)]) + floor)
    apart = np.abs(place[:, :-1] - place[:, -1:]).sum(axis=0)
    like = apart.size - 1 - np.argsort(apart[::-1], kind="stable")[:LIKE]  # of those alike the latest
    reach = max(float(apart[like[-1]]), 1e-9)
    weights = np.maximum(1 - (apart[like] / (1.001 * reach)) ** 2, 0.02)
    needed = np.maximum(load / view.target_per_s, level / view.capacity_per_s)
    # what was, lasts: a burst that is under way has to be carried whatever followed others
    most = np.array([needed[at + 1 : at + ahead_s + 1].max() for at in moments[like]])
    return np.maximum(most, needed[-1]), weights


def clearing_replicas(view: ScalingView) -> float:
    """Replicas that clear within a start-up what waits already."""
    return float(view.queued[-1]) / max(view.start_up_s, 1.0) / view.target_per_s


def weighted_quantile(values: Seconds, weights: Seconds, level: float) -> float:
    """The smallest value up to which at least this share of the weights lies.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.7)
    2.0
    """
    order = np.argsort(values)
    shares = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(shares, level * shares[-1] - 1e-12))])

"""What loads followed moments like this one, in the past of a service: a predictive distribution without a model."""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling_view import ScalingView, Seconds, moving_mean

SHORT_S, LONG_S = 20, 120
"""Means of arrivals that say what a moment is like: the burst of now, and the level about it. The load that has to be
carried is the shorter one: a queue of twenty seconds is what objectives of seconds cannot hide."""

STRIDE_S = 5
"""Moments of the past that are compared are so far apart; a mean of twenty seconds changes little within."""

MOST_MOMENTS = 4000
"""Moments that are compared at most, evenly over the past: those of five and a half hours are, of days every so many.
Twice as many take twice as long, and a day's level is among them every twenty seconds."""

LIKE = 60
"""Moments that are most like now: five minutes of them for a 95th percentile. Fewer follow chance, twice as many are
half of an hour's past and no longer like now."""


def largest_loads(view: ScalingView, ahead_s: int) -> tuple[Seconds, Seconds] | None:
    """The largest load, in calls a second, of the `ahead_s` seconds after each moment that was like now, and weights;
    none where no moment lies so far back.

    Likeness is distance in the logarithms of both means; the nearest `LIKE` moments count, the nearer the more.
    """
    load = moving_mean(view.arrivals, SHORT_S)
    stride = max(STRIDE_S, load.size // MOST_MOMENTS)
    moments = np.arange(SHORT_S, load.size - ahead_s, stride)
    if not moments.size:
        return None
    level = moving_mean(view.arrivals, LONG_S)
    floor = max(0.05 * float(load.mean()), 1e-9)
    place = np.log(np.stack([each[np.append(moments, -1)] for each in (load, level)]) + floor)
    apart = np.abs(place[:, :-1] - place[:, -1:]).sum(axis=0)
    like = apart.size - 1 - np.argsort(apart[::-1], kind="stable")[:LIKE]  # of those alike the latest
    reach = max(float(apart[like[-1]]), 1e-9)
    weights = np.maximum(1 - (apart[like] / (1.001 * reach)) ** 2, 0.02)
    # what was, lasts: a burst that is under way has to be carried whatever followed others
    peaks = np.array([load[at + 1 : at + ahead_s + 1].max() for at in moments[like]])
    return np.maximum(peaks, load[-1]), weights


def weighted_quantile(values: Seconds, weights: Seconds, level: float) -> float:
    """The smallest value up to which at least this share of the weights lies.

    >>> weighted_quantile(np.array([3.0, 1.0, 2.0]), np.array([1.0, 1.0, 2.0]), 0.7)
    2.0
    """
    order = np.argsort(values)
    shares = np.cumsum(weights[order])
    return float(values[order][int(np.searchsorted(shares, level * shares[-1] - 1e-12))])

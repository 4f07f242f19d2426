"""A quantile of what the load will be once a replica that is asked for now takes calls, and what already waits.

How far the load rose within a start-up is read off the past of the service itself: the quantile of those rises, at the
ratio of what a missing replica and a spare one cost (the newsvendor's), is added to the load of now.
"""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling_view import ScalingView, Seconds, moving_mean, whole

EVERY_S = 10
WINDOW_S = 30
"""The load is the mean rate of so many seconds: of calls that arrive, not of those in flight, which grow with delay."""
UNDER, OVER = 9.0, 1.0
"""Costs of a missing replica and of a spare one: 9 to 1 covers the ninth decile. Twice the ratio covers 95 %."""


def wish(view: ScalingView) -> int:
    """The forecast over the rate of a replica, and the replicas that clear what waits within a start-up."""
    load = moving_mean(view.arrivals, WINDOW_S)
    ahead = int(view.start_up_s) + EVERY_S
    rise = float(np.quantile(rises(load, ahead), UNDER / (UNDER + OVER)))
    waiting = float(view.queued[-1]) / max(view.start_up_s, 1.0)
    return whole((float(load[-1]) + rise + waiting) / view.target_per_s)


def rises(load: Seconds, ahead: int) -> Seconds:
    """How far the largest load of the next so many seconds was above that of each second; 0 where nothing is known.

    >>> rises(np.array([1.0, 3.0, 2.0, 2.0]), 2).tolist()
    [2.0, 0.0]
    """
    count = load.size - ahead
    if count <= 0:
        return np.zeros(1)
    windows = np.lib.stride_tricks.sliding_window_view(load, ahead + 1)
    return np.asarray(windows.max(axis=1) - load[:count])

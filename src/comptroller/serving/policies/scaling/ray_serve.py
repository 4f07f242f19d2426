"""Ray Serve: ongoing requests over a look-back of 30 s, and a wish that has to last.

Source: docs.ray.io, serve/advanced-guides/advanced-autoscaling, defaults: up after 30 s, down after 600 s.
"""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling_view import ScalingView, moving_mean, recent

EVERY_S = 10
LOOK_BACK_S, UP_S, DOWN_S = 30, 30, 600


def wish(view: ScalingView) -> int:
    """The latest wish where all of the delay were for more, or all for fewer."""
    wishes = np.ceil(moving_mean(view.in_flight, LOOK_BACK_S) / view.target_calls - 1e-9)
    up, down = recent(wishes, UP_S), recent(wishes, DOWN_S)
    if up.size >= UP_S and (up > view.current).all():
        return int(wishes[-1])
    if down.size >= DOWN_S and (down < view.current).all():
        return int(wishes[-1])
    return view.current

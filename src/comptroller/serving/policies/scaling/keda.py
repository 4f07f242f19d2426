"""KEDA as llm-d sets it up: by waiting calls and by cache in use, every half minute, then the pod autoscaler's rules.

Source: KEDA's defaults (polling 30 s, cooldown 300 s) and the thresholds of llm-d-autoscaling, issue 1517: 30 waiting
calls a replica, 60 % of the cache.
"""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling.hpa import STABILISATION_S, UP, UP_PODS
from comptroller.serving.policies.scaling_view import ScalingView, recent, whole

EVERY_S = 30
WAITING, CACHE = 30.0, 0.6


def wish(view: ScalingView) -> int:
    """The larger wish of the two triggers; fewer once no wish of the cooldown was for as many."""
    wishes = np.maximum(view.queued / WAITING, view.cache * view.ready / CACHE)
    now = whole(float(wishes[-1]))
    if now > view.current:
        return min(now, max(whole(UP * view.current), view.current + UP_PODS))
    return min(view.current, whole(float(recent(wishes, STABILISATION_S).max())))

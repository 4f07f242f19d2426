"""AIBrix's pod autoscaler: in proportion to use over target, within tolerances and rates.

Source: aibrix, pkg/controller/podautoscaler/algorithm/apa.go; its defaults: tolerances of 10 %, at most twice or half.
"""

from __future__ import annotations

import math

from comptroller.serving.policies.scaling_view import ScalingView, mean, whole

EVERY_S = 15
WINDOW_S = 60
TOLERANCE = 0.1
RATE = 2.0


def wish(view: ScalingView) -> int:
    """n times use over target, where that is outside of the tolerance."""
    ratio = mean(view.in_flight, WINDOW_S) / (view.target_calls * view.current)
    if ratio > 1 + TOLERANCE:
        return min(whole(view.current * ratio), whole(RATE * view.current))
    if ratio < 1 - TOLERANCE:
        return max(whole(view.current * ratio), math.floor(view.current / RATE))
    return view.current

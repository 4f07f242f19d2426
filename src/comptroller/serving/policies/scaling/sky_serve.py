"""SkyServe: calls per second of the last minute over those that a replica is to take.

Source: skypilot, sky/serve/constants.py: a window of 60 s, a decision every 20 s.
"""

from __future__ import annotations

from comptroller.serving.policies.scaling_view import ScalingView, mean, whole

EVERY_S = 20
WINDOW_S = 60


def wish(view: ScalingView) -> int:
    """The rate over the rate of a replica."""
    return whole(mean(view.arrivals, WINDOW_S) / view.target_per_s)

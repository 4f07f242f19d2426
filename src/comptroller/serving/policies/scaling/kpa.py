"""Knative's pod autoscaler: a stable window of a minute and a panic window of a tenth of it.

Source: knative.dev/docs/serving/autoscaling, defaults; replicas come and go by concurrency over 70 % of its target.
"""

from __future__ import annotations

import numpy as np

from comptroller.serving.policies.scaling_view import ScalingView, mean, moving_mean, recent, whole

EVERY_S = 2
STABLE_S, PANIC_S = 60, 6
UTILISATION = 0.7
"""Share of the target concurrency that is filled."""
PANIC = 2.0
"""Panic where the short window wants so many times the ready replicas."""
DOWN = 2.0
"""At most divided by so much at once."""


def wish(view: ScalingView) -> int:
    """The stable window's wish; in panic, which lasts a stable window, the larger of both and never fewer."""
    filled = view.target_calls * UTILISATION
    stable = whole(mean(view.in_flight, STABLE_S) / filled)
    short = np.ceil(moving_mean(view.in_flight, PANIC_S) / filled)
    alarms = recent(short - PANIC * np.maximum(view.ready, 1), STABLE_S)
    wanted = max(stable, int(short[-1]), view.current) if alarms.max() >= 0 else stable
    return max(wanted, int(view.ready[-1] // DOWN))

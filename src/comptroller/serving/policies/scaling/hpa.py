"""Kubernetes' horizontal pod autoscaler on calls in flight per replica.

Source: kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale, defaults: every 15 s, a tolerance of 10 %, no
scale-down below the largest wish of five minutes, up by 100 % or four pods.
"""

from __future__ import annotations

from comptroller.serving.policies.scaling_view import ScalingView, recent, whole

EVERY_S = 15
TOLERANCE = 0.1
STABILISATION_S = 300
UP, UP_PODS = 2.0, 4


def wish(view: ScalingView) -> int:
    """The wish of now if it is for more, else the largest of the stabilisation window."""
    return by_ratio(view, float(view.in_flight[-1]))


def by_ratio(view: ScalingView, calls: float) -> int:
    """Replicas in proportion to calls over their target, with the tolerance, the window and the limit on steps."""
    ratio = calls / (view.target_calls * view.current)
    if abs(ratio - 1) <= TOLERANCE:
        return view.current
    if ratio > 1:
        limit = max(whole(UP * view.current), view.current + UP_PODS)
        return min(whole(view.current * ratio), limit)
    most = recent(view.in_flight, STABILISATION_S).max()
    return min(view.current, whole(float(most) / view.target_calls))

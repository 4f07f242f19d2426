"""NVIDIA Dynamo's planner: a floor by throughput every three minutes, load every five seconds.

Source: ai-dynamo, components/src/dynamo/planner/core, defaults. Its regression of latency on load is taken as a line
through the target: up where a replica has more in flight than its target, down by one where the others would then have
less than 80 % of it. Throughput is forecast as that of the last interval (its `constant`).
"""

from __future__ import annotations

from comptroller.serving.policies.scaling_view import ScalingView, whole

EVERY_S = 5
INTERVAL_S = 180
HEADROOM = 0.8


def wish(view: ScalingView) -> int:
    """One more, one fewer or as many, and no fewer than the throughput of the last whole interval asks for."""
    whole_intervals = view.arrivals.size // INTERVAL_S * INTERVAL_S
    last = view.arrivals[max(whole_intervals - INTERVAL_S, 0) : whole_intervals]
    floor = whole(float(last.mean()) / view.target_per_s) if last.size else view.least
    load = float(view.in_flight[-1]) / view.target_calls
    if load > max(float(view.ready[-1]), 1.0) and view.ready[-1] >= view.current:
        return max(floor, view.current + 1)
    fewer = view.current - 1
    if fewer >= 1 and load / fewer < HEADROOM:
        return max(floor, fewer)
    return max(floor, view.current)

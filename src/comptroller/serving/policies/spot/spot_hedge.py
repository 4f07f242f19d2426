"""SkyServe's SpotHedge: spot over zones that have not lost or refused a replica lately, some more than the target, and
one on demand for each that is not ready.

Zones that lose or refuse a replica leave the list of active ones; with fewer than two active, all are active again.
Source: arXiv 2411.01438, section 4; skypilot, sky/serve/spot_placer.py (DynamicFallbackSpotPlacer). A decision is made
every 20 s (sky/serve/constants.py).
"""

from __future__ import annotations

from comptroller.serving.policies.spot_view import SpotView, SpotWish, allocation

EVERY_S = 20


def place(view: SpotView) -> SpotWish:
    """Target and extra replicas on active zones; on demand min(target, target + extra - ready spot)."""
    active = active_zones(view)
    goal = view.target + view.extra
    return SpotWish(allocation(view, active, goal), max(0, min(view.target, goal - sum(view.ready))))


def active_zones(view: SpotView) -> list[int]:
    """Zones that were not left since they last granted a replica, kept up from decision to decision."""
    active: set[int] = view.memory.setdefault("active", set(range(len(view.ready))))
    since = view.memory.get("decided_s", float("-inf"))
    for zone in range(len(view.ready)):
        if view.granted_s[zone] > since:
            active.add(zone)
        if max(view.lost_s[zone], view.refused_s[zone]) > max(since, view.granted_s[zone]):
            active.discard(zone)
            if len(active) < 2:
                active.update(range(len(view.ready)))
    view.memory["decided_s"] = view.now_s
    return sorted(active)

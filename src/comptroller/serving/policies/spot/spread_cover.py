"""Spread over calm zones, with replicas on demand for what is neither ready nor about to be.

A zone that lost or refused a replica rests for a while, longer each time it does so soon again. A replica on demand
takes as long to start as a spot one: it is started only for what no spot replica in a calm zone is starting for, and is
kept until the spot replicas that replace it are ready.
"""

from __future__ import annotations

from comptroller.serving.policies.spot_view import SpotView, SpotWish, allocation

EVERY_S = 20
REST_S = 600.0
"""How long a zone rests at first. At twice this a zone that was short for a moment is missed for longer; at half of it
replicas start where they are lost again."""
LONGEST_REST_S = 7200.0
"""How long it rests at most: recorded zones stay short for hours."""
CALM_S = 3600.0
"""A zone that kept what it granted for so long is rested anew from `REST_S`."""


def place(view: SpotView) -> SpotWish:
    """Spot for target and extra where zones are calm; on demand for what is missing."""
    calm = calm_zones(view)
    goal = view.target + view.extra
    spot = allocation(view, calm, goal)
    coming = sum(view.starting[zone] for zone in calm)
    ready = sum(view.ready)
    missing = max(0, view.target - ready - coming)
    # While spot replicas start, those on demand that stand in for them stay.
    stay = min(view.on_demand_ready + view.on_demand_starting, max(0, view.target - ready))
    return SpotWish(spot, min(view.target, max(missing, stay)))


def calm_zones(view: SpotView) -> list[int]:
    """Zones that do not rest."""
    rests: dict[int, tuple[float, float]] = view.memory.setdefault("rests", {})
    since = view.memory.get("decided_s", float("-inf"))
    for zone in range(len(view.ready)):
        trouble_s = max(view.lost_s[zone], view.refused_s[zone])
        if trouble_s > since:
            kept_s = trouble_s - view.granted_s[zone]
            before_s = rests.get(zone, (0.0, REST_S / 2))[1]
            again = view.refused_s[zone] > view.lost_s[zone] or kept_s < CALM_S
            rest_s = min(LONGEST_REST_S, 2 * before_s) if again else REST_S
            rests[zone] = (trouble_s + rest_s, rest_s)
    view.memory["decided_s"] = view.now_s
    return [zone for zone in range(len(view.ready)) if rests.get(zone, (0.0, 0.0))[0] <= view.now_s]

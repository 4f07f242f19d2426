"""What a spot policy sees of a service whose replicas live in zones, and what it asks for."""

from __future__ import annotations

from typing import Any, NamedTuple

NEVER_S = float("-inf")
"""Of what has not happened yet."""


class SpotView(NamedTuple):
    """A service at one moment; of each zone it is known only what was tried there.

    target: replicas that are to take calls.  extra: further ones that a policy may keep.  start_up_s: from the decision
    until a replica takes calls.  price_ratio: of a spot replica over one on demand.  ready, starting: spot replicas by
    zone, without those that have a notice.  on_demand: those ready and starting.  lost_s, refused_s, granted_s: when a
    zone last gave a notice or lost a replica, refused a launch, and granted one.  memory: a policy's own notes.
    """

    now_s: float
    target: int
    extra: int
    start_up_s: float
    price_ratio: float
    ready: tuple[int, ...]
    starting: tuple[int, ...]
    on_demand_ready: int
    on_demand_starting: int
    lost_s: tuple[float, ...]
    refused_s: tuple[float, ...]
    granted_s: tuple[float, ...]
    memory: dict[str, Any]

    def here(self, zone: int) -> int:
        """Spot replicas of a zone, ready or on their way."""
        return self.ready[zone] + self.starting[zone]


class SpotWish(NamedTuple):
    """Spot replicas by zone, and replicas on demand, that there are to be."""

    spot: tuple[int, ...]
    on_demand: int


def even(replicas: int, zones: int) -> tuple[int, ...]:
    """So many replicas over zones, the first ones with one more.

    >>> even(5, 3)
    (2, 2, 1)
    """
    return tuple(replicas // zones + (zone < replicas % zones) for zone in range(zones))


def allocation(view: SpotView, allowed: list[int], replicas: int) -> tuple[int, ...]:
    """What there is, made so many: each further one in the allowed zone that has fewest, taken from the zone with most.

    Where no zone is allowed nothing is added.
    """
    spot = [view.here(zone) for zone in range(len(view.ready))]
    while allowed and sum(spot) < replicas:
        spot[min(allowed, key=lambda zone: (spot[zone], zone))] += 1
    while sum(spot) > replicas:
        spot[max(range(len(spot)), key=lambda zone: (spot[zone], zone not in allowed))] -= 1
    return tuple(spot)

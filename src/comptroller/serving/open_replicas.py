"""Which replicas of a fleet take calls: what routers may choose from, rewritten between events of an engine."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.errors import InputError
from comptroller.serving.engine import EventEngine
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.state import PoolRole


def offer_replicas(engine: EventEngine, taking: Sequence[Sequence[int]]) -> None:
    """Let routers choose from these replicas alone, of one rank each. taking: of each service."""
    world = engine._world
    table = int(world.clock[0].candidates)
    for place, members in enumerate([[one for each in taking for one in each], *taking]):  # the first: of any service
        entry = table + 4 * place
        first = int(world.ints[entry])
        world.ints[first : first + len(members)] = members
        world.ints[entry + 1] = len(members)


def open_replicas(fleet: SimulatedFleet, counts: Sequence[int]) -> set[int]:
    """The first replicas of each service, so many of each.

    Raises:
        InputError: a fleet whose replicas cannot come and go, or counts that it does not have.
    """
    replicas = [replica for _, replica in fleet.replicas()]
    problem = (
        f"so many at the start for each of {len(fleet.services)} services" if len(fleet.services) != len(counts)
        else "replicas that do prefill and decode" if any(one.pool != PoolRole.MIXED for one in replicas)
        else "replicas of one rank" if any(one.ranks > 1 for one in replicas)
        else "no kept prefixes, whose caches go with a replica" if fleet.prefix_block_tokens
        else ""
    )  # fmt: skip
    if problem:
        raise InputError(f"a fleet whose replicas come and go has {problem}")
    found, begin = set[int](), 0
    for service, count in zip(fleet.services, counts, strict=True):
        size = len(service.replicas)
        if not 1 <= count <= size:
            raise InputError(f"{count} of {size} replicas take calls at first; allowed: 1 to {size}")
        found |= set(range(begin, begin + count))
        begin += size
    return found

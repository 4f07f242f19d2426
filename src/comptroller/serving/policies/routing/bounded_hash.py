"""Consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam), by rendezvous.

A session goes to the replica whose hash with it is highest among those below `bound` times the mean load. Since loads
are bounded, prompts that begin alike may count as a session where clients name none.
"""

from math import ceil

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View

NEEDS = ("opening",)


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The highest hash among the replicas that are below the bound."""
    total = 1.0
    for rank in ranks:
        total += view[rank, ACTIVE]
    limit = ceil(router.bound * total / ranks.size)
    name = call.session if call.session >= 0 else call.id
    best, highest = ranks[0], -1
    for rank in ranks:
        height = draw(router.seed, name, rank)
        if view[rank, ACTIVE] < limit and height > highest:
            best, highest = rank, height
    return int(best)

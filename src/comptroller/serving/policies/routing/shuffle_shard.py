"""Shuffle sharding: each tenant has some of the replicas, drawn by hash, and its calls go to the one of them with the
fewest in flight. A flood of one tenant fills its own; two tenants seldom have the same.

Source: C. MacCarthaigh, Workload isolation using shuffle-sharding, The Amazon Builders' Library, 2019.
"""

from math import ceil

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View

NEEDS = ("tenant",)
SHARE = 0.75
"""Of the replicas, rounded up, that a tenant has: one that floods leaves a quarter to others, and gets three quarters.
At two thirds of it a flood gets half of the fleet; at a third more nobody is kept apart."""


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The one with fewest requests in flight of the tenant's own."""
    own = ceil(SHARE * ranks.size)
    best = -1
    for rank in ranks:
        height, above = draw(router.seed, call.tenant, rank), 0
        for other in ranks:
            higher = draw(router.seed, call.tenant, other)
            if higher > height or (higher == height and other < rank):
                above += 1
        if above < own and (best < 0 or view[rank, ACTIVE] < view[best, ACTIVE]):
            best = rank
    return int(best)

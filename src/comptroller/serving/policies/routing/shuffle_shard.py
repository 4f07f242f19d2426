"""Shuffle sharding: each tenant has a fixed few of the replicas, drawn by hash, and its calls go to the one of them
with the fewest in flight. A flood of one tenant fills its own few; two tenants seldom have the same.

Source: C. MacCarthaigh, Workload isolation using shuffle-sharding, The Amazon Builders' Library, 2019.
"""

from math import ceil

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View

NEEDS = ("tenant",)
SHARE = 0.5
"""Of the replicas, rounded up, that a tenant has. At half of it a tenant alone can use only a quarter of the fleet, at
twice it nobody is kept apart."""


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

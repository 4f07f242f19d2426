"""Adapter affinity: calls that want the same adapter go to the same replica (rendezvous hash), unless it has `bound`
times the mean of requests in flight; then to the next in that adapter's order. Calls without one go where the fewest
requests are in flight.
"""

from math import ceil

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View

NEEDS = ("adapter",)


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The first replica of the adapter's order that is below the bound."""
    fewest, total = ranks[0], 1.0
    for rank in ranks:
        total += view[rank, ACTIVE]
        if view[rank, ACTIVE] < view[fewest, ACTIVE]:
            fewest = rank
    limit = ceil(router.bound * total / ranks.size)
    best, highest = fewest, -1
    for rank in ranks:
        if call.adapter > 0 and view[rank, ACTIVE] < limit:
            height = draw(router.seed, call.adapter, rank)
            if height > highest:
                best, highest = rank, height
    return int(best)

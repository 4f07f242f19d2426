"""Least KV: the smallest share of the cache in use."""

from comptroller.serving.policies.view import CAPACITY, KV, Call, Ranks, RouterState, View

NEEDS = ("kv",)


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The replica whose cache is emptiest."""
    best = ranks[0]
    for rank in ranks:
        if view[rank, KV] * view[best, CAPACITY] < view[best, KV] * view[rank, CAPACITY]:
            best = rank
    return int(best)

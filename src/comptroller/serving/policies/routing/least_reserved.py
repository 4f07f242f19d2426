"""Least reserved: the fewest prompt and predicted output tokens in flight (Splitwise, token pool)."""

from comptroller.serving.policies.view import RESERVED, Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The replica with the least memory spoken for."""
    best = ranks[0]
    for rank in ranks:
        if view[rank, RESERVED] < view[best, RESERVED]:
            best = rank
    return int(best)

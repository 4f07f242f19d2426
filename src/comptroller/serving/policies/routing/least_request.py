"""Least request: the fewest requests in flight; ties go to the lowest number."""

from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The replica with the fewest requests in flight."""
    best = ranks[0]
    for rank in ranks:
        if view[rank, ACTIVE] < view[best, ACTIVE]:
            best = rank
    return int(best)

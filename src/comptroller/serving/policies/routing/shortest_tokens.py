"""Token-aware shortest queue: the fewest prompt tokens dispatched and not yet computed."""

from comptroller.serving.policies.view import ACTIVE, PENDING, Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """Fewest pending prompt tokens, then fewest requests in flight."""
    best = ranks[0]
    for rank in ranks:
        fewer = view[rank, PENDING] < view[best, PENDING]
        if fewer or (view[rank, PENDING] == view[best, PENDING] and view[rank, ACTIVE] < view[best, ACTIVE]):
            best = rank
    return int(best)

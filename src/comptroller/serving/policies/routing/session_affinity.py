"""Session affinity: a session always goes to the same replica (rendezvous hash); a call without one goes
where the fewest requests are in flight.
"""

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The session's replica."""
    best, highest = ranks[0], -1
    for rank in ranks:
        if call.session >= 0:
            height = draw(router.seed, call.session, rank)
            if height > highest:
                best, highest = rank, height
        elif view[rank, ACTIVE] < view[best, ACTIVE]:
            best = rank
    return int(best)

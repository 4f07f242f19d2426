"""Power of two choices: the less loaded of two replicas drawn at random (as Envoy does)."""

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import ACTIVE, Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The first drawn, unless the second has fewer requests in flight."""
    first = ranks[draw(router.seed, call.id, 0) % ranks.size]
    second = ranks[draw(router.seed, call.id, 1) % ranks.size]
    return int(second) if view[second, ACTIVE] < view[first, ACTIVE] else int(first)

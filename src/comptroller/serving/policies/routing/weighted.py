"""Weighted: replicas drawn at random in proportion to their weights (a traffic split)."""

from comptroller.serving.policies.draw import draw
from comptroller.serving.policies.view import WEIGHT, Call, Ranks, RouterState, View


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The replica in whose share of the total weight the draw falls."""
    total = 0.0
    for rank in ranks:
        total += view[rank, WEIGHT]
    left = total * (draw(router.seed, call.id, 0) / 4294967296.0)
    for rank in ranks:
        left -= view[rank, WEIGHT]
        if left < 0:
            return int(rank)
    return int(ranks[-1])

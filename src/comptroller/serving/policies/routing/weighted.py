"""Weighted: replicas drawn at random in proportion to their weights (a traffic split)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.draw import draw, mixed
from comptroller.serving.policies.view import WEIGHT, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    total = 0.0
    for rank in ranks:
        total += view[rank, WEIGHT]
    left = total * (draw(router.seed, call.id, 0) / 4294967296.0)
    for rank in ranks:
        left -= view[rank, WEIGHT]
        if left < 0:
            return int(rank)
    return int(ranks[-1])


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The replica in whose share of the total weight the draw falls."""
    left = sum(rank.weight for rank in seen) * (mixed(router.seed, call.id, 0) / 2**32)
    for rank in seen:
        left -= rank.weight
        if left < 0:
            return rank.id
    return seen[-1].id

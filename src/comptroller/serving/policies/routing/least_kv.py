"""Least KV: the smallest share of the cache in use."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import CAPACITY, KV, Call, Router, Seen

NEEDS = ("kv",)


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best = ranks[0]
    for rank in ranks:
        if view[rank, KV] * view[best, CAPACITY] < view[best, KV] * view[rank, CAPACITY]:
            best = rank
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The replica whose cache is emptiest."""
    best = seen[0]
    for rank in seen[1:]:
        if rank.kv * best.capacity < best.kv * rank.capacity:
            best = rank
    return best.id

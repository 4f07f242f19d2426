"""Consistent hashing with bounded load (Mirrokni, Thorup, Zadimoghaddam), by rendezvous.

A session goes to the replica whose hash with it is highest among those below `bound` times the mean load.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.draw import draw, mixed
from comptroller.serving.policies.view import ACTIVE, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    total = 1.0
    for rank in ranks:
        total += view[rank, ACTIVE]
    limit = np.ceil(router.bound * total / ranks.size)
    name = call.session if call.session >= 0 else call.id
    best, highest = ranks[0], -1
    for rank in ranks:
        height = draw(router.seed, name, rank)
        if view[rank, ACTIVE] < limit and height > highest:
            best, highest = rank, height
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The highest hash among the replicas that are below the bound."""
    limit = np.ceil(router.bound * (1 + sum(rank.active for rank in seen)) / len(seen))
    name = call.session if call.session >= 0 else call.id
    below = [rank for rank in seen if rank.active < limit] or list(seen[:1])
    return max(below, key=lambda rank: (mixed(router.seed, name, rank.id), -rank.id)).id

"""Prefix against load, by cost (as NVIDIA Dynamo's router): prompt tokens left to compute here, queued ones
included, times `overlap`, plus the tokens in cache.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import KV, MATCH, PENDING, Call, Router, Seen

NEEDS = ("kv", "match")


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best, least = ranks[0], np.inf
    for rank in ranks:
        work = call.prompt - view[rank, MATCH] + view[rank, PENDING]
        cost = router.overlap * work + view[rank, KV]
        if cost < least:
            best, least = rank, cost
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The replica of least cost."""

    def cost(rank: Seen) -> float:
        work: float = call.prompt - rank.match + rank.pending
        return router.overlap * work + rank.kv

    return min(seen, key=lambda rank: (cost(rank), rank.id)).id

"""Prefix against load, by cost (as NVIDIA Dynamo's router): prompt tokens left to compute here, queued ones
included, times `overlap`, plus the tokens in cache.
"""

import numpy as np

from comptroller.serving.policies.view import KV, MATCH, PENDING, Call, Ranks, RouterState, View

NEEDS = ("kv", "match")


def choose(view: View, ranks: Ranks, call: Call, router: RouterState) -> int:
    """The replica of least cost."""
    best, least = ranks[0], np.inf
    for rank in ranks:
        work = call.prompt - view[rank, MATCH] + view[rank, PENDING]
        cost = router.overlap * work + view[rank, KV]
        if cost < least:
            best, least = rank, cost
    return int(best)

"""Prefix match: the longest cached prefix of the prompt; ties go to the fewest requests in flight."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import ACTIVE, MATCH, Call, Router, Seen

NEEDS = ("match",)


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best = ranks[0]
    for rank in ranks:
        more = view[rank, MATCH] > view[best, MATCH]
        if more or (view[rank, MATCH] == view[best, MATCH] and view[rank, ACTIVE] < view[best, ACTIVE]):
            best = rank
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """Longest match, then fewest requests in flight."""
    return min(seen, key=lambda rank: (-rank.match, rank.active, rank.id)).id

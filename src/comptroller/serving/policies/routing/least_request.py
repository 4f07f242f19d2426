"""Least request: the fewest requests in flight; ties go to the lowest number."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import ACTIVE, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best = ranks[0]
    for rank in ranks:
        if view[rank, ACTIVE] < view[best, ACTIVE]:
            best = rank
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The replica with the fewest requests in flight."""
    return min(seen, key=lambda rank: (rank.active, rank.id)).id

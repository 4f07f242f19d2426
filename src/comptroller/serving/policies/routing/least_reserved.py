"""Least reserved: the fewest prompt and predicted output tokens in flight (Splitwise, token pool)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import RESERVED, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best = ranks[0]
    for rank in ranks:
        if view[rank, RESERVED] < view[best, RESERVED]:
            best = rank
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The replica with the least memory spoken for."""
    return min(seen, key=lambda rank: (rank.reserved, rank.id)).id

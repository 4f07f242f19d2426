"""Token-aware shortest queue: the fewest prompt tokens dispatched and not yet computed."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import ACTIVE, PENDING, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best = ranks[0]
    for rank in ranks:
        fewer = view[rank, PENDING] < view[best, PENDING]
        if fewer or (view[rank, PENDING] == view[best, PENDING] and view[rank, ACTIVE] < view[best, ACTIVE]):
            best = rank
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """Fewest pending prompt tokens, then fewest requests in flight."""
    return min(seen, key=lambda rank: (rank.pending, rank.active, rank.id)).id

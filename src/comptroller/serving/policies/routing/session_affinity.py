"""Session affinity: a session always goes to the same replica (rendezvous hash); a call without one goes
where the fewest requests are in flight.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.draw import draw, mixed
from comptroller.serving.policies.view import ACTIVE, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    best, highest = ranks[0], -1
    for rank in ranks:
        if call.session >= 0:
            height = draw(router.seed, call.session, rank)
            if height > highest:
                best, highest = rank, height
        elif view[rank, ACTIVE] < view[best, ACTIVE]:
            best = rank
    return int(best)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The session's replica."""
    if call.session < 0:
        return min(seen, key=lambda rank: (rank.active, rank.id)).id
    return max(seen, key=lambda rank: (mixed(router.seed, call.session, rank.id), -rank.id)).id

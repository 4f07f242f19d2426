"""Power of two choices: the less loaded of two replicas drawn at random (as Envoy does)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.draw import draw, mixed
from comptroller.serving.policies.view import ACTIVE, Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    first = ranks[draw(router.seed, call.id, 0) % ranks.size]
    second = ranks[draw(router.seed, call.id, 1) % ranks.size]
    return int(second) if view[second, ACTIVE] < view[first, ACTIVE] else int(first)


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The first drawn, unless the second has fewer requests in flight."""
    drawn = [seen[mixed(router.seed, call.id, turn) % len(seen)] for turn in (0, 1)]
    return min(drawn, key=lambda rank: rank.active).id

"""Round robin: the replicas in turn."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.serving.policies.view import Call, Router, Seen


def choose(view: npt.NDArray[np.float64], ranks: npt.NDArray[np.int64], call: Call, router: Router) -> int:
    """In the engine\'s form."""
    return int(ranks[router.turn % ranks.size])


def plain(seen: Sequence[Seen], call: Call, router: Router) -> int:
    """The next in turn."""
    return seen[router.turn % len(seen)].id

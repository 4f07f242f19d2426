"""Tabu search: the best move of a few tried, also where it is worse, and none back for some moves.

Source: Glover (1989), "Tabu search - Part I".
"""

from __future__ import annotations

from collections import deque

import numpy as np

from comptroller.cluster.balance_case import BalanceCase, BalanceSearch, Ints
from comptroller.cluster.balancing import CHANGES

TRIES = 8
"""Services of which each step looks at the best move. At half of it a step often finds nothing that helps."""
TENURE = 20
"""Moves for which a service that moved stays where it is. At half of it the search goes in circles on small cases."""


def assignment(case: BalanceCase, rng: np.random.Generator) -> Ints:
    """The best that the search came by."""
    search = BalanceSearch(case)
    best, best_at = search.value, search.at.copy()
    closed: deque[int] = deque(maxlen=min(TENURE, len(case.at) // 2))
    for _ in range(CHANGES // TRIES):
        found: tuple[float, int, int] | None = None
        for service in _tries(search, rng):
            if service in closed:
                continue
            over, cost = search.effects(service)
            rise = over + cost / case.dearest
            rise[search.at[service]] = np.inf
            node = int(rise.argmin())
            if found is None or rise[node] < found[0]:
                found = float(rise[node]), service, node
        if found is None:
            continue
        search.move(found[1], found[2])
        closed.append(found[1])
        if search.value < best:
            best, best_at = search.value, search.at.copy()
    search = BalanceSearch(case, best_at)
    search.back()
    return search.at


def _tries(search: BalanceSearch, rng: np.random.Generator) -> list[int]:
    """Half of them from nodes with overload, the others from anywhere."""
    loads = np.flatnonzero(search.over[search.at] > 0)
    near = rng.choice(loads, min(TRIES // 2, len(loads)), replace=False) if len(loads) else loads
    return [int(service) for service in (*near, *rng.integers(len(search.at), size=TRIES - len(near)))]

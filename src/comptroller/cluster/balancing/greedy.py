"""Greedy: the move that removes most overload for its cost, until none removes any."""

from __future__ import annotations

import numpy as np

from comptroller.cluster.balance_case import EXACT, BalanceCase, BalanceSearch, Ints


def assignment(case: BalanceCase, rng: np.random.Generator) -> Ints:
    """One move after the other, from nodes with overload."""
    search = BalanceSearch(case)
    descend(search)
    search.back()
    return search.at


def descend(search: BalanceSearch) -> None:
    """Moves of services on nodes with overload, each the one that removes most of it for its cost."""
    case = search.case
    while True:
        best: tuple[float, int, int] | None = None
        for service in np.flatnonzero(search.over[search.at] > EXACT):
            over, cost = search.effects(int(service))
            worth = np.where(over < -EXACT, -over / np.maximum(cost, 1e-3 * case.move_cost[service]), 0.0)
            node = int(worth.argmax())
            if worth[node] > 0 and (best is None or worth[node] > best[0]):
                best = float(worth[node]), int(service), node
        if best is None:
            return
        search.move(best[1], best[2])

"""Simulated annealing: random moves, worse ones the more rarely the colder it is."""

from __future__ import annotations

import math

import numpy as np

from comptroller.cluster.balance_case import BalanceCase, BalanceSearch, Ints
from comptroller.cluster.balancing import CHANGES

HOT, COLD = 0.3, 1e-3
"""Temperatures at the start and the end, in the unit of overload: a move that adds a third of a node is taken at first,
at the end none that adds a thousandth. At twice the start the first half of the search is a random walk."""

HOME = 0.3
"""Share of tries that would bring a service back to where it was: a node at random is it too rarely. At none of them
the walk ended with four times the moves."""


def assignment(case: BalanceCase, rng: np.random.Generator) -> Ints:
    """The best that the walk came by."""
    search = BalanceSearch(case)
    best, best_at = search.value, search.at.copy()
    services, nodes = len(case.at), len(case.capacity)
    for step in range(CHANGES):
        heat = HOT * (COLD / HOT) ** (step / CHANGES)
        loads = np.flatnonzero(search.over[search.at] > 0)
        service = int(rng.choice(loads)) if len(loads) and rng.random() < 0.5 else int(rng.integers(services))
        node = int(case.at[service] if rng.random() < HOME else rng.integers(nodes))
        over, cost = search.effects(service)
        rise = float(over[node] + cost[node] / case.dearest)
        if rise <= 0 or rng.random() < math.exp(-rise / heat):
            search.move(service, node)
            if search.value < best:
                best, best_at = search.value, search.at.copy()
    search = BalanceSearch(case, best_at)
    search.back()
    return search.at

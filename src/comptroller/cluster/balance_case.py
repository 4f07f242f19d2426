"""Services on nodes: what overloads them, what moves cost, and a search that keeps loads up to date."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EXACT = 1e-9
"""Overload that is rounding: sums of some hundred shares of a node differ by less."""


@dataclass(frozen=True, eq=False)
class BalanceCase:
    """capacity: of each node by resource, shape (nodes, resources).  demand: of each service, (services, resources).
    move_cost: of each service, shape (services,), above 0.  at: the node of each service now, shape (services,).

    What is minimised: first the overload, then what the moves cost (Sliwko, arXiv 2509.22704).
    """

    capacity: Floats
    demand: Floats
    move_cost: Floats
    at: Ints

    def __post_init__(self) -> None:
        if self.capacity.min() <= 0 or self.demand.min() < 0 or self.move_cost.min() <= 0:
            raise InputError("balance: capacities and costs of moves have to be above 0, demands at least 0")
        if self.at.min() < 0 or self.at.max() >= len(self.capacity):
            raise InputError(f"balance: a service lies on no node; allowed: 0 to {len(self.capacity) - 1}")

    @cached_property
    def shares(self) -> Floats:
        """Demand of each service as a share of each node's capacity, shape (services, nodes, resources)."""
        return self.demand[:, None, :] / self.capacity[None]

    def overload(self, at: Ints) -> float:
        """Shares of nodes above 1, summed over nodes and resources.

        >>> case = BalanceCase(np.ones((2, 1)), np.array([[0.8], [0.6]]), np.ones(2), np.zeros(2, int))
        >>> round(case.overload(case.at), 3), case.overload(np.array([0, 1])), case.cost(np.array([0, 1]))
        (0.4, 0.0, 1.0)
        """
        return float(np.maximum(self.load(at) - 1, 0).sum())

    def load(self, at: Ints) -> Floats:
        """Share of each node that is asked for, shape (nodes, resources)."""
        load = np.zeros(self.capacity.shape)
        np.add.at(load, at, self.demand)
        return load / self.capacity

    def cost(self, at: Ints) -> float:
        """What it costs to move services to these nodes."""
        return float(self.move_cost[at != self.at].sum())

    @property
    def dearest(self) -> float:
        """More than all moves together cost, per unit of overload: overload comes before cost."""
        return float(self.move_cost.sum())

    def value(self, at: Ints) -> tuple[float, float]:
        """What is minimised, overload first; rounding is no overload."""
        over = self.overload(at)
        return (over if over > EXACT else 0.0), self.cost(at)


class BalanceSearch:
    """An assignment under change. It knows the overload of each node and what a change would do to it."""

    def __init__(self, case: BalanceCase, at: Ints | None = None) -> None:
        self.case = case
        self.at = (case.at if at is None else at).copy()
        self.load = case.load(self.at)
        self.over = np.maximum(self.load - 1, 0).sum(axis=1)
        self.cost = case.cost(self.at)

    @property
    def value(self) -> tuple[float, float]:
        """As the case values it."""
        over = float(self.over.sum())
        return (over if over > EXACT else 0.0), self.cost

    def effects(self, service: int) -> tuple[Floats, Floats]:
        """Change of overload, and of cost, if a service moved to each node, shape (nodes,)."""
        case, node = self.case, int(self.at[service])
        left = self.load[node] - case.shares[service, node]
        freed = np.maximum(left - 1, 0).sum() - self.over[node]
        grown = np.maximum(self.load + case.shares[service] - 1, 0).sum(axis=1) - self.over
        grown[node] = -freed
        cost = np.full(len(self.over), case.move_cost[service])
        cost[case.at[service]] = 0.0
        return freed + grown, cost - cost[node]

    def move(self, service: int, node: int) -> None:
        """Move a service."""
        case, old = self.case, int(self.at[service])
        if node == old:
            return
        self.cost += case.move_cost[service] * (float(node != case.at[service]) - float(old != case.at[service]))
        self.at[service] = node
        for changed, sign in ((old, -1.0), (node, 1.0)):
            self.load[changed] = self.load[changed] + sign * case.shares[service, changed]
            self.over[changed] = np.maximum(self.load[changed] - 1, 0).sum()

    def back(self) -> None:
        """Take back moves that are not needed: dearest first, where the way back adds no overload."""
        away = np.flatnonzero(self.at != self.case.at)
        for service in away[np.argsort(-self.case.move_cost[away], kind="stable")]:
            home = int(self.case.at[service])
            if self.effects(int(service))[0][home] <= EXACT:
                self.move(int(service), home)

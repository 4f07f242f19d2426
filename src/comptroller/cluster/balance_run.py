"""Balancers at work on services of a table, and what came of each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from comptroller.cluster.balance_case import BalanceCase, Floats, Ints
from comptroller.cluster.balancing import BALANCERS
from comptroller.errors import FactError
from comptroller.work.tabular import columns_of, numbers, read_columns


@dataclass(frozen=True, eq=False)
class ServiceTable:
    """A case with its names. nodes, services: as the files call them."""

    case: BalanceCase
    nodes: tuple[str, ...]
    services: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BalanceOutcome:
    """What a balancer did. before, after: overload.  cost: of its moves.  move_names: (service, from, to)."""

    balancer: str
    before: float
    after: float
    cost: float
    move_names: tuple[tuple[str, str, str], ...]

    @property
    def moves(self) -> int:
        """Services that moved."""
        return len(self.move_names)


def balance(table: ServiceTable, balancer: str, seed: int) -> BalanceOutcome:
    """What a balancer does to a case."""
    case = table.case
    at = BALANCERS.module(balancer).assignment(case, np.random.default_rng(seed))
    moves = tuple(
        (table.services[service], table.nodes[case.at[service]], table.nodes[at[service]])
        for service in np.flatnonzero(at != case.at).tolist()
    )
    return BalanceOutcome(balancer, case.value(case.at)[0], *case.value(at), moves)


def service_table(nodes: Path, services: Path) -> ServiceTable:
    """The case of two CSV files: `node` and a column for each resource; `service`, `node`, the same resources, and
    `move_cost`.

    Raises:
        FactError: a column or a node is not there, or a cell is no number.
    """
    resources = [name for name in columns_of(nodes) if name != "node"]
    if not resources:
        raise FactError(nodes.name, "columns", "no resource beside `node`", "a column for each resource")
    named = _names(nodes, ("node",))[0]
    placed = _names(services, ("service", "node"))
    lacks = [name for name in placed[1] if name not in named]
    if lacks:
        raise FactError(services.name, "node", f"{lacks[0]!r} is not in {nodes.name}", ", ".join(named[:20]))
    demand, capacity = _amounts(services, resources), _amounts(nodes, resources)
    cost = _amounts(services, ["move_cost"])[:, 0]
    unused = sorted(set(columns_of(services)) - {*resources, "service", "node", "move_cost"})
    if unused:
        raise FactError(services.name, "columns", f"{', '.join(unused)} is no resource of {nodes.name}", "none other")
    at: Ints = np.array([named.index(name) for name in placed[1]], np.int64)
    return ServiceTable(BalanceCase(capacity, demand, cost, at), tuple(named), tuple(placed[0]))


def _names(path: Path, names: tuple[str, ...]) -> list[list[str]]:
    _, columns = read_columns(
        path, names, [lambda cells: np.array([str(c).strip() for c in cells], object)] * len(names)
    )
    return [column.tolist() for column in columns]


def _amounts(path: Path, names: list[str]) -> Floats:
    _, columns = read_columns(path, names, [numbers] * len(names))
    table = np.stack(columns, axis=1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(table))
    if len(bad):
        raise FactError(path.name, names[bad[0][1]], "is missing or no number", "a number", line=int(bad[0][0]) + 2)
    return table

"""The trade of cost against latency: the cheapest fleet at tighter and looser objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from comptroller.errors import Infeasible
from comptroller.planning.plan import Frontier
from comptroller.planning.search import Fleet, Goal, Search

FACTORS = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.25, 1.6, 2.0, 3.0, 4.0)


def frontier(search: Search, goal: Goal, describe: Callable[[Fleet], str]) -> tuple[Frontier, ...]:
    """Points for every latency objective, the others as asked; infeasible ones are left out."""
    points = []
    for number, target in enumerate(goal.targets):
        name = f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"
        for factor in FACTORS:
            targets = list(goal.targets)
            targets[number] = replace(target, most_s=target.most_s * factor)
            try:
                fleet = search.solve(replace(goal, targets=tuple(targets)))
            except Infeasible:
                continue
            points.append(
                Frontier(
                    constraint=name,
                    value=float(f"{target.most_s * factor:.6g}"),
                    usd_per_h=float(f"{float((search.unit.usd_per_h * fleet.units).sum()):.6g}"),
                    fleet=describe(fleet),
                )
            )
    return tuple(points)

"""The trade of cost against latency: the cheapest fleet at tighter and looser objectives."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.planning.executor import side_by_side
from comptroller.planning.plan import FrontierPoint
from comptroller.planning.search import Fleet, FleetSearch, Goal

FACTORS = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.25, 1.6, 2.0, 3.0, 4.0)


def frontier(search: FleetSearch, goal: Goal, describe: Callable[[Fleet], str]) -> tuple[FrontierPoint, ...]:
    """Points for every latency objective, the others as asked; infeasible ones are left out."""
    asked = [(target, factor) for target in goal.targets for factor in FACTORS]
    found = side_by_side(partial(_point, search, goal, target, factor, describe) for target, factor in asked)
    return tuple(point for point in found if point is not None)


def _point(
    search: FleetSearch, goal: Goal, target: LatencyTarget, factor: float, describe: Callable[[Fleet], str]
) -> FrontierPoint | None:
    """The cheapest fleet with one objective that many times as long; `None` where there is none."""
    moved = replace(target, most_s=target.most_s * factor)
    targets = tuple(moved if each is target else each for each in goal.targets)
    try:
        fleet = search.solve(replace(goal, targets=targets))
    except InfeasibleError:
        return None
    return FrontierPoint(
        constraint=f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}",
        value=float(f"{moved.most_s:.6g}"),
        usd_per_h=float(f"{float((search.unit.usd_per_h * fleet.units).sum()):.6g}"),
        fleet=describe(fleet),
    )

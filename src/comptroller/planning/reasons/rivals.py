"""The runner-up of every kind: the best plan without the chosen value of one axis, and why it lost."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.plan_document import RunnerUp
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.planning.solve.fleet_search import Fleet, FleetSearch, Goal

AXES = ("accelerator", "layout", "format", "model", "engine", "site", "term")


def runners_up(search: FleetSearch, goal: Goal, best: Fleet, describe: Callable[[Fleet], str]) -> tuple[RunnerUp, ...]:
    """For every axis and every value the plan uses on it: what would be chosen without that value."""
    found = []
    kinds = [candidate.kinds for candidate in search.table.candidates]
    for axis in AXES:
        values = [kind[axis] for kind in kinds]
        if len(set(values)) < 2:
            continue
        used = dict.fromkeys(values[j] for j in np.flatnonzero(best.units))
        for value in used:
            keep = np.array([other != value for other in values])
            try:
                rival = search.solve(goal, keep)
            except InfeasibleError as error:
                found.append(
                    RunnerUp(
                        axis=axis, without=value, choice="none", objective_per_h=None, excess=None, reason=str(error)
                    )
                )
                continue
            found.append(
                RunnerUp(
                    axis=axis,
                    without=value,
                    choice=describe(rival),
                    objective_per_h=float(f"{rival.objective:.6g}"),
                    excess=float(f"{rival.objective / best.objective - 1:.4g}"),
                    reason=_reason(search, best, rival, goal.objective),
                )
            )
    return tuple(found)


def _reason(search: FleetSearch, best: Fleet, rival: Fleet, objective: str) -> str:
    """The two factors of the difference: price of a device hour, and what a device carries."""
    price, carried, devices = zip(*(_per_device(search, fleet) for fleet in (best, rival)), strict=True)
    if rival.objective <= best.objective * (1 + 1e-9):
        return "equal cost; the chosen one comes first in the order of the choices"
    excess = amount(rival.objective - best.objective, objective)
    dearer, weaker = price[1] / price[0], carried[1] / carried[0]
    return (
        f"{excess}/h more: {devices[1]:g} devices instead of {devices[0]:g}; "
        f"a device costs {dearer:.2f}x and carries {weaker:.2f}x the requests"
    )


def _per_device(search: FleetSearch, fleet: Fleet) -> tuple[float, float, float]:
    devices = float((search.unit.devices * fleet.units).sum())
    usd = float((search.unit.usd_per_h * fleet.units).sum())
    demand = float(search.table.load.rate_per_s.sum())
    return usd / devices, demand / devices, devices

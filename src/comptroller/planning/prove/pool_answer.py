"""What the fleets that were simulated already answer: another objective, other prices, fewer devices, in a moment."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Goal, Trial
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.problem import PlanningProblem

EQUAL = 1e-9
"""Relative amount by which a limit may be passed: the gap of the optimum."""


def cheapest_in_pool(stage: FleetStage, goal: Goal, cost: Callable[[Fleet], float]) -> Trial | None:
    """The fleet of the pool that holds a goal and costs least, by whatever counts as cost (infinite: not allowed).

    Nothing is sized for the goal, and no other fleet is simulated: a search may find a cheaper one.
    """
    known = [(cost(fleet), place, fleet, sized) for place, (fleet, sized) in enumerate(stage.known(goal))]
    for usd, _, fleet, sized in sorted(known, key=lambda one: one[:2]):
        if not np.isfinite(usd):
            return None
        if _is_within(stage, goal, fleet):
            trial = stage.trial(fleet, sized)
            if trial.holds:
                return trial
    return None


def _is_within(stage: FleetStage, goal: Goal, fleet: Fleet) -> bool:
    """Whether a fleet keeps the limits of power, carbon and devices, and the most kinds; dollars are the caller's."""
    loader = stage.loader(goal)
    limits = ((name, most) for name, most in goal.limits if name != "budget")
    few = goal.most_kinds is None or fleet.kinds <= goal.most_kinds
    return few and all(loader.taken(name, fleet.units) <= most * (1 + EQUAL) for name, most in limits)


def priced_usd_per_h(problem: PlanningProblem, fleet: Fleet, usd_per_device_h: Mapping[str, float]) -> float:
    """What a fleet costs per hour with some accelerators at other prices on demand, what it buys from APIs among it."""
    usd = float(fleet.bought.sum())
    for model, units in fleet.units.items():
        offers = problem.space.offers[model]
        for row in np.flatnonzero(units[0]).tolist():
            one = offers.deployments[row]
            listed = one.offer.usd_per_s * 3600.0
            stated = usd_per_device_h.get(one.replica.device.id, listed)
            price = stated if one.offer.term == "on_demand" else listed
            usd += float(units[0, row] * offers.unit.usd_per_h[row]) * (price / listed if listed else 1.0)
    return usd


def uses_only(problem: PlanningProblem, fleet: Fleet, accelerators: Collection[str]) -> bool:
    """Whether all that a fleet rents is of some accelerators."""
    return all(
        problem.space.offers[model].deployments[row].replica.device.id in accelerators
        for model, units in fleet.units.items()
        for row in np.flatnonzero(units[0]).tolist()
    )

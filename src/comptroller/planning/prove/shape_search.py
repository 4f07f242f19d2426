"""Fleets of several services, or of kinds none of which carries all sizes: grown until one holds, then made cheaper.

A shape is a fleet up to one factor on all its units. On common draws more of all of them is late no more often, so that
the least factor that holds is bisected. Where no factor helps, the program names faster shapes, sized for less than the
objectives.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Fleet, Goal, Trial
from comptroller.planning.prove.proven_fleet import is_slow
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.infeasible import target_name

GROWTH = 4.0
"""A shape is tried up to so many times its units: what needs four times the steady state is another service."""

AIMS = (1.0, 0.85, 0.7, 0.5, 0.35)
"""Shares of the objectives that shapes are sized for, one after the other until one holds. Twice as many steps name the
same deployments again; what a third of the objective does not help is beyond what the steady state knows."""

RAISES = (1.05, 1.12, 1.2, 1.3, 1.45)
"""Factors on the demand at which the program names fleets to try, while they are cheaper than the best that holds:
mixes by size are worth more than the sum of their kinds. Twice as many steps rarely name another fleet."""

DROPS = 3
"""Units that are taken out of the best, one after the other, before the search stops. Each tries every kind in use, so
that twice as many lengthen a search by as much as it took to here."""


@dataclass(frozen=True, slots=True)
class ServiceFocus:
    """The service of a model whose kinds are tried, while all else is as in a fleet."""

    model: int
    like: Fleet


class ShapeFloor(Protocol):
    """What a search offers to those that try shapes: fleets sized, simulated, and the best so far."""

    stage: FleetStage
    goal: Goal
    tried: list[Trial]

    @property
    def best(self) -> Trial | None:
        """The cheapest that holds."""
        ...

    def is_kept(self, fleet: Fleet) -> bool:
        """Whether all that a fleet uses may be used."""
        ...

    def is_cheaper(self, fleet: Fleet) -> bool:
        """Whether a fleet within all limits is cheaper than the best."""
        ...

    def sized(self, goal: Goal) -> Fleet:
        """The cheapest of the steady state for a goal."""
        ...

    def named(self, goal: Goal) -> Fleet | None:
        """What the program names for a goal, if it is cheaper than the best."""
        ...

    def trial(self, fleet: Fleet, goal: Goal) -> Trial:
        """What simulating it showed of every objective."""
        ...


def grow_until_held(search: ShapeFloor) -> None:
    """Try shapes until one holds.

    Raises:
        InfeasibleError: none does; says by how much the nearest one missed.
    """
    for aim in AIMS:
        goal = search.goal.aimed(aim)
        try:
            shape = search.sized(goal)
        except InfeasibleError:
            break
        if _grow_shape(search, shape, goal):
            return
        if not goal.targets:
            break
    nearest = min(search.tried, key=lambda trial: trial.excess)
    missed = (f"{target_name(x.target)} {x.upper_s * 1e3:.4g} ms" for x in nearest.seen if not x.holds)
    raise InfeasibleError(f"no fleet held its percentiles in simulation; nearest, {nearest.line}: {', '.join(missed)}")


def _grow_shape(search: ShapeFloor, shape: Fleet, goal: Goal) -> bool:
    """The least factor on a shape's units that holds; false if none up to `GROWTH` does."""
    loader = search.stage.loader(goal)
    sizes = [fleet for units in _unit_steps(shape) if (fleet := loader.fleet(shape, units)) is not None]
    held, place, step = len(sizes), 0, 1
    failed = -1
    while place < len(sizes):
        if search.trial(sizes[place], goal).holds:
            held = place
            break
        failed, place, step = place, place + step, 2 * step
    while held < len(sizes) and held - failed > 1:
        middle = (failed + held) // 2
        failed, held = (failed, middle) if search.trial(sizes[middle], goal).holds else (middle, held)
    return held < len(sizes)


def _unit_steps(shape: Fleet) -> Iterator[dict[int, np.ndarray]]:
    """Units of a shape, and of so many times it that a kind has a unit more than before."""
    counts = sorted({int(count) for units in shape.units.values() for count in units[units > 0]})
    factors = sorted({k / count for count in counts for k in range(count, int(GROWTH * count) + 1)})
    steps = [
        {m: np.ceil(units * factor - 1e-9).astype(np.int64) for m, units in shape.units.items()} for factor in factors
    ]
    yield from steps[:1]
    for before, after in pairwise(steps):
        if any((before[model] != after[model]).any() for model in after):
            yield after


def try_named_fleets(search: ShapeFloor) -> None:
    """Mixes that the program names at more demand, then at a share of the objectives, while they are cheaper than the
    best: what a tighter objective names may hold where a looser one names too large a batch."""
    asked = search.goal
    raised = (replace(asked, demand=asked.demand * factor) for factor in RAISES)
    nearer = (asked.aimed(share) for share in AIMS[1:] if asked.targets)
    for goals in (raised, nearer):
        for goal in goals:
            fleet = search.named(goal)
            if fleet is None:
                break
            if (fleet.kinds > 1 or search.stage.problem.quality is not None) and search.is_cheaper(fleet):
                search.trial(fleet, goal)


def try_caps(search: ShapeFloor, fleet: Fleet) -> None:
    """A fleet at the batch caps of the objectives and, while decoding alone is too slow, at those of less of them that
    its kinds keep."""
    for share in AIMS[:3]:
        goal = search.goal.aimed(share)
        if not (_is_kept(search, fleet, goal) and is_slow(search.trial(fleet, goal))):
            return


def _is_kept(search: ShapeFloor, fleet: Fleet, goal: Goal) -> bool:
    """Whether every kind of a fleet has a batch cap at which it serves the calls that it gets."""
    offers = search.stage.problem.space.offers
    return all(
        (offers[model].table.best(goal.targets)[0].T[: calls.shape[1]][calls[0] > 0] > 0).all()
        for model, calls in fleet.calls_per_s.items()
    )


def share_anew(search: ShapeFloor) -> None:
    """The units of the best with questions shared as at no more demand than asked, or a little more, while that is
    cheaper: at the demand that named these units more is bought beside them."""
    best = search.best
    for factor in (1.0, *RAISES) if best else ():
        assert best is not None
        goal = replace(search.goal, demand=search.goal.demand * factor)
        fleet = search.stage.problem.search.held(best.fleet, goal)
        if fleet is None or not search.is_kept(fleet) or not search.is_cheaper(fleet):
            return
        if search.trial(fleet, goal).holds:
            return


def take_out_units(search: ShapeFloor) -> None:
    """The best with a unit less of one kind, as long as that holds."""
    for _ in range(DROPS):
        best = search.best
        if best is None or next((trial for trial in _trials_with_less(search, best) if trial.holds), None) is None:
            return


def _trials_with_less(search: ShapeFloor, best: Trial) -> Iterator[Trial]:
    """The dearest unit first."""
    loader, spare = search.stage.loader(best.goal), search.goal.spare
    units = [
        (float(loader.markets[model].unit(search.goal.objective)[0][row]), model, int(row))
        for model, count in best.fleet.units.items()
        for row in np.flatnonzero(count[0])
    ]
    for _, model, row in sorted(units, reverse=True):
        less = {m: count.copy() for m, count in best.fleet.units.items()}
        less[model][0, row] -= 1 if less[model][0, row] > 1 + spare else less[model][0, row]
        fleet = loader.fleet(best.fleet, less)
        if fleet is not None and fleet.key not in {trial.fleet.key for trial in search.tried}:
            yield search.trial(fleet, best.goal)

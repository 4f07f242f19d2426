"""How slow steps may be until the choice changes, by solving again.

The steady state is solved for step times of any factor from the table that was evaluated once (`offer.step_factors`).
Of a fleet that was simulated the break-even is where the steady state's cost has grown by as much as the simulated
runner-up costs more: C(x) / C(1) = W / B, B the cost of the plan, W that of the best without the value, both as
simulated. Where nothing was simulated C(1) is B, and the break-even that of the steady state itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Deployment, Fleet
from comptroller.planning.ground.odds_document import BreakEvenFactor
from comptroller.planning.offer.step_factors import planned_factor, space_at
from comptroller.planning.reasons.explain import keep_only
from comptroller.planning.reasons.proof_reader import STEADY
from comptroller.planning.reasons.runners_up import NeighbouringFleets, keep_without
from comptroller.planning.reasons.shadow_prices import CHANGE, REACH, RESOLUTION
from comptroller.planning.solve.cheapest import within
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import KeepChoice, PlanSearch, keep_everything
from comptroller.quantities import short

SPEED_AXES = ("accelerator", "engine", "format")
"""Axes whose values share errors of step times."""


def break_evens(problem: PlanningProblem, around: NeighbouringFleets, proven: bool) -> Iterator[BreakEvenFactor]:
    """Of every accelerator, engine and format of a plan that has a runner-up without it.

    proven: whether plan and runners-up were simulated.
    """
    for told, fleet in around.runners_up:
        if fleet is None or told.axis not in SPEED_AXES:
            continue
        search = _BreakEvenSearch(problem, around.best, fleet, (told.axis, told.without), proven)
        found = search.factor()
        if found is not None:
            yield _document(problem, around.best, search, found)


@dataclass(frozen=True)
class _BreakEvenSearch:
    """One value of an axis, the plan that uses it, and the best without it."""

    problem: PlanningProblem
    best: Fleet
    rival: Fleet
    what: tuple[str, str]
    proven: bool

    def factor(self) -> float | None:
        """The largest factor on its steps at which the value stays in the cheapest fleet, infinite beyond `REACH`;
        `None` where the steady state knows no fleet with it."""
        most = self._most()
        if most is None:
            return None
        if not self._stays(1.0, most):
            return 1.0
        low, high = 1.0, REACH
        if self._stays(high, most):
            return float("inf")
        while high > low * (1 + RESOLUTION):
            middle = sqrt(low * high)
            low, high = (middle, high) if self._stays(middle, most) else (low, middle)
        return low

    @property
    def pure(self) -> bool:
        """Whether all that the plan rents has the value: it is then held against fleets of nothing else."""
        axis, value = self.what
        return all(deployment.axes[axis] == value for deployment in deployments_of(self.problem, self.best))

    @property
    def keep(self) -> KeepChoice:
        """What the value is held against the best without it in."""
        return keep_only(*self.what) if self.pure else keep_everything

    def _most(self) -> float | None:
        """What the cheapest with the value may cost in the steady state until the best without it is no dearer."""
        search, goal = self.problem.search, self.problem.goal.asked
        counted = [
            fleet.objective + goal.price_of_kinds(fleet.kinds) * self.proven for fleet in (self.rival, self.best)
        ]
        try:
            most = search.solve(goal, self.keep).objective * counted[0] / counted[1]
            return most if self.pure else min(most, search.solve(goal, keep_without(*self.what)).objective)
        except InfeasibleError:
            return None

    def _stays(self, factor: float, most: float) -> bool:
        axis, value = self.what

        def slower(deployment: Deployment) -> float:
            return factor if deployment.axes[axis] == value else 1.0

        try:
            case, _ = PlanSearch(space_at(self.problem.space, slower)).case(self.problem.goal.asked, self.keep)
            return within(case, most * (1 - CHANGE))
        except InfeasibleError:
            return False


def deployments_of(problem: PlanningProblem, fleet: Fleet) -> Iterator[Deployment]:
    """What a fleet rents."""
    for model, units in fleet.units.items():
        for row in np.flatnonzero(units[0]):
            yield problem.space.offers[model].deployments[row]


def _document(problem: PlanningProblem, best: Fleet, search: _BreakEvenSearch, found: float) -> BreakEvenFactor:
    axis, value = search.what
    using = [one for one in deployments_of(problem, best) if one.axes[axis] == value]
    planned = {short(planned_factor(one.replica, problem.steps)) for one in using}
    factor, of = (found * planned.pop(), "predicted") if len(planned) == 1 else (found, "planned")
    reached = np.isfinite(found)
    limit = f"unless its steps take more than {factor:.2f}x as {of}" if reached else f"up to {REACH:g}x as {of}"
    steady = f" ({STEADY})" if search.proven else ""
    beyond = describe_fleet(problem.search, search.rival)
    return BreakEvenFactor(
        axis=axis,
        value=value,
        factor=short(factor) if reached else None,
        beyond=beyond,
        sentence=f"{value} stays cheapest {limit}{steady}",
    )

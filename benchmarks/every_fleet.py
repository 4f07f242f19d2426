"""Fleets of a workload that were tried without the planner's search: every equal one and every mix of two kinds.

What holds is decided by the draws that the planner uses and the bound of a further draw at 95 %, written here again.
Fleets that carry less than 80 % of the demand in the steady state are left out. Of a kind (of a pair: beside each count
of the other) the most that cost less are tried first, and fewer only where those hold: more of a kind is taken to be
late no more often on common draws, as the planner takes it. Steps are those of the plan (`PlanningProblem.steps`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from comptroller.planning.ground.nouns import Goal
from comptroller.planning.planner import REHEARSAL
from comptroller.planning.prove.request_draws import RequestDraws
from comptroller.planning.solve.description import describe_units
from comptroller.planning.solve.problem import PlanningProblem

Floats = npt.NDArray[np.float64]

CARRIES = 0.8
"""Of the demand, in the steady state without latency objectives: the simulator differs from it by a few per cent."""

NEARER = (0.85, 0.7, 0.5)
"""Shares of the objectives at which batch caps are chosen too: a smaller batch decodes faster."""

PAIRS = 8
"""Deployments that are paired, of each device and layout the one that carries most per dollar."""


class EveryFleet:
    """Fleets of a problem tried without the planner's search: units by deployment, each with its batch cap."""

    def __init__(self, problem: PlanningProblem) -> None:
        self.problem = problem
        self.draws = RequestDraws(problem, problem.steps, REHEARSAL)
        self.like = problem.search.solve(problem.goal)
        ((self.model, self.offers),) = problem.space.offers.items()
        self.most_s = np.array([target.most_s for target in problem.goal.targets])
        self.tried = 0

    @cached_property
    def demand(self) -> Floats:
        """(buckets,), requests per second."""
        return np.asarray(self.like.calls_per_s[self.model][0].sum(axis=1))

    @cached_property
    def carried(self) -> Floats:
        """(deployments,): the share of the demand that a unit carries in the steady state, whatever the latency."""
        market = self.offers.market(replace(self.problem.goal, targets=()))
        need = np.where(
            market.fits.all(axis=0), (market.finite * self.demand[None, :, None]).sum(axis=1).max(axis=0), np.inf
        )
        return np.asarray(1.0 / need)

    @property
    def goals(self) -> tuple[Goal, ...]:
        """The goals that batch caps are chosen by: as asked, at less of every objective, and at none of it."""
        return tuple(self.problem.goal.aimed(share) for share in (1.0, *NEARER, 1e6))

    def holds(self, units: Mapping[int, int]) -> bool:
        """Whether units by deployment hold every objective at any caps, each given its share of what all carry."""
        caps = {tuple(self.offers.table.best(goal.targets)[1][row] for row in units): goal for goal in self.goals}
        draws = (self.draws_of(units, goal) for goal in caps.values())
        return any(found is not None and self._holds(found) for found in draws)

    def draws_of(self, units: Mapping[int, int], goal: Goal) -> Iterator[Floats] | None:
        """The objectives' quantiles of a fleet, draw by draw; `None` where a kind cannot run all sizes."""
        if not all((self.offers.table.best(goal.targets)[0][row] > 0).all() for row in units):
            return None
        count, calls = np.zeros((1, len(self.carried)), np.int64), np.zeros((1, len(self.demand), len(self.carried)))
        whole = sum(number * self.carried[row] for row, number in units.items())
        for row, number in units.items():
            count[0, row] = number
            calls[0, :, row] = self.demand * number * self.carried[row] / whole
        fleet = replace(self.like, units={self.model: count}, calls_per_s={self.model: calls})
        self.tried += 1
        record = self.draws.record(fleet, goal)
        return (record.first(number + 1)[-1] for number in range(REHEARSAL.draws))

    def _holds(self, draws: Iterator[Floats]) -> bool:
        n, rows = REHEARSAL.draws, list[Floats]()
        factor = float(student.ppf(REHEARSAL.confidence, n - 1)) * np.sqrt(1 + 1 / n)
        for row in draws:
            rows.append(row)
            if (row * (1 + factor * np.sqrt(n)) / n > self.most_s).any():
                return False
        made = np.stack(rows)
        return bool((made.mean(axis=0) + factor * made.std(axis=0, ddof=1) <= self.most_s).all())

    def cheaper(self, most: float) -> tuple[float, str]:
        """The cheapest fleet that holds for less than `most`, and its line; `most` itself where there is none."""
        best, line = most, ""
        for row, others in self._groups(most):
            price = self.offers.unit.usd_per_h
            fixed = sum(number * float(price[other]) for other, number in others.items())
            for count in range(int((most - fixed) / price[row]) + 1, 0, -1):
                units = {**others, row: count}
                usd = fixed + count * float(price[row])
                if usd >= best * (1 - 1e-9) or not self._is_to_be_had(units):
                    continue
                if sum(number * self.carried[kind] for kind, number in units.items()) < CARRIES or not self.holds(
                    units
                ):
                    break
                best, line = usd, self._line(units)
        return best, line

    def _is_to_be_had(self, units: Mapping[int, int]) -> bool:
        """Whether a fleet keeps to the limits of the workload and to what offers have available."""
        market = self.offers.market(self.problem.goal)
        taken = {
            name: sum(market.takes[name][row] * n for row, n in units.items()) for name, _ in self.problem.goal.limits
        }
        return all(taken[name] <= most * (1 + 1e-9) for name, most in self.problem.goal.limits)

    def _line(self, units: Mapping[int, int]) -> str:
        count = np.zeros(len(self.carried), np.int64)
        for row, number in units.items():
            count[row] = number
        return describe_units(self.offers, count)

    def _groups(self, most: float) -> Iterator[tuple[int, dict[int, int]]]:
        """Kinds, each with the units that stay beside it: none, or a count of another that costs less than `most`."""
        price = self.offers.unit.usd_per_h
        for row in np.flatnonzero(self.carried > 0).tolist():
            yield row, {}
        for one, other in combinations(self._paired(price), 2):
            for first in range(1, int(most / price[one]) + 1):
                yield other, {one: first}

    def _paired(self, price: Floats) -> list[int]:
        rows = [row for row in np.argsort(price / self.carried).tolist() if np.isfinite(price[row] / self.carried[row])]
        alike: dict[tuple[str, str], int] = {}
        for row in rows:
            axes = self.offers.deployments[row].axes
            alike.setdefault((axes["accelerator"], axes["layout"]), row)
        return list(alike.values())[:PAIRS]

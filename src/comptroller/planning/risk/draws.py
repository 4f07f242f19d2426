"""Everything uncertain about a joint plan drawn together: evidence, step times, prices, demand; what each does to cost.

A plan is held against draws with the work that it does: every service is rented again for the calls that the plan
sends it, in whole units, more or fewer than the plan holds. So cost is what it takes to carry the same work, and of
plans drawn together every one answers to the same questions, step times, prices and demand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from comptroller.planning.offer.deployments import Deployment
from comptroller.planning.offer.intervals import RelativeInterval, ReplicaIntervals
from comptroller.planning.offer.question_offer import JointProblem, targets_of
from comptroller.planning.risk.price_drift import strata
from comptroller.planning.risk.question_draws import LEAST, RESAMPLES, class_means, per_question
from comptroller.planning.risk.uncertainty import FactorDistribution, demand_chance, price_chance, two_sided
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.search import JointSearch, JointSolution

Floats = npt.NDArray[np.float64]

BRIM = 1e-6
"""Of a unit: what the solver may leave over a full one."""

Kind = tuple[str, str]
"""Accelerator and engine: deployments that share them share the error of their step times."""


@dataclass(frozen=True)
class ContenderService:
    """A service of a plan. need: columns of `ContenderPlan.values` with the units that its calls take, one for each
    load.

    steps: 80 % band of its step time.  unit_usd_per_h: of a unit.  units: that the plan holds.  spare: kept in reserve.
    """

    candidate: Deployment
    need: slice
    steps: RelativeInterval
    unit_usd_per_h: float
    units: int

    @property
    def kind(self) -> Kind:
        """What its step time is measured by."""
        return self.candidate.replica.device.id, self.candidate.replica.engine.id

    @property
    def quote(self) -> str:
        """The offer that prices it: what changes alone."""
        offer, site = self.candidate.offer, self.candidate.site
        return f"{offer.accelerator} {offer.term.replace('_', '-')} from {offer.provider} at {site.id}"


@dataclass(frozen=True)
class ContenderPlan:
    """A plan or a rival, as means over questions. usd: column of API dollars.  solved: of each target's share."""

    solution: JointSolution
    held: tuple[ContenderService, ...]
    usd: int
    solved: slice


@dataclass(frozen=True)
class ContenderSet:
    """What draws are held against: stands, and per question everything that is a mean. values: (questions, columns)."""

    problem: JointProblem
    stands: tuple[ContenderPlan, ...]
    values: Floats
    weight: Floats

    @property
    def point(self) -> Floats:
        """The means as recorded: (columns,)."""
        return np.asarray((self.problem.joint.mean @ self.values).T @ self.weight)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Accelerators and engines that a stand rents."""
        return tuple(dict.fromkeys(held.kind for stand in self.stands for held in stand.held))

    @property
    def quotes(self) -> dict[str, Deployment]:
        """Offers that a stand rents, each with one candidate that it prices."""
        return {held.quote: held.candidate for stand in self.stands for held in stand.held}


@dataclass(frozen=True)
class RiskDraws:
    """Draws of what is uncertain; leading axes are those of draws and may differ where they broadcast.

    means: (..., columns of `ContenderSet.values`).  steps: (..., kinds), standard normal.  prices: (..., quotes),
    factors.  demand: (...), a factor.
    """

    means: Floats
    steps: Floats
    prices: Floats
    demand: Floats


@dataclass(frozen=True)
class ContenderOutcome:
    """What a stand does in draws. usd_per_h: cost.  solved: leading axis of targets.  demand: its factor."""

    usd_per_h: Floats
    solved: Floats
    demand: Floats


def ground_of(problem: JointProblem, solutions: Sequence[JointSolution]) -> ContenderSet:
    """The solutions with what of each is a mean over questions."""
    stands, columns = [], list[Floats]()
    for solution in solutions:
        stand, mine = _stand(problem, solution, sum(part.shape[1] for part in columns))
        stands.append(stand)
        columns.append(mine)
    return ContenderSet(problem, tuple(stands), np.concatenate(columns, axis=1), problem.joint.ground.weight)


def _stand(problem: JointProblem, solution: JointSolution, start: int) -> tuple[ContenderPlan, Floats]:
    ground = problem.joint.ground
    score, usd = per_question(problem.joint, solution).T
    columns = [usd]
    for task, _ in targets_of(problem.quality):
        of = ground.choices.tasks.index(task) if task else None
        columns.append(score if of is None else score * (ground.choices.task == of) / ground.weight[of])
    held = []
    for arm in solution.fleets:
        for row, needs in _needs(problem.joint, solution, arm, problem.goal):
            search = ground.searches[arm]
            first = start + len(columns)
            held.append(
                ContenderService(
                    search.table.candidates[row],
                    slice(first, first + len(needs)),
                    ReplicaIntervals.of(search.table.candidates[row].replica).tpot,
                    float(search.unit.usd_per_h[row]),
                    int(solution.fleets[arm].units[row]),
                )
            )
            columns += needs
    targets = slice(start + 1, start + 1 + len(targets_of(problem.quality)))
    return ContenderPlan(solution, tuple(held), start, targets), np.stack(columns, axis=1)


def _needs(joint: JointSearch, solution: JointSolution, arm: int, goal: Goal) -> Iterator[tuple[int, list[Floats]]]:
    """Of every service of an arm: its row, and for each load the units that each question's calls take."""
    ground = joint.ground
    search, sizes, fleet = ground.searches[arm], ground.sizes[arm], solution.fleets[arm]
    requests = sizes.load.requests
    bucket = sizes.keys(requests)
    mix = search.mix(replace(goal, demand=1.0), np.ones(len(search.table.candidates), bool))
    calls = _calls(joint, solution, arm)[:, bucket] * ground.rate_per_s * goal.demand
    sent = fleet.calls_per_s[bucket]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(sent > 0, sent / sent.sum(axis=1, keepdims=True), 0.0)
    for row in np.flatnonzero(fleet.units).tolist():
        loads = []
        for load in (mix.load, *mix.also):
            per_call = np.where(share[:, row] > 0, load[:, row], 0.0) / search.table.load.rate_per_s
            loads.append(calls @ (per_call * share[:, row]))
        yield row, loads


def _calls(joint: JointSearch, solution: JointSolution, arm: int) -> Floats:
    """Calls that own devices get of each question: (questions, buckets)."""
    choices, sizes = joint.ground.choices, joint.ground.sizes[arm]
    found = np.zeros((len(choices.task), sizes.buckets))
    for number in np.flatnonzero(solution.share.sum(axis=0) > LEAST):
        way = joint.ground.ways[number]
        if way.routes.get(arm) == "own":
            calls = sizes.calls(way.option.asked, arm, len(choices.task))
            found += calls * solution.share[choices.task, number][:, None]
    return found


def outcome(ground: ContenderSet, number: int, draws: RiskDraws) -> ContenderOutcome:
    """What a stand costs and solves in draws."""
    stand, rate = ground.stands[number], ground.problem.joint.ground.rate_per_s
    usd = draws.means[..., stand.usd] * rate * 3600.0 * draws.demand
    kinds, quotes, point = ground.kinds, list(ground.quotes), ground.point
    for held in stand.held:
        slower = two_sided(draws.steps[..., kinds.index(held.kind)], held.steps.low, held.steps.high)
        need = draws.means[..., held.need].max(axis=-1) * slower * draws.demand
        units = held.units + np.ceil(need - BRIM) - np.ceil(point[held.need].max() - BRIM)
        usd = usd + units * held.unit_usd_per_h * draws.prices[..., quotes.index(held.quote)]
    solved = np.moveaxis(draws.means[..., stand.solved], -1, 0)
    return ContenderOutcome(usd, solved, draws.demand)


@dataclass(frozen=True)
class RiskDistributions:
    """How each thing is drawn. prices: of each quote of the ground."""

    ground: ContenderSet
    prices: tuple[FactorDistribution, ...]
    demand: FactorDistribution

    @classmethod
    def of(cls, ground: ContenderSet) -> RiskDistributions:
        """Those of the facts, the trace, and what the workload declares."""
        declared = ground.problem.workload.uncertainty
        prices = tuple(price_chance(each.offer.term, declared) for each in ground.quotes.values())
        return cls(ground, prices, demand_chance(ground.problem.workload, declared))

    def deviations(self, count: int, seed: Sequence[int]) -> Floats:
        """Of the classes' means from the point, times their weights: (classes, draws, columns).

        Their own mean, which is 0 but for chance, is taken off.
        """
        joint = self.ground.problem.joint
        means = class_means(joint, self.ground.values, count, np.random.default_rng([*seed, 1]))
        apart = (means - means.mean(axis=0)) * self.ground.weight[:, None]
        return np.asarray(np.moveaxis(apart, 1, 0))

    def draw(self, count: int, seed: Sequence[int]) -> RiskDraws:
        """Everything drawn together. seed: of the draws; each source has a stream of its own."""
        steps, prices, demand = (np.random.default_rng([*seed, number]) for number in (4, 5, 6))
        factors = [chance.draw(count, prices) for chance in self.prices]
        deviates = [ndtri(strata(count, steps)) for _ in self.ground.kinds]
        return RiskDraws(
            self.ground.point + self.deviations(count, seed).sum(axis=0),
            np.stack(deviates, axis=1) if deviates else np.ones((count, 0)),
            np.stack(factors, axis=1) if factors else np.ones((count, 0)),
            self.demand.draw(count, demand),
        )

    def rests_on(self) -> dict[str, str]:
        """What the draws of each source are, in words."""
        choices = self.ground.problem.joint.ground.choices
        bands = dict.fromkeys(
            f"{held.candidate.replica.model.id} on {held.kind[0]} under {held.kind[1]} "
            f"{held.steps.low:.2g}x to {held.steps.high:.2g}x"
            for held in self.ground.stands[0].held
        )
        quotes = dict.fromkeys(chance.rests_on for chance in self.prices)
        return {
            "evidence": f"{len(choices.task):,} questions resampled within their classes",
            "step times": "; ".join(bands) or "nothing is rented",
            "prices": "; ".join(quotes) or "nothing is rented",
            "demand": self.demand.rests_on,
        }

    def still(self) -> RiskDraws:
        """One draw in which nothing differs from the plan."""
        ground = self.ground
        return RiskDraws(
            ground.point[None], np.zeros((1, len(ground.kinds))), np.ones((1, len(ground.quotes))), np.ones(1)
        )


ALONE: dict[str, Callable[[RiskDraws, RiskDraws], RiskDraws]] = {
    "evidence": lambda still, drawn: replace(still, means=drawn.means),
    "step times": lambda still, drawn: replace(still, steps=drawn.steps),
    "prices": lambda still, drawn: replace(still, prices=drawn.prices),
    "demand": lambda still, drawn: replace(still, demand=drawn.demand),
}
"""Draws in which one source alone varies."""


@dataclass(frozen=True)
class RiskSimulation:
    """A plan and its rivals in joint draws; the plan is the first stand."""

    chances: RiskDistributions
    draws: RiskDraws
    outcomes: tuple[ContenderOutcome, ...]

    @classmethod
    def of(cls, problem: JointProblem, solutions: Sequence[JointSolution]) -> RiskSimulation:
        """The plan, first of the solutions, and its rivals on the same draws."""
        chances = RiskDistributions.of(ground_of(problem, solutions))
        draws = chances.draw(RESAMPLES, [problem.workload.seed])
        found = tuple(outcome(chances.ground, number, draws) for number in range(len(solutions)))
        return cls(chances, draws, found)

    def number(self, solution: JointSolution | None) -> int | None:
        """Which stand a solution is; `None` if none is like it."""
        if solution is None:
            return None
        keys = [stand.solution.key for stand in self.chances.ground.stands]
        return keys.index(solution.key) if solution.key in keys else None

    def alone(self, source: str) -> Floats:
        """Cost of the plan when one source alone varies."""
        return outcome(self.chances.ground, 0, ALONE[source](self.chances.still(), self.draws)).usd_per_h


def ends(values: Floats, point: float) -> tuple[float, float]:
    """The 80 % interval of draws, widened to the point where that lies beside it.

    >>> ends(np.linspace(1.0, 2.0, 11), 0.5)
    (0.5, 1.9)
    """
    low, high = np.quantile(values, (0.1, 0.9)).tolist()
    return min(low, point), max(high, point)

"""Everything uncertain about a joint plan drawn together: evidence, step times, prices, demand; what each does to cost.

A plan is held against draws with the work that it does: every service is rented again for the calls that the plan
sends it, in whole units, more or fewer than the plan holds. So cost is what it takes to carry the same work, and of
plans drawn together every one answers to the same questions, step times, prices and demand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import ndtri

from comptroller.planning.ground.nouns import Deployment, Fleet, Floats, Goal
from comptroller.planning.ground.service_document import PredictedFigure
from comptroller.planning.offer.intervals import RelativeInterval, ReplicaIntervals
from comptroller.planning.offer.space import quality_targets
from comptroller.planning.risk.price_drift import strata
from comptroller.planning.risk.question_draws import RESAMPLES, class_means, per_question
from comptroller.planning.risk.uncertainty import FactorDistribution, demand_chance, price_chance
from comptroller.planning.solve.description import LEAST_SHARE
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import PlanSearch
from comptroller.quantities import short

BRIM = 1e-6
"""Of a unit: what the solver may leave over a full one."""

Kind = tuple[str, str]
"""Accelerator and engine: deployments that share them share the error of their step times."""


@dataclass(frozen=True)
class ContenderService:
    """A service of a plan. need: columns of `ContenderSet.values` with the units that its calls take, one for each
    load.

    steps: 80 % band of its step time.  unit_usd_per_h: of a unit.  units: that the plan holds.  spare: kept in reserve.
    """

    deployment: Deployment
    need: slice
    steps: RelativeInterval
    unit_usd_per_h: float
    units: int

    @property
    def kind(self) -> Kind:
        """What its step time is measured by."""
        return self.deployment.replica.device.id, self.deployment.replica.engine.id

    @property
    def quote(self) -> str:
        """The offer that prices it: what changes alone."""
        offer, site = self.deployment.offer, self.deployment.site
        return f"{offer.accelerator} {offer.term.replace('_', '-')} from {offer.provider} at {site.id}"


@dataclass(frozen=True)
class ContenderPlan:
    """A plan or a rival, as means over questions. usd: column of API dollars.  solved: of each target's share."""

    fleet: Fleet
    services: tuple[ContenderService, ...]
    usd: int
    solved: slice


@dataclass(frozen=True)
class ContenderSet:
    """What draws are held against: plans, and per question everything that is a mean. values: (questions, columns)."""

    problem: PlanningProblem
    plans: tuple[ContenderPlan, ...]
    values: Floats
    weight: Floats

    @property
    def point(self) -> Floats:
        """The means as recorded: (columns,)."""
        return np.asarray((self.problem.search.mean @ self.values).T @ self.weight)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Accelerators and engines that a plan rents."""
        return tuple(dict.fromkeys(service.kind for plan in self.plans for service in plan.services))

    @property
    def quotes(self) -> dict[str, Deployment]:
        """Offers that a plan rents, each with one candidate that it prices."""
        return {service.quote: service.deployment for plan in self.plans for service in plan.services}


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
    """What a plan does in draws. usd_per_h: cost.  solved: leading axis of targets.  demand: its factor."""

    usd_per_h: Floats
    solved: Floats
    demand: Floats


def contenders_of(problem: PlanningProblem, fleets: Sequence[Fleet]) -> ContenderSet:
    """The fleets with what of each is a mean over questions."""
    contenders, columns = [], list[Floats]()
    for fleet in fleets:
        contender, values = _contender(problem, fleet, sum(part.shape[1] for part in columns))
        contenders.append(contender)
        columns.append(values)
    return ContenderSet(problem, tuple(contenders), np.concatenate(columns, axis=1), problem.space.weight)


def _contender(problem: PlanningProblem, fleet: Fleet, start: int) -> tuple[ContenderPlan, Floats]:
    space, targets = problem.space, quality_targets(problem.quality)
    score, usd = per_question(problem.search, fleet).T
    columns = [usd]
    for task, _ in targets:
        of = space.plays.tasks.index(task) if task else None
        columns.append(score if of is None else score * (space.plays.task == of) / space.weight[of])
    services = []
    for model in fleet.units:
        for row, needs in _needs(problem.search, fleet, model, problem.goal):
            offers, first = space.offers[model], start + len(columns)
            services.append(
                ContenderService(
                    offers.deployments[row],
                    slice(first, first + len(needs)),
                    ReplicaIntervals.of(offers.deployments[row].replica, problem.steps).tpot,
                    float(offers.unit.usd_per_h[row]),
                    int(fleet.units[model][0, row]),
                )
            )
            columns += needs
    solved = slice(start + 1, start + 1 + len(targets))
    return ContenderPlan(fleet, tuple(services), start, solved), np.stack(columns, axis=1)


def _needs(search: PlanSearch, fleet: Fleet, model: int, goal: Goal) -> Iterator[tuple[int, list[Floats]]]:
    """Of every service of a model: its row, and for each load the units that each question's calls take."""
    space = search.space
    market = space.offers[model].market(replace(goal, demand=1.0))
    calls = _calls(search, fleet, model) * space.rate_per_s * goal.sizing
    sent = fleet.calls_per_s[model][0]
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(sent > 0, sent / sent.sum(axis=1, keepdims=True), 0.0)
    for row in np.flatnonzero(fleet.units[model][0]).tolist():
        used = share[:, row] > 0
        yield row, [calls @ (np.where(used, load[:, row], 0.0) * share[:, row]) for load in market.load]


def _calls(search: PlanSearch, fleet: Fleet, model: int) -> Floats:
    """Calls that own devices get of each question: (questions, buckets)."""
    space = search.space
    calls = np.zeros((space.questions, space.buckets[model].count))
    for number in np.flatnonzero(fleet.share[0].sum(axis=0) > LEAST_SHARE):
        if space.options[number].routes.get(model) == "own":
            share = fleet.share[0][space.plays.task, number]
            calls += space.calls_of_option(model, int(number)) * share[:, None]
    return calls


def outcome(contenders: ContenderSet, number: int, draws: RiskDraws) -> ContenderOutcome:
    """What a plan costs and solves in draws."""
    plan, rate = contenders.plans[number], contenders.problem.space.rate_per_s
    usd = draws.means[..., plan.usd] * rate * 3600.0 * draws.demand
    kinds, quotes, point = contenders.kinds, list(contenders.quotes), contenders.point
    for service in plan.services:
        slower = service.steps.of_deviates(draws.steps[..., kinds.index(service.kind)])
        need = draws.means[..., service.need].max(axis=-1) * slower * draws.demand
        units = service.units + np.ceil(need - BRIM) - np.ceil(point[service.need].max() - BRIM)
        usd = usd + units * service.unit_usd_per_h * draws.prices[..., quotes.index(service.quote)]
    solved = np.moveaxis(draws.means[..., plan.solved], -1, 0)
    return ContenderOutcome(usd, solved, draws.demand)


@dataclass(frozen=True)
class RiskDistributions:
    """How each thing is drawn. prices: of each quote of the contenders."""

    contenders: ContenderSet
    prices: tuple[FactorDistribution, ...]
    demand: FactorDistribution

    @classmethod
    def of(cls, contenders: ContenderSet) -> RiskDistributions:
        """Those of the facts, the trace, and what the workload declares."""
        declared = contenders.problem.workload.uncertainty
        prices = tuple(price_chance(each.offer.term, declared) for each in contenders.quotes.values())
        return cls(contenders, prices, demand_chance(contenders.problem.workload, declared))

    def deviations(self, count: int, seed: Sequence[int]) -> Floats:
        """Of the classes' means from the point, times their weights: (classes, draws, columns).

        Their own mean, which is 0 but for chance, is taken off.
        """
        search = self.contenders.problem.search
        means = class_means(search, self.contenders.values, count, np.random.default_rng([*seed, 1]))
        apart = (means - means.mean(axis=0)) * self.contenders.weight[:, None]
        return np.asarray(np.moveaxis(apart, 1, 0))

    def draw(self, count: int, seed: Sequence[int]) -> RiskDraws:
        """Everything drawn together. seed: of the draws; each source has a stream of its own."""
        steps, prices, demand = (np.random.default_rng([*seed, number]) for number in (4, 5, 6))
        factors = [chance.draw(count, prices) for chance in self.prices]
        deviates = [ndtri(strata(count, steps)) for _ in self.contenders.kinds]
        return RiskDraws(
            self.contenders.point + self.deviations(count, seed).sum(axis=0),
            np.stack(deviates, axis=1) if deviates else np.ones((count, 0)),
            np.stack(factors, axis=1) if factors else np.ones((count, 0)),
            self.demand.draw(count, demand),
        )

    def rests_on(self) -> dict[str, str]:
        """What the draws of each source are, in words."""
        questions = self.contenders.problem.space.questions
        bands = dict.fromkeys(
            f"{service.deployment.replica.model.id} on {service.kind[0]} under {service.kind[1]} "
            f"{service.steps.low:.2g}x to {service.steps.high:.2g}x"
            for service in self.contenders.plans[0].services
        )
        quotes = dict.fromkeys(chance.rests_on for chance in self.prices)
        return {
            "evidence": f"{questions:,} questions resampled within their classes",
            "step times": "; ".join(bands) or "nothing is rented",
            "prices": "; ".join(quotes) or "nothing is rented",
            "demand": self.demand.rests_on,
        }

    def still(self) -> RiskDraws:
        """One draw in which nothing differs from the plan."""
        contenders = self.contenders
        return RiskDraws(
            contenders.point[None],
            np.zeros((1, len(contenders.kinds))),
            np.ones((1, len(contenders.quotes))),
            np.ones(1),
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
    """A plan and its rivals in joint draws; the plan is the first."""

    chances: RiskDistributions
    draws: RiskDraws
    outcomes: tuple[ContenderOutcome, ...]

    @classmethod
    def of(cls, problem: PlanningProblem, fleets: Sequence[Fleet]) -> RiskSimulation:
        """The plan, first of the fleets, and its rivals on the same draws."""
        chances = RiskDistributions.of(contenders_of(problem, fleets))
        draws = chances.draw(RESAMPLES, [problem.workload.seed])
        found = tuple(outcome(chances.contenders, number, draws) for number in range(len(fleets)))
        return cls(chances, draws, found)

    def number(self, fleet: Fleet | None) -> int | None:
        """Which plan a fleet is; `None` if none is like it."""
        if fleet is None:
            return None
        keys = [plan.fleet.key for plan in self.chances.contenders.plans]
        return keys.index(fleet.key) if fleet.key in keys else None

    def alone(self, source: str) -> Floats:
        """Cost of the plan when one source alone varies."""
        return outcome(self.chances.contenders, 0, ALONE[source](self.chances.still(), self.draws)).usd_per_h


def ends(values: Floats, point: float) -> tuple[float, float]:
    """The 80 % interval of draws, widened to the point where that lies beside it.

    >>> ends(np.linspace(1.0, 2.0, 11), 0.5)
    (0.5, 1.9)
    """
    low, high = np.quantile(values, (0.1, 0.9)).tolist()
    return min(low, point), max(high, point)


def figure_of_draws(value: float, drawn: Floats) -> PredictedFigure:
    """A value with the 80 % interval of its draws, which holds it."""
    low, high = ends(drawn, value)
    return PredictedFigure(value=short(value), low=short(low), high=short(high))

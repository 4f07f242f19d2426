"""What a day chooses from: the options and every term that their models are served at, hour by hour."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import FactError, InfeasibleError
from comptroller.planning.ground.nouns import AxisValues, Bools, Demand, Floats, Goal, Ints
from comptroller.planning.offer.day_market import (
    DayOffers,
    LoadMapping,
    bucket_mapping,
    day_demand,
    day_goal,
    day_offers,
    mixture_mapping,
    offers_with_works,
)
from comptroller.planning.offer.deployments import DeploymentSpace, RejectionTally
from comptroller.planning.offer.market import DeploymentOffers, with_capacities
from comptroller.planning.offer.questions import space_of_recorded
from comptroller.planning.offer.space import allowed_deployments, space_of
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import least_day
from comptroller.planning.solve.day_freedoms import DayFreedom, freedoms
from comptroller.planning.solve.option_dominance import undominated_options
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import KeepChoice, PlanSearch
from comptroller.work.hours import DeferrableWork, WorkloadDay

FEW = (240, 8)
"""Shares to choose in an hour, and columns to rent, that are all kept; of more, those that count (measured: with twice
as many the program of a day takes minutes)."""

QUANTILES = (0.25, 0.5, 0.75, 1.0)
"""Of the day's load: where whole fleets are sought, and where work comes on top also at twice the most."""

USED = 1e-7
"""Shares and units above this count as used: the solver's feasibility tolerance."""


@dataclass(frozen=True)
class DaySpace:
    """What a day chooses from. case: its program with everything open.  options: numbers in the search.  offers: by
    model.  least: no day of all that is allowed costs less; `None` where nothing was left out.
    """

    problem: PlanningProblem
    case: ProgramCase
    options: Ints
    offers: Mapping[int, DayOffers]
    least: float | None = None

    @property
    def terms(self) -> dict[int, tuple[str, ...]]:
        """How each column is rented, by model."""
        return {model: offers.terms for model, offers in self.offers.items()}

    @property
    def freedoms(self) -> list[DayFreedom]:
        """From one plan held all day to every term and every hour."""
        return list(freedoms(self.case, self.terms, self.problem.workload.allow.terms))


def day_space(problem: PlanningProblem, hours: WorkloadDay, calibration: TimingCalibration) -> DaySpace:
    """Every option and every term that may stand in a cheapest day; of many, those that count.

    Raises:
        FactError: work names a model that is not recorded or that no devices serve; the trace leaves out an hour.
        InfeasibleError: as `least_day`.
    """
    search, works = problem.search, _works_by_model(problem, hours)
    rented = {m: _offers(problem, hours, m, works.get(m, ()), calibration) for m in problem.space.offers}
    every = (item for of_model in rented.values() for item in of_model.deployments)
    problem = replace(problem, goal=with_capacities(problem.goal, every))
    offers = {
        model: day_offers(of_model, _mapping(problem, model, works.get(model, ())), problem.goal, hours)
        for model, of_model in rented.items()
    }
    offers = {model: day for model, day in offers.items() if len(day.market.rows)}
    own = problem.space.own
    left = np.array([number for number, models in enumerate(own) if models <= set(offers)], np.int64)
    options = undominated_options(own, search.table, left)
    calls = {model: _day_calls(search, model, options) for model in offers}
    table = OptionTable(search.table.score[:, options], search.table.usd[:, options], calls)
    base = Demand(problem.space.rate_per_s, problem.space.plays.tasks, problem.space.weight)
    demand = day_demand(problem.workload, hours, base)
    markets = {model: day.market for model, day in offers.items()}
    whole = DaySpace(problem, ProgramCase(demand, table, markets, day_goal(problem.goal)), options, offers)
    columns = sum(len(day.market.rows) for day in offers.values())
    return whole if table.score.size <= FEW[0] and columns <= FEW[1] else _with_pruned_choices(whole)


def _works_by_model(problem: PlanningProblem, hours: WorkloadDay) -> dict[int, list[DeferrableWork]]:
    """Work with tokens of its own, by the model that does it; work of plain requests is done by anybody."""
    if problem.quality is None:
        return {model: list(hours.deferrable) for model in problem.space.offers}
    works: dict[int, list[DeferrableWork]] = {}
    models = problem.space.plays.models
    served = {number: str(models[number]) for number in problem.space.offers}
    for work in (work for work in hours.deferrable if work.model is not None):
        named = [number for number, who in served.items() if who == work.model]
        named = named or [number for number in served if models[number].model == work.model]
        if len(named) != 1:
            recorded = work.model in {*map(str, models), *(who.model for who in models)}
            fault = "is recorded more than once" if named else "is served by no devices that are allowed"
            raise FactError(
                problem.workload.name,
                f"hours.deferrable.model of {work.name!r}",
                f"{work.model!r} {fault if recorded else 'is not recorded'}",
                "one of those served: " + (", ".join(served.values()) or "none"),
            )
        works.setdefault(named[0], []).append(work)
    return works


def _offers(
    problem: PlanningProblem,
    hours: WorkloadDay,
    model: int,
    works: Sequence[DeferrableWork],
    calibration: TimingCalibration,
) -> DeploymentOffers:
    """All that a model may be served by, at every term."""
    offers, load = problem.space.offers[model], problem.space.buckets[model].load
    if works or hours.spot is not None or problem.quality is None:
        space = deployment_space(problem, model)
        deployments = list(allowed_deployments(problem.workload, space, calibration, RejectionTally()))
        offers = offers_with_works(deployments, load, works, problem.goal, calibration)
    return offers


def deployment_space(problem: PlanningProblem, model: int) -> DeploymentSpace:
    """What may serve one model of a problem."""
    if problem.quality is None:
        return space_of(problem.workload)
    who = problem.space.offers[model].deployments[0].replica.model
    return space_of_recorded(who, problem.space.plays.models[model], problem.workload)


def _mapping(problem: PlanningProblem, model: int, works: Sequence[DeferrableWork]) -> LoadMapping:
    """Plain requests are one mixture over the hour; calls of questions come in buckets, for options differ in them."""
    load = problem.space.buckets[model].load
    if problem.quality is None:
        return mixture_mapping(load, works)
    return bucket_mapping(load, problem.search.used(model), works)


def _day_calls(search: PlanSearch, model: int, options: Ints) -> Floats:
    calls = search.table.calls[model][:, options]
    if search.space.plays.evidence is None:
        return np.asarray(calls.sum(axis=2, keepdims=True))
    return np.asarray(calls[:, :, search.used(model)])


def _with_pruned_choices(whole: DaySpace) -> DaySpace:
    """Options and columns of the cheapest days of fractional units, and of the cheapest fleets of each term alone."""
    options = np.zeros(len(whole.options), bool)
    columns = {model: np.zeros(len(day.market.rows), bool) for model, day in whole.offers.items()}
    bound, steps = np.inf, whole.freedoms
    for step in steps:
        try:
            bound, posed, values = least_day(step.case)
        except InfeasibleError:
            if step is steps[-1]:
                raise
            continue
        for answers in (posed.share, posed.later):
            options[: answers.shape[2]] |= (values[answers] > USED).any(axis=(0, 1))
        for model, serving in posed.serving.items():
            columns[model] |= (values[serving.units] > USED).any(axis=0)
    for share, units in _fleets_by_term(whole):
        options |= share[:, whole.options].any(axis=0)
        for model, used in units.items():
            columns[model] |= np.isin(whole.offers[model].market.rows, np.flatnonzero(used))
    some = np.flatnonzero(options)
    offers = {model: day.only(np.flatnonzero(columns[model])) for model, day in whole.offers.items()}
    markets = {model: day.market for model, day in offers.items()}
    case = replace(whole.case, options=whole.case.options.only(some), markets=markets)
    return replace(whole, case=case, options=whole.options[some], offers=offers, least=bound)


def _fleets_by_term(whole: DaySpace) -> Iterator[tuple[Floats, Mapping[int, Bools]]]:
    """Shares, and units by model, of the cheapest fleets of each term alone at several loads: whole units."""
    problem, load = whole.problem, whole.case.demand.load
    offers = {model: day.offers for model, day in whole.offers.items()}
    search = PlanSearch(problem.space.offering(offers))
    goal = replace(problem.goal, limits=())
    busy = load[load > 0]
    on_top = [2 * float(busy.max())] if whole.case.demand.works else []
    factors = dict.fromkeys([*np.quantile(busy, QUANTILES).tolist(), *on_top])
    for term in dict.fromkeys(term for terms in whole.terms.values() for term in terms):
        for factor in factors:
            try:
                fleet = search.solve(_at_load(goal, factor), _at_term(term))
            except InfeasibleError:
                continue
            yield fleet.share[0], {model: units[0] > 0 for model, units in fleet.units.items()}


def _at_load(goal: Goal, factor: float) -> Goal:
    return replace(goal, demand=goal.demand * factor)


def _at_term(term: str) -> KeepChoice:
    def keep(axes: AxisValues) -> bool:
        return term in axes.get("term", frozenset((term,)))

    return keep

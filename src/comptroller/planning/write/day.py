"""The cheapest day as a document: its hours, where its saving comes from, and what its deadlines are worth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.day_document import (
    ApiPurchase,
    DayPlan,
    DeadlineAlternative,
    DeferrableWorkDocument,
    FreedomStep,
    HourDocument,
    RentedReplicas,
)
from comptroller.planning.ground.nouns import Demand, Fleet, Floats, Ints
from comptroller.planning.offer.choices import ChoiceSpace
from comptroller.planning.offer.day_market import DayOffers
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.hour_rehearsal import (
    HourStage,
    RehearsedDay,
    RequestHourStage,
    hour_rehearsal_notes,
    raise_hours_until_held,
)
from comptroller.planning.prove.question_hours import QuestionHourStage
from comptroller.planning.solve.day_freedoms import DayFreedom, solve_steps
from comptroller.planning.solve.day_space import DaySpace, day_space
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import describe_option
from comptroller.quantities import short
from comptroller.work.hours import WorkloadDay

SHOWN = 1e-4
"""Shares of an hour's questions below this are left out of the document: one question in ten thousand."""


def day_plan(
    problem: PlanningProblem, calibration: TimingCalibration, settings: RehearsalSettings | None = None
) -> DayPlan | None:
    """The cheapest day of a workload that has hours, sized for the demand that held in simulation.

    settings: how every hour is simulated by itself.

    Raises:
        InfeasibleError: no day holds the targets and limits.
        InputError: the hours are malformed.
    """
    hours = problem.workload.hours
    if hours is None:
        return None
    space = day_space(problem, hours, calibration)
    return day_document(space, None if settings is None else _stage(space, calibration, settings))


def _stage(space: DaySpace, calibration: TimingCalibration, settings: RehearsalSettings) -> HourStage:
    if space.problem.quality is not None:
        return QuestionHourStage(space, calibration, settings)
    ((model, offers),) = space.offers.items()
    return RequestHourStage(model, offers, space.problem, calibration, settings)


def day_document(space: DaySpace, stage: HourStage | None = None) -> DayPlan:
    """The cheapest day of a space; with a stage, every hour is simulated and raised until it holds."""
    steps = solve_steps(space.freedoms)
    last, day = steps[-1]
    rehearsed = None if stage is None else raise_hours_until_held(stage, last, day)
    if rehearsed is not None and rehearsed.day is not day:
        case = replace(last.case, demand=rehearsed.demand)
        last, day = DayFreedom("every hour held in simulation", case), rehearsed.day
        steps.append((last, day))
    metered = not day.bought.any()
    floor = day.bound if space.least is None else space.least
    return DayPlan(
        usd_per_day=short(day.total["usd"].sum()),
        j_per_day=short(day.total["j"].sum()) if metered else None,
        gco2e_per_day=short(day.total["gco2e"].sum()) if metered else None,
        least_per_day=short(max(floor, 0.0)),
        hours=tuple(_hour(space, last.demand, day, h, rehearsed) for h in range(len(day.bought))),
        steps=tuple(_step(step.name, fleet) for step, fleet in steps),
        works=tuple(_work(last, day, k) for k in range(len(last.demand.works))),
        notes=(*_notes(space, day, max(floor, 0.0), rehearsed), *_rehearsal_notes(space, rehearsed)),
    )


def _step(name: str, day: Fleet) -> FreedomStep:
    return FreedomStep(
        name=name,
        objective_per_day=short(day.objective),
        usd_per_day=short(day.total["usd"].sum()),
        gco2e_per_day=None if day.bought.any() else short(day.total["gco2e"].sum()),
    )


def _hour(space: DaySpace, demand: Demand, day: Fleet, h: int, rehearsed: RehearsedDay | None) -> HourDocument:
    problem, metered = space.problem, day.bought[h] == 0
    rented: list[RentedReplicas] = []
    for model, units in day.units.items():
        rented += _rented_replicas(space.offers[model], units[h], space.case.markets[model].unit("usd")[h])
    questions = {} if problem.quality is None else _questions(space, demand, day, h)
    works = zip(demand.works, demand.works_per_s.tolist(), day.done[h].tolist(), strict=True)
    return HourDocument(
        hour=h,
        load_per_s=short(demand.rate_per_s * demand.load[h]),
        rented=tuple(rented),
        done={work.name: short(share * per_s * 3600.0) for work, per_s, share in works},
        usd=short(day.total["usd"][h]),
        w=short(day.total["j"][h] / 3600.0) if metered else None,
        gco2e=short(day.total["gco2e"][h]) if metered else None,
        tried=rehearsed.trial(problem.goal.demand, h) if rehearsed else None,
        **questions,
    )


def _questions(space: DaySpace, demand: Demand, day: Fleet, h: int) -> dict[str, object]:
    """What is bought, solved and by which strategies in an hour."""
    flow = demand.rate_per_s * demand.load[h] * demand.weight[:, None] * day.share[h]
    flow[:, : day.later.shape[2]] += day.later[h]
    answered = max(float(flow.sum()), 1e-12)
    return {
        "bought": tuple(_api_purchases(space, flow)),
        "solved": short((flow * space.case.options.score).sum() / answered),
        "strategies": dict(_strategies(space, flow.sum(axis=0) / answered)),
    }


def _rented_replicas(offers: DayOffers, units: Ints, prices: Floats) -> Iterator[RentedReplicas]:
    """What an hour rents; prices: dollars of a unit of each column in it."""
    for column in np.flatnonzero(units):
        deployment, row = offers.deployments[column], offers.market.rows[column]
        yield RentedReplicas(
            service=deployment.id,
            accelerator=deployment.replica.device.id,
            site=deployment.site.id,
            term=deployment.offer.term,
            replicas=round(units[column] * offers.offers.unit.replicas[row]),
            devices=round(units[column] * offers.offers.unit.devices[row]),
            usd=short(prices[column] * units[column]),
        )


def _strategies(space: DaySpace, gets: Floats) -> Iterator[tuple[str, float]]:
    """Share of an hour's questions by option, the largest first."""
    for option in np.argsort(-gets, kind="stable"):
        if gets[option] > SHOWN:
            yield describe_option(space.problem.space, int(space.options[option])), short(gets[option])


def _api_purchases(space: DaySpace, flow: Floats) -> Iterator[ApiPurchase]:
    """What is bought from each API for questions per second by class and option."""
    choices, models = space.problem.space, space.problem.space.plays.models
    paid: dict[int, Floats] = {}
    for option in np.flatnonzero(flow.sum(axis=0) > 1e-9):
        for model, amounts in _api_calls(choices, space.problem.search.mean, int(space.options[option])).items():
            paid[model] = paid.get(model, np.zeros(2)) + flow[:, option] @ amounts
    for model, (calls, usd) in sorted(paid.items()):
        if calls > 0:
            yield ApiPurchase(model=str(models[model]), calls_per_s=short(calls), usd=short(usd * 3600.0))


def _api_calls(choices: ChoiceSpace, mean: Floats, number: int) -> Mapping[int, Floats]:
    """By model whose API an option uses: calls and dollars of a question of each class, (classes, 2)."""
    option = choices.options[number]
    calls, by_model = option.play.calls, {}
    for model in (model for model, route in option.routes.items() if route == "api"):
        own = calls.model == model
        columns = (np.ones(int(own.sum())), calls.usd[own])
        amounts = [np.bincount(calls.question[own], values, mean.shape[1]) for values in columns]
        by_model[model] = mean @ np.stack(amounts, axis=1)
    return by_model


def _work(step: DayFreedom, day: Fleet, k: int) -> DeferrableWorkDocument:
    work, moved = step.demand.works[k], day.moved[k]
    waits = moved.sum(axis=0)
    done = max(float(waits.sum()), 1e-12)
    return DeferrableWorkDocument(
        name=work.name,
        requests_per_day=short(work.released.sum()),
        deadline_h=work.window_h,
        chosen=short(day.chosen[k]),
        moved=short(1.0 - waits[0] / done),
        mean_wait_h=short(float(waits @ np.arange(len(waits))) / done),
        saves=work.saves,
        later=_deadline(step, day, k, 1),
        earlier=_deadline(step, day, k, -1),
    )


def _deadline(step: DayFreedom, day: Fleet, k: int, towards: int) -> DeadlineAlternative | None:
    """What an hour more or less for work that must be done changes, solved again; nothing where it is not proven."""
    work = step.demand.works[k]
    hours = work.window_h + towards
    if work.saves is not None or not 1 <= hours <= step.demand.hours:
        return None
    works = tuple(replace(w, window_h=hours) if n == k else w for n, w in enumerate(step.demand.works))
    try:
        other = step.day(replace(step.demand, works=works), day)
    except InfeasibleError:
        return DeadlineAlternative(hours=hours, change_per_day=None)
    proven = other.objective < day.bound if towards > 0 else other.bound > day.objective
    return DeadlineAlternative(hours=hours, change_per_day=short(other.objective - day.objective if proven else 0.0))


def _notes(space: DaySpace, day: Fleet, floor: float, rehearsed: RehearsedDay | None) -> Iterator[str]:
    problem = space.problem
    if problem.workload.hours is not None:
        yield from _assumptions(problem.workload.hours, problem.goal.demand, problem.workload.allow.terms)
    columns = sum(len(offers.market.rows) for offers in space.offers.values())
    kept = "all that no other replaces" if space.least is None else "those that count"
    over = max(1.0 - floor / day.objective, 0.0) if day.objective else 0.0
    gap = f"were kept, {kept}; no day of all that is allowed costs less by more than {over:.1%}"
    if problem.quality is None:
        yield f"{columns} candidates to rent {gap}"
        return
    yield "the targets hold in every hour, for the questions that are answered in it, those that waited included"
    if rehearsed is None:
        yield "hours were not simulated: each is sized by the factor of the plan for the rate to hold"
    if space.case.question_works:
        yield "questions that wait are sized for their rate itself: no latency objective is theirs"
    yield f"{len(space.options)} ways to answer and {columns} candidates to rent {gap}"
    if day.bought.any():
        yield "joules and emissions of an API are not known, so hours that buy from one have none"


def _rehearsal_notes(space: DaySpace, rehearsed: RehearsedDay | None) -> Iterator[str]:
    if rehearsed is not None:
        yield from hour_rehearsal_notes(rehearsed, space.problem.goal.demand)


def _assumptions(hours: WorkloadDay, factor: float, terms: Sequence[str]) -> Iterator[str]:
    """What every day assumes."""
    yield (
        f"every hour is sized for {factor:.3g} x its demand, as the plan for the rate to hold is; "
        f"the day repeats itself, and work may wait past midnight"
    )
    yield from hours.table_notes
    spot = hours.spot
    if spot is None and "spot" in terms:
        yield "spot is not used: the workload gives no rate of interruptions (hours.spot)"
    if spot is not None:
        yield (
            f"spot: {spot.interruptions_per_h:g} interruptions of a unit per hour and {spot.outage_s:g} s without it "
            f"({spot.source}): a unit stands {spot.standing:.1%} of the time, and interactive load fits what is left "
            f"when {spot.lost_at_once:.0%} of a kind's units go at once"
        )

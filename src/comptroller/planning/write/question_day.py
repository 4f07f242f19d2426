"""The cheapest day of a quality target as a document: its hours, where its saving comes from, what deadlines cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from comptroller.costs.timing import TimingCalibration
from comptroller.planning.ground.day_document import ApiPurchase, DayPlan, HourDocument, RentedReplicas
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.question_offer import JointProblem
from comptroller.planning.solve.day_freedoms import QuestionDayFreedom, QuestionDaySpace, freedoms
from comptroller.planning.solve.day_space import choice
from comptroller.planning.solve.joint_hours import QuestionDayFleet
from comptroller.planning.solve.program_blocks import Array
from comptroller.planning.solve.search import JointSearch, describe_way
from comptroller.planning.write.day_steps import done_in, notes, rented_replicas, solve_steps, step_of, work_of
from comptroller.quantities import short

SHOWN = 1e-4
"""Shares of an hour's questions below this are left out of the document."""


def with_joint_hours(found: Plan, problem: JointProblem, calibration: TimingCalibration) -> Plan:
    """The plan with its day, if the workload has hours; units are sized for the demand that held in simulation.

    Raises:
        InfeasibleError: no day holds the targets and limits.
        InputError: the hours are malformed.
    """
    hours = problem.workload.hours
    if hours is None:
        return found
    chosen = choice(problem, hours, calibration)
    return found.model_copy(update={"hours": question_day_plan(chosen)})


def question_day_plan(chosen: QuestionDaySpace) -> DayPlan:
    """The cheapest day of a choice as a document."""
    hours, problem = chosen.problem.workload.hours, chosen.problem
    each = list(freedoms(chosen))
    steps = [(each[place], day) for place, day in solve_steps(each)]
    last, day = steps[-1]
    metered = not day.bought.any()
    floor = max(day.bound, 0.0) if chosen.least is None else chosen.least
    lines = [*notes(hours, problem.goal.demand, problem.workload.allow.terms)] if hours else []
    return DayPlan(
        usd_per_day=short(day.total["usd"].sum()),
        j_per_day=short(day.total["j"].sum()) if metered else None,
        gco2e_per_day=short(day.total["gco2e"].sum()) if metered else None,
        least_per_day=short(floor),
        hours=tuple(_hour(chosen, last, day, h) for h in range(len(day.bought))),
        steps=tuple(step_of(step.name, one, not one.bought.any()) for step, one in steps),
        works=tuple(work_of(last, day, k) for k in range(len(last.asked.works))),
        notes=(*lines, *_notes(chosen, day, floor)),
    )


def _hour(of: QuestionDaySpace, step: QuestionDayFreedom, day: QuestionDayFleet, h: int) -> HourDocument:
    flow = of.traffic.rate_per_s * step.asked.load[h] * day.share[h]
    flow[:, : day.later.shape[2]] += day.later[h]
    answered, metered = max(float(flow.sum()), 1e-12), day.bought[h] == 0
    found: list[RentedReplicas] = []
    for arm, fleet in day.fleets.items():
        found += rented_replicas(of.offers[arm], fleet.units[h], step.traffic.arms[arm].market.unit("usd")[h])
    return HourDocument(
        hour=h,
        load_per_s=short(of.traffic.rate_per_s * step.asked.load[h]),
        rented=tuple(found),
        done=done_in(step, day, h),
        usd=short(day.total["usd"][h]),
        w=short(day.total["j"][h] / 3600.0) if metered else None,
        gco2e=short(day.total["gco2e"][h]) if metered else None,
        bought=tuple(_api_purchases(of, flow)),
        solved=short((flow * of.traffic.score).sum() / answered),
        strategies=dict(_strategies(of, flow.sum(axis=0) / answered)),
    )


def _strategies(of: QuestionDaySpace, gets: Array) -> Iterator[tuple[str, float]]:
    """Share of an hour's questions by way, the largest first."""
    for way in np.argsort(-gets, kind="stable"):
        if gets[way] > SHOWN:
            yield describe_way(of.problem.joint, int(of.ways[way])), short(gets[way])


def _api_purchases(of: QuestionDaySpace, flow: Array) -> Iterator[ApiPurchase]:
    """What is bought from each API for questions per second by class and way."""
    joint, arms = of.problem.joint, of.problem.joint.ground.choices.evidence.arms
    paid: dict[int, Array] = {}
    for way in np.flatnonzero(flow.sum(axis=0) > 1e-9):
        for arm, each in _api_calls(joint, int(of.ways[way])).items():
            paid[arm] = paid.get(arm, np.zeros(2)) + flow[:, way] @ each
    for arm, (calls, usd) in sorted(paid.items()):
        if calls > 0:
            yield ApiPurchase(model=str(arms[arm]), calls_per_s=short(calls), usd=short(usd * 3600.0))


def _api_calls(joint: JointSearch, number: int) -> Mapping[int, Array]:
    """By arm whose API a way uses: calls and dollars of a question of each class, (classes, 2)."""
    way, questions = joint.ground.ways[number], joint.mean.shape[1]
    asked, found = way.option.asked, {}
    for arm in (arm for arm, route in way.routes.items() if route == "api"):
        mine = asked.arm == arm
        columns = (np.ones(int(mine.sum())), asked.usd[mine])
        each = [np.bincount(asked.question[mine], values, questions) for values in columns]
        found[arm] = joint.mean @ np.stack(each, axis=1)
    return found


def _notes(of: QuestionDaySpace, day: QuestionDayFleet, floor: float) -> Iterator[str]:
    yield "the targets hold in every hour, for the questions that are answered in it, those that waited included"
    yield "hours are not simulated one by one: each is sized by the factor of the plan for the rate to hold"
    if of.traffic.questions(of.asked):
        yield "questions that wait are sized for their rate itself: no latency objective is theirs"
    ways, columns = len(of.ways), sum(len(each.rows) for each in of.offers.values())
    all_ = "all that no other replaces" if of.least is None else "those that count"
    over = max(1.0 - floor / day.objective, 0.0) if day.objective else 0.0
    yield (
        f"{ways} ways to answer and {columns} candidates to rent were kept, {all_}; "
        f"no day of all that is allowed costs less by more than {over:.1%}"
    )
    if day.bought.any():
        yield "joules and emissions of an API are not known, so hours that buy from one have none"

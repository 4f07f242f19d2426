"""Plans of questions are searched as those of requests are: by what was simulated, and none that cannot stand."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import FactError
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.planner import plan, rehearse, shipped_calibration
from comptroller.planning.prove.arrivals import GROWTH, WARM_UP, RehearsalSettings, quantile
from comptroller.planning.prove.fleet_search import FleetSearch
from comptroller.planning.prove.question_draws import QuestionDraws
from comptroller.planning.prove.question_hours import QuestionHourStage
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.day_freedoms import solve_steps
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.serving.state import RequestState
from comptroller.work.workload import load, parse
from joint_problems import posed, workload
from test_planning_joint import OBJECTIVES, recorded, timely
from test_planning_joint_hours import asked_for, chosen

__all__ = ["recorded"]

FEW = RehearsalSettings(draws=3)
EXAMPLE = Path(__file__).parents[1] / "examples" / "quality.toml"
TTFT = LatencyTarget("ttft_s", 0.95, np.inf)


def search_of(problem: PlanningProblem) -> FleetSearch:
    best = problem.search.solve(problem.goal)
    return FleetSearch(FleetStage(problem, best, shipped_calibration(), FEW))


def quarters_s(problem: PlanningProblem, fleet: Fleet, factor: float = 1.0) -> list[float]:
    """TTFT p95 of the calls of the questions that arrive in each quarter of what is counted of an unseen draw.

    factor: of the rate of questions.
    """
    draws = QuestionDraws(problem, fleet, shipped_calibration(), RehearsalSettings(draws=1, seed=7))
    found = draws.played(fleet, problem.goal, 0, factor)
    arrival_s = np.full(len(found.answer_s), np.inf)
    np.minimum.at(arrival_s, found.calls["request"], found.outcome.arrival_s)
    since = arrival_s / arrival_s[-1]
    asked = (found.calls["input_tokens"] > 0) & (found.outcome.requests.state != RequestState.CANCELLED)
    at = since[found.calls["request"]]
    return [
        quantile(found.outcome.ttft_s[asked & (at >= low) & (at <= high)], TTFT)
        for low, high in pairwise(np.linspace(WARM_UP, 1.0, 5).tolist())
    ]


@pytest.mark.slow
def test_no_plan_is_dearer_than_a_fleet_of_its_pool_that_holds(recorded: Path) -> None:
    """Runners-up, explanations and breakpoints are simulated too; none of them is cheaper than the plan."""
    problem = posed(timely(recorded))
    _, fleet, verified = rehearse(problem, problem.search.solve(problem.goal), shipped_calibration(), FEW)
    assert verified is not None and verified.document.rounds[-1].holds
    cost = fleet.objective + problem.goal.price_of_kinds(fleet.kinds)
    pool = list(verified.search.stage.known(problem.goal))
    assert len(pool) > 10
    for other, goal in pool:
        counts_for = other.objective + problem.goal.price_of_kinds(other.kinds)
        assert counts_for >= cost * (1 - 1e-9) or not verified.search.stage.trial(other, goal).holds


@pytest.mark.slow
def test_looser_objectives_and_less_demand_are_never_dearer(recorded: Path) -> None:
    """On one stage: what holds an objective holds a looser one."""
    problem = posed(timely(recorded))
    search, goal = search_of(problem), problem.goal
    costs = []
    for limit in (0.012, 0.02, 0.05):
        targets = tuple(replace(t, most_s=limit) if t.quantity == "tpot_s" else t for t in goal.targets)
        costs.append(search.judged_again(replace(goal, targets=targets)).fleet.objective)
    assert costs == sorted(costs, reverse=True)
    asked = timely(recorded)
    less = search_of(posed({**asked, "rate_per_s": 1.0}))
    assert less.proven_fleet(less.stage.problem.goal).fleet.objective <= search.proven_fleet(goal).fleet.objective


@pytest.mark.slow
def test_a_plan_without_latency_objectives_stands(recorded: Path) -> None:
    asked = {**workload(recorded, quality={"routes": ["own"]}), "rate_per_s": 4.0}
    found = plan(parse(asked), rehearsal=FEW)
    assert found.verification is not None and not found.latency and found.verification.rounds[-1].holds
    assert any("the queue does not grow in simulation" in note for note in found.notes)
    assert all("steady state, not simulated" not in rival.reason for rival in found.runners_up)
    assert all("steady state, not simulated" in price.sentence for price in found.shadow_prices)


def test_what_is_bought_alone_needs_no_simulation(recorded: Path) -> None:
    found = plan(parse(workload(recorded, quality={"routes": ["api"]})), rehearsal=FEW)
    assert not found.services and found.verification is None


@pytest.mark.slow
def test_the_example_stands_by_quarters_and_a_growing_queue_is_seen() -> None:
    """No quarter is later than the first at the rate asked for; at twice the rate each is, more and more."""
    try:
        asked = load(EXAMPLE)
    except FactError as error:
        assert error.field == "evidence"
        pytest.skip(f"the evidence is not here: {error}")
    assert asked.quality is not None
    bare = asked.model_copy(update={"quality": asked.quality.model_copy(update={"confidence": None})})
    problem = pose_problem(bare, shipped_calibration())
    fleet = problem.search.solve(problem.goal)
    stands, grows = quarters_s(problem, fleet), quarters_s(problem, fleet, 2.0)
    assert max(stands) <= GROWTH * stands[0]
    assert grows == sorted(grows) and grows[-1] > 2 * grows[0]


def test_every_hour_of_questions_is_simulated(recorded: Path) -> None:
    document: dict[str, Any] = asked_for(recorded)
    document |= {"rate_per_s": 10.0, "allow": {**document["allow"], "terms": ["on_demand"]}}
    space = chosen(document)
    last, day = solve_steps(space.freedoms)[-1]
    stage = QuestionHourStage(space, shipped_calibration(), FEW)
    busy = int(np.argmax(last.demand.load * np.array([sum(u[h].sum() for u in day.units.values()) for h in range(24)])))
    assert stage.headroom(last.demand, day, busy) >= 1.0 - 1e-6
    seen = {}
    for factor in (0.25, 4.0):
        (seen[factor],) = stage.seen(replace(last.demand, load=last.demand.load * factor), day, busy)
    assert seen[0.25].target.quantity == "ttft_s" and np.isfinite(seen[0.25].upper_s)
    assert seen[0.25].holds and not seen[4.0].holds


@pytest.mark.slow
def test_a_day_of_questions_says_what_its_hours_showed(recorded: Path) -> None:
    document: dict[str, Any] = asked_for(recorded)
    document |= {"rate_per_s": 10.0, "allow": {**document["allow"], "terms": ["on_demand"]}}
    day = plan(parse(document), rehearsal=RehearsalSettings(draws=2)).hours
    assert day is not None and any("every hour was simulated" in note for note in day.notes)
    assert all(hour.tried is not None for hour in day.hours)
    failed = [hour.hour for hour in day.hours if hour.tried and not hour.tried.holds]
    assert all(any(f"{hour:02d}" in note for note in day.notes if "not shown" in note) for hour in failed)


def test_objectives_of_hours_are_those_of_the_plan(recorded: Path) -> None:
    document: dict[str, Any] = {**asked_for(recorded), "objectives": OBJECTIVES, "rate_per_s": 2.0}
    document |= {"allow": {**document["allow"], "terms": ["on_demand"], "accelerators": ["h100_sxm"]}}
    document["quality"] = {**document["quality"], "routes": ["own"]}
    space = chosen(document)
    last, day = solve_steps(space.freedoms[:1])[-1]
    seen = QuestionHourStage(space, shipped_calibration(), FEW).seen(last.demand, day, 0)
    assert [item.target for item in seen] == list(space.problem.goal.targets)

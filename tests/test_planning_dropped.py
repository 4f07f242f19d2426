"""What exact bounds drop is counted, told with what replaces it, and can be asked about."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from comptroller.planning.ground.way_families import router_way
from comptroller.planning.offer.requests import ANYBODY
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.reasons.explain import explain
from comptroller.planning.reasons.pruning import BOUND, BOUND_OPTION, LATE, OPTION, REPLACED, pruned_choices
from comptroller.planning.risk.confidence import OTHER_WAY
from comptroller.planning.solve.problem import pose_problem
from comptroller.work.workload import load, parse
from joint_problems import posed, recorded_in, workload


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_in(tmp_path_factory.mktemp("dropped"))


CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"


def test_every_deployment_that_a_search_leaves_out_is_counted() -> None:
    problem = pose_problem(load(CHAT), shipped_calibration())
    best = problem.search.solve(problem.goal)
    counts = {each.reason: each.count for each in pruned_choices(problem.search, problem.goal, best)}
    assert set(counts) <= {LATE, REPLACED, BOUND}
    (offers,) = problem.space.offers.values()
    assert sum(counts.values()) == len(offers.deployments) - best.considered
    gone = problem.search.beyond(problem.goal, best.objective)[1][ANYBODY]
    assert len(gone) == counts[BOUND] and not best.units[ANYBODY][0, gone].any()


def test_every_option_and_deployment_of_a_plan_for_questions_is_counted(recorded: Path) -> None:
    problem = posed(workload(recorded))
    search, goal = problem.search, problem.goal
    best = search.solve(goal)
    found = {each.reason: each for each in pruned_choices(search, goal, best)}
    opened, left = search.tried(goal)
    assert found[OPTION].count == len(opened) - len(left) > 0
    gone, by = re.fullmatch(r"(.*?): (.*) solves as much.* for no more", found[OPTION].example).groups()  # type: ignore[union-attr]
    assert gone != by
    deployments = sum(len(offers.deployments) for offers in problem.space.offers.values())
    markets = search.case(goal)[0].markets
    assert markets.keys() == problem.space.offers.keys()
    rented = sum(len(market.rows) for market in markets.values())
    late = sum(found[reason].count for reason in (LATE, REPLACED) if reason in found)
    assert late == deployments - rented
    options, rows = search.beyond(goal, best.objective)
    assert found[BOUND].count == sum(map(len, rows.values())) > 0
    assert (found[BOUND_OPTION].count if BOUND_OPTION in found else 0) == len(options)
    assert not best.share[:, :, options].any()
    assert not any(best.units[model][0, gone].any() for model, gone in rows.items() if model in best.units)


def test_what_replaces_an_option_is_no_dearer_and_solves_as_much(recorded: Path) -> None:
    problem = posed(workload(recorded))
    search, table = problem.search, problem.search.table
    opened, left = search.tried(problem.goal)
    assert len(left) < len(opened)
    for option in np.setdiff1d(opened, left).tolist():
        for number in range(len(problem.space.weight)):
            by = next(other for other in left.tolist() if search.replaces(other, option, number))
            assert table.score[number, by] >= table.score[number, option]
            assert table.usd[number, by] <= table.usd[number, option]


def test_a_dropped_strategy_can_be_asked_about(recorded: Path) -> None:
    problem = posed(workload(recorded, 40.0))
    left = problem.search.tried(problem.goal)[1].tolist()
    kept = {problem.space.options[option].play.strategy for option in left}
    (told,) = explain(problem, ["strategy=sample_and_vote"])
    assert "sample_and_vote" in kept or told.with_per_h is not None
    assert told.with_per_h is not None and told.with_per_h >= told.best_per_h
    assert "sample_and_vote" in told.choice


def test_a_plan_tells_what_was_dropped(recorded: Path) -> None:
    document = workload(recorded, 40.0)
    found, every = plan(parse(document), rehearsal=None), posed(document).space.options
    reasons = {each.reason: each for each in found.pruned}
    assert found.quality is not None and found.quality.support is not None
    ways = found.quality.support.ways
    assert ways == "one way for all questions, of a router"
    assert reasons[OTHER_WAY].count == sum(not router_way(option) for option in every) > 0
    assert reasons[OTHER_WAY].example.startswith("sample_and_vote") and reasons[OTHER_WAY].example.endswith(
        f"not {ways}"
    )

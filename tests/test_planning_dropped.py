"""What exact bounds drop is counted, told with what replaces it, and can be asked about."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from comptroller.planning.planner import plan, pose, shipped_calibration
from comptroller.planning.reasons.explain import explain, of_joint
from comptroller.planning.reasons.pruning import BOUND, LATE, REPLACED, WAY, dropped_deployments, dropped_jointly
from comptroller.work.workload import load, parse
from joint_problems import posed, recorded_in, workload


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recorded_in(tmp_path_factory.mktemp("dropped"))


CHAT = Path(__file__).parents[1] / "examples" / "chat.toml"


def test_every_deployment_that_a_search_leaves_out_is_counted() -> None:
    problem = pose(load(CHAT), shipped_calibration())
    best = problem.search.solve(problem.goal)
    counts = {each.reason: each.count for each in dropped_deployments(problem.search, problem.goal)}
    assert set(counts) <= {LATE, REPLACED, BOUND}
    assert sum(counts.values()) == len(problem.search.table.candidates) - best.considered


def test_every_way_and_deployment_of_a_joint_plan_is_counted(recorded: Path) -> None:
    problem = posed(workload(recorded))
    joint, goal = problem.joint, problem.goal
    best = joint.solve(goal)
    found = {each.reason: each for each in dropped_jointly(joint, goal, best)}
    open_, left = joint.tried(goal)
    assert found[WAY].count == len(open_) - len(left) > 0
    gone, by = re.fullmatch(r"(.*?): (.*) solves as much.* for no more", found[WAY].example).groups()  # type: ignore[union-attr]
    assert gone != by
    deployments = sum(len(search.table.candidates) for search in joint.ground.searches.values())
    rented = sum(len(rent.candidates) for arm in joint.ground.searches if (rent := joint.rent(arm, goal)))
    late = sum(found[reason].count for reason in (LATE, REPLACED) if reason in found)
    assert late == deployments - rented
    ways, rows = joint.beyond(goal, best.objective)
    assert found[BOUND].count == sum(map(len, rows.values())) > 0
    assert not best.share[:, ways].any()
    assert not any(best.fleets[arm].units[gone].any() for arm, gone in rows.items() if arm in best.fleets)


def test_what_replaces_a_way_is_no_dearer_and_solves_as_much(recorded: Path) -> None:
    problem = posed(workload(recorded))
    joint = problem.joint
    open_, left = joint.tried(problem.goal)
    for way in np.setdiff1d(open_, left).tolist():
        for row in range(len(joint.ground.weight)):
            by = next(other for other in left.tolist() if joint.replaces(other, way, row))
            assert joint.score[row, by] >= joint.score[row, way] and joint.usd[row, by] <= joint.usd[row, way]


def test_a_dropped_strategy_can_be_asked_about(recorded: Path) -> None:
    problem = posed(workload(recorded, 40.0))
    joint = problem.joint
    kept = {joint.ground.ways[way].option.name for way in joint.tried(problem.goal)[1].tolist()}
    (told,) = explain(of_joint(problem), ["strategy=sample_and_vote"])
    assert "sample_and_vote" in kept or told.with_per_h is not None
    assert told.with_per_h is not None and told.with_per_h >= told.best_per_h
    assert "sample_and_vote" in told.choice


def test_a_plan_tells_what_was_dropped(recorded: Path) -> None:
    found = plan(parse(workload(recorded)), rehearsal=None)
    reasons = {each.reason: each for each in found.pruned}
    assert reasons[WAY].count > 0 and "for no more" in reasons[WAY].example

"""The joint plan beside one way for all on recorded evidence that ships with the package: halves, both ways round; and
how the benchmarks compare such plans."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.planning.risk.cross_fit import WayOutcomes
from joint_problems import posed, recorded_in, workload

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from class_worth import BEST, SCORES, gains, price_of
from confidence import aimed, halves, on_questions
from joint import JudgedPlan, judged
from joint_lines import JOINT, ONE_WAY, HeldOutLine, cost_at, error_of
from joint_planners import PLANNERS, priced

TARGETS = (0.30, 0.45)
HALVES = 4
STRATEGIES = ["once", "once(greedy=false)", "sample_and_vote", "stop_on_success", "best_of_n(by=likelihood)"]


def document() -> dict[str, Any]:
    """Questions of seven tasks, so many a second that devices are a few per cent of the fleet."""
    return {
        "name": "own",
        "rate_per_s": 20_000.0,
        "quality": {
            "evidence": "own",
            "solve": {"min": 30.0, "unit": "%"},
            "strategies": STRATEGIES,
            "checker": {"tpr": 1.0, "fpr": 0.0},
            "models": {"SmolLM2-135M-Instruct": "smollm2_135m"},
            "routes": ["own"],
        },
        "allow": {"accelerators": ["l4", "a10g"], "sites": ["us_neocloud"]},
    }


@pytest.fixture(scope="module")
def plans() -> dict[str, list[JudgedPlan]]:
    """By half and target: one way for all, the joint plan, and the joint plan asked for as much as that way tells."""
    problem = posed(document())
    found: dict[str, list[JudgedPlan]] = {ONE_WAY: [], JOINT: [], "as much": []}
    for half in islice(halves(problem), HALVES):
        for target in TARGETS:
            one = judged(aimed(problem, target, None), PLANNERS[ONE_WAY], half)
            joint = judged(aimed(problem, target, None), PLANNERS[JOINT], half)
            assert one is not None and joint is not None
            as_much = judged(aimed(problem, one.told, None), PLANNERS[JOINT], half)
            assert as_much is not None
            for name, plan in zip(found, (one, joint, as_much), strict=True):
                found[name].append(plan)
    return found


def means(plans: list[JudgedPlan]) -> list[tuple[float, float]]:
    """Of every target: share solved of the other half, dollars per hour."""
    table = np.array([(plan.solved, plan.usd_per_h) for plan in plans]).reshape(-1, len(TARGETS), 2)
    return [(float(solved), float(usd)) for solved, usd in table.mean(axis=0)]


def test_the_joint_plan_costs_no_more_than_one_way_at_an_equal_share_of_other_questions(
    plans: dict[str, list[JudgedPlan]],
) -> None:
    one, joint, as_much = (means(plans[name]) for name in (ONE_WAY, JOINT, "as much"))
    for (solved, usd), mine in zip(one, as_much, strict=True):
        carried = cost_at(solved, mine, [*joint, *as_much])
        assert carried is None or carried <= usd * 1.01
        assert mine[0] >= solved - 0.01


def test_the_joint_plan_costs_less_at_the_target(plans: dict[str, list[JudgedPlan]]) -> None:
    one, joint = means(plans[ONE_WAY]), means(plans[JOINT])
    assert all(mine[1] <= theirs[1] * 1.01 for mine, theirs in zip(joint, one, strict=True))
    assert joint[-1][1] < one[-1][1] * 0.95
    assert all(mine[0] >= target - 0.01 for mine, target in zip(joint, TARGETS, strict=True))


def test_half_of_the_plans_reach_what_they_were_made_for(plans: dict[str, list[JudgedPlan]]) -> None:
    """Without a confidence a target holds on other questions in the mean."""
    reached = [plan.solved >= target for plan, target in zip(plans[JOINT], TARGETS * HALVES, strict=True)]
    assert np.mean(reached) >= 0.4


@pytest.mark.parametrize("least", [55.0, 65.0])
def test_sized_anew_on_its_own_questions_a_plan_costs_no_more_than_it_did(tmp_path: Path, least: float) -> None:
    """Its units carry it, and calls may go by another route where that is cheaper."""
    problem = posed(workload(recorded_in(tmp_path), least))
    best = problem.search.solve(problem.goal)
    every = np.ones(problem.space.questions, bool)
    usd, solved = priced(on_questions(problem, problem, every), problem.goal, best.share[0])
    assert usd <= best.objective * (1.0 + 1e-6)
    assert solved == pytest.approx(best.solved)


def test_the_error_of_a_saving_is_that_of_dollars_carried_to_the_rivals_share() -> None:
    """Two splits: $1 less at the same share, and $1 more for 0.1 more at $10 a share: savings of 10 % and 0."""
    line = HeldOutLine("w", "one way for all", 0.5, 4, 4, 10.0, 0.5, 10.0, 0.55, apart=[(-1.0, 0.0), (1.0, 0.1)])
    assert error_of(line, 9.5) == pytest.approx(0.05)


@st.composite
def halved(draw: st.DrawFn) -> tuple[WayOutcomes, WayOutcomes]:
    """Two halves' outcomes of ways on questions of some classes; a dearer way solves more in the mean."""
    rng, classes = np.random.default_rng(draw(st.integers(0, 10_000))), draw(st.integers(1, 4))
    ways, task = draw(st.integers(2, 6)), np.repeat(np.arange(classes), 12)
    chance = np.sort(rng.random((classes, ways)), axis=1)
    score, cost = [], rng.random((len(task), ways)) + 3.0 * np.arange(ways)
    score = [(rng.random((len(task), ways)) < chance[task]).astype(float) for _ in range(2)]
    one, other = (WayOutcomes(x, cost, task, np.full(classes, 1 / classes), np.zeros(classes)) for x in score)
    return one, other


@given(halved(), st.floats(0.1, 100.0))
def test_no_choice_by_class_passes_the_other_halfs_own_best(
    parts: tuple[WayOutcomes, WayOutcomes], price: float
) -> None:
    _, _, saved = gains(*parts, price)
    assert all(saved[name] <= saved[BEST] + 1e-9 for name in SCORES)
    assert saved[BEST] >= -1e-9
    if len(parts[0].weight) == 1:
        assert all(saved[name] == 0.0 for name in SCORES)


@given(halved())
def test_the_price_of_a_solved_question_rises_with_the_target(parts: tuple[WayOutcomes, WayOutcomes]) -> None:
    reach = parts[0].whole_scores.mean(axis=0)
    low, high = price_of(parts[0], float(reach[0])), price_of(parts[0], float(reach.max()))
    assert 0.0 <= low <= high * (1.0 + 1e-9)
    assert (high > 0.0) == (reach.max() > reach[0] + 1e-9)

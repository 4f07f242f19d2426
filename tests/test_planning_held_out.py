"""The joint plan beside one way for all on recorded evidence that ships with the package: halves, both ways round."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from joint_problems import posed

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from confidence import aimed, halves
from joint import JudgedPlan, judged
from joint_lines import JOINT, ONE_WAY, cost_at
from joint_planners import PLANNERS

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

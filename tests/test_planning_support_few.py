"""What evidence of few questions supports: classes of one, classes that nobody solves, a single question, no greedy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.errors import InfeasibleError, UnsupportedError
from comptroller.planning.planner import shipped_calibration
from comptroller.planning.risk.confidence import chance_met, with_supported_ways
from comptroller.planning.risk.question_draws import QuestionResamples
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.shrinkage import own_weight
from comptroller.work.workload import parse

PRICE = {"tiny": 0.002, "huge": 0.03}
CHANCE = {"tiny": 0.6, "huge": 0.9}


def posed(folder: Path, tasks: Mapping[str, int], **quality: Any) -> PlanningProblem:
    """Three samples of each question by two models; tasks: questions of each.  Nobody solves those of `never`."""
    rng, rows = np.random.default_rng(7), []
    never, blank = quality.pop("never", ""), quality.pop("blank", 0)
    for task, count in tasks.items():
        for number in range(count):
            for model, chance in CHANCE.items():
                for sample in range(3):
                    solved = task != never and (quality.get("sure", False) or rng.random() < chance)
                    rows.append(
                        {"question": f"{task}{number}", "task": task, "model": model, "sample": sample,
                         "usd": PRICE[model], "score": float(solved)}
                    )  # fmt: skip
    for row in rows[: 6 * blank : 3]:
        del row["score"]
    quality.pop("sure", None)
    file = folder / "few.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    asked = {
        "evidence": str(file),
        "solve": {"min": 50, "unit": "%"},
        "strategies": ["once", "verdict_cascade"],
        "checker": {"tpr": 1.0, "fpr": 0.0},
        "routes": ["api"],
        **quality,
    }
    return pose_problem(parse({"name": "few", "rate_per_s": 1.0, "quality": asked}), shipped_calibration())


def test_a_class_of_one_question_is_judged_with_the_others(tmp_path: Path) -> None:
    found = with_supported_ways(posed(tmp_path, {"many": 60, "single": 1}, confidence=0.8))
    assert found.support is not None and found.support.questions == 61
    assert 0.5 < found.support.solved < 1.0 and np.isfinite(found.support.deviation)


def test_a_class_without_a_target_may_be_solved_by_nobody(tmp_path: Path) -> None:
    found = with_supported_ways(posed(tmp_path, {"many": 60, "never": 6}, never="never", confidence=0.8))
    assert found.support is not None and found.support.aim >= 0.5


def test_the_class_whose_target_is_out_of_reach_is_named(tmp_path: Path) -> None:
    each = {"few": {"min": 70, "unit": "%"}}
    hard = posed(tmp_path, {"many": 60, "few": 3}, confidence=0.9, each=each)
    with pytest.raises(InfeasibleError, match=r"3 questions of few support .*; about [\d,]+ questions of few"):
        with_supported_ways(hard)


def test_one_question_supports_no_confidence(tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError, match="a single question, which tells of no others"):
        with_supported_ways(posed(tmp_path, {"single": 1}, sure=True, confidence=0.8))
    assert with_supported_ways(posed(tmp_path, {"single": 1}, sure=True)).support is None


@pytest.mark.parametrize(("questions", "below", "above"), [(1, 0.8, 0.5), (3, 0.95, 0.6), (200, 1.01, 0.999)])
def test_all_of_a_few_questions_solved_is_not_certain_of_others(
    tmp_path: Path, questions: int, below: float, above: float
) -> None:
    problem = posed(tmp_path, {"one": questions}, sure=True)
    ones = np.ones(2_000)
    met = chance_met(problem, QuestionResamples(ones, ones, ones[:, None]), {"": 0.0})
    assert above <= met < below


def test_one_sample_stands_in_where_no_greedy_reply_is_recorded(tmp_path: Path) -> None:
    problem = posed(tmp_path, {"one": 20})
    played = {play.strategy for play in problem.space.plays.plays}
    assert "once(greedy=False)" in played and "once" not in played
    twice = posed(tmp_path, {"one": 20}, strategies=["once(greedy=false)"])
    assert len(twice.space.plays.plays) == 2


def test_every_strategy_that_cannot_be_played_says_why(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"no greedy reply.*answers were never scored.*needs scored replies"):
        posed(tmp_path, {"one": 20}, blank=5)


def test_models_with_other_questions_are_told_and_one_of_them_can_be_planned(tmp_path: Path) -> None:
    file = tmp_path / "apart.jsonl"
    rows = [{"question": f"{m}{n}", "model": m, "usd": 0.1, "score": n % 2} for m in ("one", "two") for n in range(20)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    quality = {"evidence": str(file), "solve": {"min": 40, "unit": "%"}, "strategies": ["once"], "routes": ["api"]}
    asked = {"name": "apart", "rate_per_s": 1.0, "quality": quality}
    with pytest.raises(UnsupportedError, match=r"one: 20 of 40 .*two: 20 of 40 .*`models` names those"):
        pose_problem(parse(asked), shipped_calibration())
    problem = pose_problem(parse(asked | {"models": ["two"]}), shipped_calibration())
    assert problem.space.questions == 20
    with pytest.raises(UnsupportedError, match="none of three is recorded"):
        pose_problem(parse(asked | {"models": ["three"]}), shipped_calibration())


def test_weights_are_learned_where_a_fold_lacks_a_class() -> None:
    rng = np.random.default_rng(2)
    task = np.repeat([0, 1, 2, 3], [40, 40, 4, 1])
    apart = rng.uniform(-0.45, 0.45, (4, 30))
    score = (rng.random((85, 30)) < 0.5 + apart[task]).astype(float)
    weight = np.bincount(task) / 85
    assert own_weight(score, task, weight, np.arange(85) % 10) > 0.7

"""The error of a reward model as a parameter of a plan: searches over recorded steps, chosen by what scores them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.errors import ComptrollerError
from comptroller.planning.offer.question_judges import judges_of
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.strategies.modelled_reward import ModelledReward
from comptroller.work.workload import parse
from joint_problems import posed

QUESTIONS, FIRST, NEXT = 24, 4, 2


def recorded_steps(folder: Path) -> Path:
    """Trees of two levels: of four first steps one is right, and only what goes on from it ends in a right answer."""
    rng, rows = (
        np.random.default_rng(2),
        ["id,parent,question,model,role,sample,answer,score,input_tokens,output_tokens,usd"],
    )
    for q in range(QUESTIONS):
        right = int(rng.integers(FIRST))
        for first in range(FIRST):
            name, good = f"{q}/{first}", int(first == right)
            rows.append(f"{name},,q{q},m,step,{first},,{good},100,20,0.001")
            for more in range(NEXT):
                answer = "42" if good else f"{first}{more}"
                rows.append(f"{name}/{more},{name},q{q},m,step,{more},{answer},{good},120,20,0.001")
    path = folder / "trees.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def scored_steps(folder: Path) -> Path:
    """Scores of a reward model on steps whose truth is recorded: right ones above wrong ones, mostly."""
    rng, rows = np.random.default_rng(3), ["id,parent,question,model,role,sample,score,judgement"]
    for step in range(120):
        right = step % 2
        rows.append(f"s{step},,q{step},writer,step,0,{right},")
        rows.append(
            f"v{step},s{step},q{step},judge-7b,verifier,0,,{np.clip(rng.normal(0.3 + 0.4 * right, 0.2), 0, 1):.3f}"
        )
    path = folder / "scored.csv"
    path.write_text("\n".join(rows) + "\n")
    return path


def document(trees: Path, reward: dict[str, Any] | None) -> dict[str, Any]:
    quality: dict[str, Any] = {
        "evidence": str(trees),
        "solve": {"min": 20.0, "unit": "%"},
        "strategies": ["rebase(width=2,depth=2)"],
        "routes": ["api"],
    }
    if reward is not None:
        quality["reward"] = reward
    return {"name": "trees", "rate_per_s": 1.0, "quality": quality}


def solved(problem: PlanningProblem) -> float:
    """The share of questions that the search solves."""
    (option,) = problem.space.options
    return float(option.play.score.mean())


def test_a_plan_solves_less_the_more_its_reward_model_errs(tmp_path: Path) -> None:
    trees = recorded_steps(tmp_path)
    rates = ({"tpr": 1.0, "fpr": 0.0}, {"tpr": 0.7, "fpr": 0.3}, {"tpr": 0.5, "fpr": 0.5})
    shares = [solved(posed(document(trees, reward))) for reward in rates]
    assert shares[0] > shares[1] > shares[2]
    assert shares[0] > 2 * shares[2]


def test_the_error_of_a_recorded_reward_model_is_drawn_from_its_scores(tmp_path: Path) -> None:
    trees, scores = recorded_steps(tmp_path), scored_steps(tmp_path)
    reward = {"scores": str(scores), "model": "judge-7b"}
    workload = parse(document(trees, reward))
    assert workload.quality is not None
    judge = judges_of(workload.quality)["reward"]
    assert isinstance(judge, ModelledReward) and 0.8 < judge.auc < 1.0
    exact, blind = ({"tpr": 1.0, "fpr": 0.0}, {"tpr": 0.5, "fpr": 0.5})
    found = solved(posed(document(trees, reward)))
    assert solved(posed(document(trees, exact))) > found > solved(posed(document(trees, blind)))


def test_another_content_of_the_scores_is_another_workload(tmp_path: Path) -> None:
    trees, scores = recorded_steps(tmp_path), scored_steps(tmp_path)
    reward = {"scores": str(scores), "model": "judge-7b"}
    before = parse(document(trees, reward)).digest
    scores.write_text(scores.read_text().replace("0.3", "0.4"))
    assert parse(document(trees, reward)).digest != before


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ({"model": "judge-7b"}, "scores"),
        ({"scores": "scored.csv", "model": "judge-7b", "tpr": 0.9}, "one of either"),
        ({"tpr": 1.5}, "tpr"),
        ({"right": 0.5}, "right"),
    ],
)
def test_a_reward_that_is_not_told_whole_is_named(tmp_path: Path, reward: dict[str, Any], says: str) -> None:
    with pytest.raises(ComptrollerError, match=says):
        parse(document(recorded_steps(tmp_path), reward))

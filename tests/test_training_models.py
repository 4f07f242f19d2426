"""A model left to the plan: the cheapest that reaches the loss, as each would be planned alone."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from comptroller.errors import FactError, InfeasibleError
from comptroller.report.training_tables import models_sheet
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training

EXAMPLE = Path(__file__).parents[1] / "examples" / "loss.toml"


def document(**changes: Any) -> dict[str, Any]:
    found = tomllib.loads(EXAMPLE.read_text())
    run = {**found["training"], **changes}
    return {**found, "training": {key: value for key, value in run.items() if value is not None}}


@pytest.fixture(scope="module")
def chosen() -> TrainingPlan:
    return plan_training(parse_training(document()))


def test_the_choice_is_the_cheapest_of_plans_of_one_model(chosen: TrainingPlan) -> None:
    alone = {}
    for name in ("llama_3_1_8b", "qwen3_14b", "qwen3_32b"):
        alone[name] = plan_training(parse_training(document(models=None, model=name)))
    assert chosen.model == min(alone, key=lambda name: alone[name].run.usd.value) == "qwen3_14b"
    assert chosen.run == alone[chosen.model].run and chosen.tokens == alone[chosen.model].tokens
    told = {rival.model: rival for rival in chosen.models}
    for name in set(alone) - {chosen.model}:
        assert told[name].run == alone[name].run
        assert told[name].ratio == pytest.approx(alone[name].run.usd.value / chosen.run.usd.value)
    assert [rival.model for rival in chosen.models] == [row[0] for row in models_sheet(chosen).rows]


def test_a_model_that_reaches_the_loss_with_no_text_is_told(chosen: TrainingPlan) -> None:
    smallest = chosen.models[-1]
    assert smallest.model == "llama_3_2_1b" and smallest.run is None
    assert "with any number of tokens" in smallest.why


def test_a_higher_loss_takes_a_smaller_model_and_fewer_dollars(chosen: TrainingPlan) -> None:
    looser = plan_training(parse_training(document(target_loss=2.3)))
    assert looser.parameters < chosen.parameters and looser.run.usd.value < chosen.run.usd.value


def test_the_plan_comes_back_from_its_file(chosen: TrainingPlan) -> None:
    assert TrainingPlan.model_validate_json(chosen.to_json()) == chosen


def test_where_none_can_be_trained_every_reason_is_given() -> None:
    with pytest.raises(InfeasibleError, match=r"none of the models.*llama_3_2_1b: .*llama_3_2_3b: "):
        plan_training(parse_training(document(models=["llama_3_2_1b", "llama_3_2_3b"], target_loss=1.8)))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"models": None}, "model or models"),
        ({"model": "llama_3_1_8b"}, "model or models"),
        ({"target_loss": None, "tokens": 1e12}, "target_loss in place of tokens"),
        ({"models": ["llama_3_1_8b"]}, "models"),
        ({"models": ["llama_3_1_8b", "lama_3_1_8b"]}, "nearest: llama_3_1_8b"),
    ],
)
def test_what_is_asked_of_models_is_checked(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(FactError, match=says):
        parse_training(document(**changes))

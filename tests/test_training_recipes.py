"""Recipes of narrow training: facts with sources, what they add to time and memory, where they are refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.costs.training_activations import ActivationHabits, layer_activations
from comptroller.costs.training_layout import LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_memory import MemoryHabits, training_memory
from comptroller.costs.training_quantisation import quantisation_s, quantised_elements
from comptroller.costs.training_time import TrainingPace, step_ingredients, training_step_time
from comptroller.costs.training_work import ForwardTable, TrainingJob
from comptroller.errors import FactError, InfeasibleError, UnsupportedError
from comptroller.export.runs import export_run
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.format import format_
from comptroller.facts.reader import ids
from comptroller.facts.training_recipe import TRAINING_RECIPES, training_recipe
from comptroller.training.document import parse_training
from comptroller.training.plan_document import TrainingPlan
from comptroller.training.planner import plan_training
from comptroller.training.stated_precision import narrow_recipe, precision_recipe

LLAMA, B200, H100 = model("llama_3_1_8b"), accelerator("b200_sxm"), accelerator("h100_sxm")
GRID = LayoutGrid.of([TrainingLayout(dp=8, sharding=StateSharding.OPTIMIZER)])


def job(precision: str, device: str = "b200_sxm") -> TrainingJob:
    return TrainingJob(LLAMA, accelerator(device), 8192, precision_recipe(precision), narrow=narrow_recipe(precision))


def step_s(one: TrainingJob) -> float:
    made = step_ingredients(ForwardTable(one), GRID, 64)
    return float(training_step_time(made, TrainingPace(hidden=0.0)).total_s[0])


@pytest.mark.parametrize("name", ids(TRAINING_RECIPES))
def test_every_recipe_names_formats_and_sources(name: str) -> None:
    recipe = training_recipe(name)
    assert recipe.sources and all(source.url.startswith("https://") for source in recipe.sources.values())
    for one in (recipe.weights, recipe.activations, recipe.gradients):
        assert format_(one).id == one
    assert bool(recipe.narrow) == bool(recipe.families) == (recipe.row_bytes > 0)


def test_elements_are_counted_tensor_by_tensor() -> None:
    """Llama 3.1 8B: inputs of qkv, of the output matrix, of gate and up, of down; outputs of all seven matrices."""
    hidden, kv, width, layers = 4096, 1024, 14336, 32
    ahead, back = quantised_elements(LLAMA)
    assert ahead == layers * (hidden + hidden + hidden + width)
    assert back == layers * (hidden + 2 * kv + hidden + 2 * width + hidden)
    recipe = training_recipe("fp8_delayed")
    seconds = quantisation_s(LLAMA, H100, recipe, np.array([1e4]), np.array([0.0]))[0]
    assert seconds == pytest.approx(4.0 * 1e4 * (ahead + back) / H100.memory_bytes_per_s)


def test_copies_and_kept_inputs_follow_the_recipe() -> None:
    """Transformer Engine keeps 8-bit copies of weights, of Hopper twice, and 8-bit inputs of matrices for the gradients
    of weights."""
    keeps, plain = MemoryHabits(narrow_kept=True), MemoryHabits()
    layers = LLAMA.total_params - LLAMA.embedding_params
    for device, copies in (("h100_sxm", 2.0), ("b200_sxm", 1.0)):
        kept, bare = (training_memory(job("fp8", device), GRID, 64, one) for one in (keeps, plain))
        assert float((kept.weights - bare.weights)[0]) == pytest.approx(copies * layers, rel=1e-6)
        inputs = 32 * (4096 + 4096 + 4096 + 14336) * 8192
        assert float((bare.activations - kept.activations)[0]) == pytest.approx(inputs, rel=1e-6)
    wide = layer_activations(LLAMA.blocks[0], 4096, 8192, ActivationHabits(input_bytes=2.0))
    assert wide == layer_activations(LLAMA.blocks[0], 4096, 8192)


def test_layers_that_stay_wide_take_their_share_of_both() -> None:
    four, some, sixteen = job("nvfp4"), job("nvfp4_pretraining"), job("bf16")
    sizes = np.array([1])
    narrow, mixed, wide = (ForwardTable(one).seconds((1, 1, 1), sizes)[0, 0] for one in (four, some, sixteen))
    assert mixed == pytest.approx(0.84 * narrow + 0.16 * wide)
    assert step_s(four) < step_s(some) < step_s(sixteen)


def test_a_scale_from_history_reads_a_tensor_once() -> None:
    assert step_s(job("fp8_delayed")) < step_s(job("fp8"))
    assert step_s(replace(job("fp8"), narrow=None)) < step_s(job("fp8_delayed"))


def planned(precision: str, device: str, **changes: Any) -> TrainingPlan:
    allow = {"accelerators": [device], "sites": ["us_neocloud"], "devices": [32], "precisions": [precision]}
    run = {"model": "llama_3_1_8b", "tokens": 1e11, "seq": 8192, "global_batch": 256, "allow": allow, **changes}
    return plan_training(parse_training({"name": "narrow", "training": run}))


def test_a_plan_says_what_is_narrow_and_exports_the_options() -> None:
    plan = planned("fp8_blockwise", "h100_sxm")
    assert any("router stay wide" in note and "4.06 bytes an element" in note for note in plan.notes)
    assert "--fp8-recipe blockwise" in export_run("megatron", plan)["train.sh"]
    with pytest.raises(UnsupportedError, match=r"nvfp4; they are for .*mxfp8"):
        export_run("megatron", planned("nvfp4", "b200_sxm"))
    assert (
        "amp_fp8" in export_run("llm_foundry", planned("fp8_delayed", "h100_sxm", program="llm_foundry"))["train.yaml"]
    )


@pytest.mark.parametrize(
    ("precision", "device", "able"),
    [("mxfp8", "h100_sxm", "blackwell"), ("fp8", "a100_80_sxm", "hopper"), ("fp8_blockwise", "b200_sxm", "hopper do")],
)
def test_an_accelerator_without_the_recipe_is_refused(precision: str, device: str, able: str) -> None:
    with pytest.raises(InfeasibleError, match=rf"no source says .* has the recipe {precision}.*{able}"):
        planned(precision, device)


def test_an_unknown_recipe_is_refused_with_those_there_are() -> None:
    with pytest.raises(FactError, match=r"'fp9' is no recipe of training.*fp8_delayed"):
        planned("fp9", "h100_sxm")


def test_the_command_shows_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["show", "training_recipes"], ["show", "training_recipes", "nvfp4_pretraining"]):
        with pytest.raises(SystemExit) as ended:
            main(words)
        assert not ended.value.code and "2509.25149" in capsys.readouterr().out.replace("\n", " ")

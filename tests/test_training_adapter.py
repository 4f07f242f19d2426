"""Adapters beside frozen weights: what is trained, what it takes in memory and time, where it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.costs.training_adapter import AdapterTuning, adapter_params, trained_share
from comptroller.costs.training_layout import LayoutGrid, StateSharding, TrainingLayout
from comptroller.costs.training_memory import training_memory
from comptroller.costs.training_time import TrainingPace, pass_counts, step_ingredients, training_step_time
from comptroller.costs.training_work import KINDS, ForwardTable, TrainingJob
from comptroller.errors import FactError, InfeasibleError, UnsupportedError
from comptroller.export.runs import export_run
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.training.document import parse_training
from comptroller.training.planner import plan_training
from comptroller.training.run_job import adapter_of

FULL = TrainingJob(model("llama_3_1_8b"), accelerator("h100_sxm"), 4096)
LORA = replace(FULL, adapter=AdapterTuning(16))
QLORA = replace(FULL, adapter=AdapterTuning(16, 4.127))
GRID = LayoutGrid.of([TrainingLayout(dp=8, sharding=StateSharding.OPTIMIZER)])


def step_s(job: TrainingJob) -> float:
    made = step_ingredients(ForwardTable(job), GRID, 64)
    return float(training_step_time(made, TrainingPace()).total_s[0])


def test_trained_parameters_are_those_that_peft_counts() -> None:
    """40 M of Llama 3.1 8B at rank 16 on all matrices; linear in the rank."""
    assert adapter_params(model("llama_3_1_8b"), 16) == 41_943_040
    assert adapter_params(model("llama_3_1_8b"), 64) == 4 * 41_943_040
    assert adapter_params(model("llama_3_1_70b"), 16) == 207_093_760
    assert trained_share(model("llama_3_1_8b"), None) == 1.0
    with pytest.raises(UnsupportedError, match="without attention"):
        adapter_params(model("nemotron_3_nano_30b_a3b"), 8)


def test_frozen_weights_take_their_bits_and_states_are_the_adapters_alone() -> None:
    full, lora, qlora = (training_memory(job, GRID, 8) for job in (FULL, LORA, QLORA))
    params = FULL.model.total_params
    assert float(full.weights[0]) == pytest.approx(2 * params, rel=1e-6)
    assert float(lora.weights[0]) == pytest.approx(2 * params, rel=0.01)
    assert float(qlora.weights[0]) == pytest.approx(4.127 / 8 * params, rel=0.03)
    assert float(lora.optimizer[0] / full.optimizer[0]) == pytest.approx(0.00522, rel=1e-2)
    shared = training_memory(LORA, LayoutGrid.of([TrainingLayout(dp=8, sharding=StateSharding.FULL)]), 8)
    assert 2 * params / 8 < float(shared.weights[0]) < 2 * params
    assert float(lora.mlp[0]) == float(full.mlp[0])


def test_frozen_weights_save_a_third_of_the_products_and_no_more() -> None:
    counts = pass_counts(GRID, frozen=True)[:, 0]
    assert counts[KINDS.index("matrices")] == 2.0 and counts[KINDS.index("attention")] == 3.5
    assert 2 / 3 < step_s(LORA) / step_s(FULL) < 1.0
    assert step_s(QLORA) > step_s(LORA)
    assert LORA.flops_per_token() == pytest.approx(FULL.flops_per_token() * 0.71, rel=0.03)


def document(**changes: Any) -> dict[str, Any]:
    allow = {"accelerators": ["h100_sxm"], "sites": ["us_neocloud"], "devices": [2]}
    run = {"model": "llama_3_1_70b", "tokens": 1e8, "seq": 4096, "global_batch": 16, "allow": allow}
    return {"name": "tune", "training": {**run, **changes}}


def test_four_bits_let_a_large_model_be_tuned_where_sixteen_do_not() -> None:
    found = plan_training(parse_training(document(adapter={"rank": 16, "base": "nf4_dq"})))
    assert found.run.devices == 2 and "207.1 M" in found.adapter
    assert found.run.checkpoints.bytes == pytest.approx(14 * 207_093_760, rel=0.2)
    with pytest.raises(UnsupportedError, match="adapters are written for axolotl"):
        export_run("torchtitan", found)
    with pytest.raises(InfeasibleError, match=r"GB a device on up to 2"):
        plan_training(parse_training(document(adapter={"rank": 16})))


def test_what_trains_no_adapters_and_unknown_formats_are_refused() -> None:
    with pytest.raises(FactError, match="torchtitan trains no adapters"):
        parse_training(document(adapter={"rank": 16}, program="torchtitan"))
    with pytest.raises(FactError, match=r"training\.adapter\.base"):
        parse_training(document(adapter={"rank": 16, "base": "nf5"}))
    tuned = adapter_of(parse_training(document(adapter={"rank": 8, "base": "nf4_dq"})))
    assert tuned is not None and np.isclose(tuned.base_bits, 4.127, atol=1e-3)

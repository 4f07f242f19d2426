"""Launch commands: one suite over every engine's file."""

from __future__ import annotations

import shlex
from dataclasses import replace

import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import command, engines

WIDE = ModelReplica(
    model("deepseek_r1"),
    accelerator("h200_sxm"),
    PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "fp8_e4m3"),
    ParallelLayout(tp=4, pp=2, dp=2, ep=8),
    EngineSettings.default(engine_facts("vllm")),
)


def on(engine: str, replica: ModelReplica = WIDE) -> list[str]:
    chosen = replace(replica, engine=replace(EngineSettings.default(engine_facts(engine)), max_batch=96))
    return shlex.split(command(chosen, 9000))


@pytest.mark.parametrize("engine", engines())
def test_every_engine_has_facts_and_a_command_with_the_plan_in_it(engine: str) -> None:
    words = on(engine)
    assert "96" in words
    assert any("9000" in word or str(9000 * 96) in word for word in words)
    assert any("DeepSeek-R1" in word or "deepseek_r1" in word for word in words)


def test_vllm_names_every_degree() -> None:
    line = " ".join(on("vllm"))
    assert "--tensor-parallel-size 4 --pipeline-parallel-size 2 --data-parallel-size 2" in line
    assert "--enable-expert-parallel" in line and "--kv-cache-dtype fp8" in line


def test_sglang_counts_attention_ranks_inside_tensor_parallelism() -> None:
    line = " ".join(on("sglang"))
    assert "--tp-size 8 --pp-size 2 --dp-size 2 --enable-dp-attention --ep-size 8" in line


def test_a_checkpoint_in_its_own_format_needs_no_flag() -> None:
    own = replace(WIDE, recipe=replace(WIDE.recipe, weights=WIDE.model.weights, experts=WIDE.model.experts))
    assert "--quantization" not in on("vllm", own)
    plain = replace(
        WIDE,
        model=model("llama_3_1_70b"),
        recipe=PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3"),
        layout=ParallelLayout(8),
    )
    assert "--quantization fp8" in " ".join(on("vllm", plain))


def test_an_engine_without_a_file_lists_the_known_ones() -> None:
    with pytest.raises(UnknownIdError, match="vllm"):
        command(replace(WIDE, engine=replace(WIDE.engine, id="vlm")), 9000)

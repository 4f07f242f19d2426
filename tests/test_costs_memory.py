"""Cache capacity as engines compute it, against what they logged."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory, total_bytes
from comptroller.costs.reserve import around_bytes, reserve_bytes
from comptroller.errors import InsufficientMemoryError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts


@dataclass(frozen=True)
class Log:
    """A start-up log: the server's flags and the tokens of cache it reported."""

    source: str
    model: str
    device: str
    engine: dict[str, float]
    tokens: int


LOGS = (
    Log(
        "LLMServingSim, RTX 4090 run of vLLM 0.19: 2,588 blocks of 16",
        "llama_3_1_8b",
        "rtx_4090",
        {"max_batch": 128, "chunk_tokens": 2048},
        2588 * 16,
    ),
    Log(
        "https://github.com/vllm-project/vllm/issues/10517: 23.58 GiB, 20,000 tokens profiled, no graphs",
        "llama_3_1_8b",
        "rtx_4090",
        {"max_batch": 256, "chunk_tokens": 20_000, "graph_bytes": 0.0},
        1952 * 16,
    ),
    Log(
        "https://github.com/vllm-project/vllm/issues/10517: the same with 29,000 tokens profiled",
        "llama_3_1_8b",
        "rtx_4090",
        {"max_batch": 256, "chunk_tokens": 29_000, "graph_bytes": 0.0},
        1478 * 16,
    ),
)


def server(
    name: str,
    device: str,
    layout: ParallelLayout | None = None,
    recipe: PrecisionRecipe | None = None,
    engine: str = "vllm",
) -> ModelReplica:
    facts = EngineSettings.default(engine_facts(engine))
    return ModelReplica(
        model(name), accelerator(device), recipe or PrecisionRecipe(), layout or ParallelLayout(), facts
    )


@pytest.mark.parametrize("log", LOGS, ids=lambda log: log.source)
def test_capacity_is_within_six_per_cent_of_the_log(log: Log) -> None:
    whole = server(log.model, log.device)
    whole = replace(whole, engine=replace(whole.engine, **log.engine))
    assert memory(whole).kv_capacity_tokens == pytest.approx(log.tokens, rel=0.06)


def test_the_driver_reports_more_than_the_marketed_gigabytes() -> None:
    assert total_bytes(accelerator("h100_sxm")) > 84e9 > accelerator("h100_sxm").memory_bytes
    assert total_bytes(accelerator("mi300x")) == accelerator("mi300x").memory_bytes


def test_engines_take_their_fraction_of_different_things() -> None:
    """The same 0.9: of the total (vLLM), for weights and cache alone (static), of what is free (TensorRT-LLM)."""
    base = server("qwen3_32b", "h100_sxm")
    total = total_bytes(base.device)
    held = {}
    for of in ("total", "static", "free"):
        whole = replace(base, engine=replace(base.engine, fraction_of=of, memory_fraction=0.9))
        held[of] = memory(whole)
        weights, reserve = held[of].weight_bytes, reserve_bytes(whole)
        left = {
            "total": 0.9 * total - weights - reserve,
            "static": 0.9 * (total - around_bytes(whole)) - weights,
            "free": 0.9 * (total - weights - reserve),
        }[of]
        block = held[of].kv_bytes_per_token * whole.engine.kv_block_tokens
        assert held[of].kv_capacity_tokens == int(left / block) * whole.engine.kv_block_tokens
    assert held["total"].kv_capacity_tokens < held["static"].kv_capacity_tokens


def test_what_does_not_fit_says_by_how_much() -> None:
    with pytest.raises(InsufficientMemoryError, match=r"llama_3_1_70b on 1x h100_sxm .* short by \d+\.\d\d GB"):
        memory(server("llama_3_1_70b", "h100_sxm"))


@settings(max_examples=20, deadline=None)
@given(fraction=st.floats(0.5, 0.9), more=st.floats(0.01, 0.09))
def test_a_larger_fraction_holds_more(fraction: float, more: float) -> None:
    base = server("llama_3_1_8b", "h100_sxm")
    small, large = (
        memory(replace(base, engine=replace(base.engine, memory_fraction=f))).kv_capacity_tokens
        for f in (fraction, fraction + more)
    )
    assert small < large


def test_half_the_cache_bits_hold_twice_the_tokens() -> None:
    wide = memory(server("llama_3_1_8b", "h100_sxm")).kv_capacity_tokens
    narrow = memory(server("llama_3_1_8b", "h100_sxm", recipe=PrecisionRecipe(kv="fp8_e4m3"))).kv_capacity_tokens
    assert narrow == pytest.approx(2 * wide, rel=0.001)


def test_data_parallel_ranks_hold_their_own_cache() -> None:
    fp8 = PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "bf16")
    ranks = memory(server("deepseek_v3", "h200_sxm", ParallelLayout(1, 1, 8, 8), fp8))
    tensor = memory(server("deepseek_v3", "h200_sxm", ParallelLayout(8, 1, 1, 8), fp8))
    assert ranks.kv_bytes_per_token == tensor.kv_bytes_per_token
    assert ranks.kv_capacity_tokens > 4 * tensor.kv_capacity_tokens

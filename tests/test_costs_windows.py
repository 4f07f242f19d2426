"""Layers with windows and states: what a sequence takes, how many fit, and that the simulator agrees."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import ReplicaMemory, SlidingCache, memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.reserve import graph_bytes, peak_bytes, reserve_bytes
from comptroller.costs.steady import UniformRequests, batch_that_fits
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import SiteRates, footprint, tabulate
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.work.call import CallTable

MISTRAL = {
    "model_type": "mistral",
    "architectures": ["MistralForCausalLM"],
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 32000,
    "sliding_window": 4096,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
}
"""Mistral-7B v0.1: a window of 4,096 tokens on every layer."""


@pytest.fixture(scope="module")
def windowed(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("models") / "mistral_7b_v01.json"
    path.write_text(json.dumps(MISTRAL))
    return str(path)


def server(name: str, device: str, layout: ParallelLayout | None = None, engine: str = "vllm") -> ModelReplica:
    settings_ = EngineSettings.default(engine_facts(engine))
    return ModelReplica(model(name), accelerator(device), PrecisionRecipe(), layout or ParallelLayout(), settings_)


def fit(held: ReplicaMemory, input_tokens: float, output_tokens: float, most: int = 10_000) -> float:
    return float(batch_that_fits(held, UniformRequests(np.array([input_tokens]), np.array([output_tokens])), most)[0])


def steps(whole: ModelReplica, context: int) -> StepTable:
    timer = replica_timer(whole, FittedCalibration.shipped())
    return tabulate(timer, memory(whole), SiteRates(0.0, 1.0, 0.0), context)


def together(table: StepTable, prompt: int, output: int) -> int:
    """Most requests that run at once when many arrive at the same time."""
    calls = CallTable.of(arrival_s=np.zeros(60), input_tokens=np.full(60, prompt), output_tokens=np.full(60, output))
    series = simulate(SimulatedFleet.uniform(table, 1), calls, 0.05).series
    return max(int(sample.running.sum()) for sample in series)


def test_gemma_2_holds_short_requests_by_their_length_not_by_its_window() -> None:
    """42 layers x 8 heads x 256 x 2 x 2 bytes at 300 tokens are 103 MB; a whole window alone would be 705 MB."""
    held = memory(server("gemma_2_9b", "h100_sxm"))
    assert held.sequence_bytes(300) == 42 * 8192 * 300
    assert fit(held, 250, 100) == pytest.approx(535, rel=0.05)
    assert held.sequence_bytes(8192) == 21 * 8192 * (8192 + 4096)


def test_a_model_of_windows_alone_is_not_free_of_cache(windowed: str) -> None:
    held = memory(server(windowed, "l4"))
    assert held.sequence_bytes(3250) == 131072 * 3250  # 426 MB
    assert held.sequence_bytes(32768) == 131072 * 4096
    assert fit(held, 3000, 500) == 11
    assert held.kv_capacity_tokens > 0 and held.longest_tokens == float("inf")


@pytest.mark.parametrize(("prompt", "output", "context"), [(3000, 500, 3500), (20_000, 40, 20_480)])
def test_the_simulator_runs_as_many_at_once_as_fit(windowed: str, prompt: int, output: int, context: int) -> None:
    whole = server(windowed, "l4")
    whole = replace(whole, engine=replace(whole.engine, max_batch=64))
    held, table = memory(whole), steps(whole, context)
    at_the_end = held.cache_bytes // float(held.sequence_bytes(prompt + output))
    at_the_start = held.cache_bytes // float(held.sequence_bytes(prompt))
    assert 0 < at_the_end <= together(table, prompt, output) <= at_the_start < 64
    assert (table.footprint is None) == (context < 4096), "a window that nothing reaches is none"


def test_a_recurrent_state_is_charged_once_a_sequence_in_table_and_simulation() -> None:
    whole = server("qwen3_next_80b_a3b", "h100_sxm", ParallelLayout(tp=4))
    whole = replace(whole, engine=replace(whole.engine, memory_fraction=0.6, max_batch=64))
    held, table = memory(whole), steps(whole, 4096)
    assert table.footprint and table.footprint.state_bytes == pytest.approx(held.state_bytes_per_sequence, abs=1)
    small = replace(table, footprint=replace(table.footprint, capacity_bytes=int(10.5 * held.sequence_bytes(400))))
    assert together(small, 400, 10) == 10


def test_data_parallel_ranks_share_what_a_table_of_all_holds() -> None:
    held = ReplicaMemory(1e9, 0.0, 0.0, 8.0, 100.0, 4000, 24.0, (SlidingCache(64, 16.0),), ranks=2)
    whole = footprint(held, 1000, 16)
    assert whole and whole.share(2).capacity_bytes == whole.capacity_bytes // 2 == 48_000
    assert whole.parts == ((1 << 40, 128), (4, 256)) and whole.block_bytes == 384


@settings(max_examples=100, deadline=None)
@given(
    full=st.integers(0, 9),
    windows=st.lists(st.tuples(st.integers(1, 300), st.integers(1, 50)), max_size=3, unique_by=lambda pair: pair[0]),
    state=st.integers(0, 500),
    room=st.integers(1000, 10**6),
)
def test_the_longest_context_fills_the_room(full: int, windows: list[tuple[int, int]], state: int, room: int) -> None:
    slid = tuple(SlidingCache(tokens, float(size)) for tokens, size in sorted(windows))
    held = ReplicaMemory(1e9, 0.0, 0.0, float(full), float(state), room, 1.0, slid)
    longest = held.longest_tokens
    if np.isinf(longest):
        assert full == 0 and float(held.sequence_bytes(1e9)) <= held.cache_bytes
    else:
        assert float(held.sequence_bytes(longest)) == pytest.approx(held.cache_bytes)


def test_a_thousand_sequences_of_a_large_vocabulary_take_gigabytes() -> None:
    """2 + 4 + 4 + 4 bytes a logit; layers and sampler do not run at the same time."""
    base = server("gemma_2_9b", "h100_sxm")
    few, many = (replace(base, engine=replace(base.engine, max_batch=most)) for most in (64, 1024))
    hidden = 2 * 8192 * 3584
    assert peak_bytes(many) == 1024 * 256_000 * 14 + hidden
    assert peak_bytes(few) == 2 * 8192 * 3 * (3584 + 14336)
    assert reserve_bytes(many) - reserve_bytes(few) > 2.5e9


def test_graphs_are_captured_up_to_twice_the_largest_batch() -> None:
    base = server("llama_3_1_8b", "h100_sxm")
    one, half = (replace(base, engine=replace(base.engine, max_batch=most)) for most in (1, 128))
    assert graph_bytes(one) == pytest.approx(base.engine.graph_bytes * 2 / 51)
    assert graph_bytes(half) == pytest.approx(base.engine.graph_bytes * 35 / 51)
    assert graph_bytes(base) == base.engine.graph_bytes


def test_several_devices_hold_communicators() -> None:
    alone = server("llama_3_1_8b", "h100_sxm")
    pair = replace(alone, layout=ParallelLayout(tp=2))
    assert reserve_bytes(pair) - peak_bytes(pair) > reserve_bytes(alone) - peak_bytes(alone)

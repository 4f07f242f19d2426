"""Weights in the host's memory: what a step reads through the link, what it frees, and as a lever of a plan."""

from __future__ import annotations

import shlex
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory, weight_bytes
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.tiers import (
    step_ahead_of_tier_s,
    step_through_tier_s,
    tier_bound_per_s,
    tokens_with_full_cache,
    weights_read,
)
from comptroller.errors import FactError, InsufficientMemoryError, UnsupportedError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.cache_tier import cache_tier
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.launch import offload_words
from comptroller.planning.prove.services import launch_of
from comptroller.work.workload import parse
from lever_workloads import problem_of, workload

GIB = 2.0**30


def replica(gib: float, name: str = "llama_3_1_70b", engine: str = "vllm") -> ModelReplica:
    settings = replace(EngineSettings.default(engine_facts(engine)), offload_bytes=gib * GIB)
    return ModelReplica(model(name), accelerator("h200_sxm"), PrecisionRecipe(), ParallelLayout(1), settings)


def decoded_s(one: ModelReplica, *batch: float) -> np.ndarray[Any, Any]:
    size = np.array(batch)
    return np.asarray(replica_timer(one, FittedCalibration.shipped()).decode(size, size * 500).total_s)


def test_a_published_pair_with_and_without_weights_on_the_host_is_met() -> None:
    """Eight H20, 64 clients, 2,434 tokens/s; with 35 GB of each device's weights on the host 120 (vLLM issue 57771)."""
    step, link = np.array(64 / 2434), accelerator("h20").host
    assert link is not None
    found = 64 / float(step_through_tier_s(step, np.array(35e9), link.one_way_bytes_per_s))
    assert found == pytest.approx(120, rel=0.1)
    assert found <= tier_bound_per_s(64, 35e9, 64e9)


def test_what_bounds_experts_on_the_host_is_what_moe_lens_saw() -> None:
    """Mixtral 8x7B on an A40, 98 tokens in, its 94 GB read at the 19.5 GB/s that they measured (arXiv 2504.09345).

    With 70 GB of cache the device was 90 % busy at 32 tokens out, and waited for cache half of the time at 64; with 210
    GB hardly ever, and at 32 no more came of it. One rate of the device explains all three, and it is below its peak.
    """
    served = model("mixtral_8x7b")

    def bound_per_s(cache_gb: float, output: float) -> float:
        tokens = tokens_with_full_cache(cache_gb * 1e9 / (2 * served.kv_elements_per_token), 98, output)
        return tier_bound_per_s(tokens, 2 * served.total_params, 19.5e9)

    peak = accelerator("a40").peak("bf16") / (2 * served.active_params)
    assert bound_per_s(70, 64) < min(bound_per_s(70, 32), bound_per_s(210, 64), peak)


def test_a_pool_of_fenghuang_hides_what_its_authors_say_it_does() -> None:
    """Qwen3 235B in FP8, 8 sequences, 20 GB of each of four H200 (arXiv 2511.10753).

    Four devices beside eight took 1.16 times as long where it was measured, on H100 (github.com/anton-mel/fenghuang).
    """
    step, fp8 = ReplicaStep.decode(8.0, 8192.0), PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3", "bf16")
    settings = EngineSettings.default(engine_facts("sglang"))
    eight, four = (
        ModelReplica(model("qwen3_235b_a22b"), accelerator("h200_sxm"), fp8, ParallelLayout(tp), settings)
        for tp in (8, 4)
    )
    ready = replica_timer(four, FittedCalibration.shipped())
    read = weights_read(ready.operations, ready.operations.values(step))
    taken, bytes_per_s = ready.step(step).total_s, cache_tier("what_if_fenghuang").bytes_per_s
    assert bytes_per_s is not None
    moved = (weight_bytes(four) - 20e9) * read
    assert step_ahead_of_tier_s(taken, moved, bytes_per_s) == pytest.approx(taken)
    assert step_through_tier_s(taken, moved, bytes_per_s) > 1.1 * taken, "not hidden, it would be seen"
    assert taken / replica_timer(eight, FittedCalibration.shipped()).step(step).total_s == pytest.approx(1.16, rel=0.1)


def test_a_dense_step_takes_longer_by_its_weights_over_the_link_and_its_cache_gains_them() -> None:
    plain, stored = replica(0.0), replica(40.0)
    link = plain.device.host
    assert link is not None
    longer = decoded_s(stored, 1.0, 8.0) - decoded_s(plain, 1.0, 8.0)
    assert longer == pytest.approx(40 * GIB / link.one_way_bytes_per_s, rel=1e-6)
    assert memory(replica(60.0)).cache_bytes - memory(stored).cache_bytes == pytest.approx(20 * GIB, rel=1e-3)


def test_what_does_not_fit_alone_fits_with_weights_on_the_host() -> None:
    small = replace(replica(0.0), device=accelerator("h100_sxm"))
    with pytest.raises(InsufficientMemoryError):
        memory(small)
    assert memory(replace(small, engine=replica(90.0).engine)).kv_capacity_tokens > 0


def test_experts_that_no_token_touches_are_not_read() -> None:
    longer = decoded_s(replica(40.0, "mixtral_8x7b"), 1.0, 64.0) - decoded_s(replica(0.0, "mixtral_8x7b"), 1.0, 64.0)
    assert longer[0] < 0.4 * longer[1]


def test_every_chunk_of_a_prompt_reads_the_weights_too() -> None:
    step = ReplicaStep.prefill(2048.0)
    with_host, without = (
        float(replica_timer(replica(x), FittedCalibration.shipped()).step(step).total_s[0]) for x in (40.0, 0.0)
    )
    assert with_host - without == pytest.approx(40 * GIB / 64e9, rel=0.05)


def asked(**allow: Any) -> dict[str, Any]:
    return workload(0.05, (400.0, 100.0), 60000.0, 4000.0, **allow)


def test_it_is_a_candidate_with_its_flag_and_refused_where_nobody_knows_how() -> None:
    (offers,) = problem_of(asked(offload_gib=[4.0, 900.0])).space.offers.values()
    stored = [item for item in offers.deployments if item.replica.engine.offload_bytes]
    assert stored
    for item in stored:
        words = shlex.split(launch_of(item, 2000))
        assert words[words.index("--cpu-offload-gb") + 1] == "4.0"
        assert ".off4." in item.id and item.replica.engine.offload_bytes <= weight_bytes(item.replica)
    with pytest.raises(UnsupportedError, match="not known; vllm is"):
        offload_words(replica(1.0, engine="sglang").engine)


@pytest.mark.parametrize("wrong", [[0], [-4.0], ["x"]])
def test_bad_input_names_the_field(wrong: list[Any]) -> None:
    with pytest.raises(FactError, match=r"allow\.offload_gib"):
        parse(asked(offload_gib=wrong))

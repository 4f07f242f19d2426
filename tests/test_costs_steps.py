"""Operations, step times, the closed loop: hand arithmetic, invariants, and a long context's four effects."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import GROUPS, FittedCalibration, KernelPriors, group_of
from comptroller.costs.memory import memory, weight_bytes
from comptroller.costs.operations import operations
from comptroller.costs.replica_timer import TimingCalibration, kernel_of, part_arithmetic, replica_timer
from comptroller.costs.steady import UniformRequests, batch_that_fits, prefill_time, steady
from comptroller.costs.step import ReplicaStep, causal_pairs, expected_experts
from comptroller.errors import UnsupportedFormatError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller_lab.baseline import BaselineCalibration, RooflineCalibration

VLLM = EngineSettings.default(engine_facts("vllm"))
CALIBRATIONS: dict[str, TimingCalibration] = {
    "roofline": RooflineCalibration(),
    "baseline": BaselineCalibration.shipped(),
    "kernels": KernelPriors(),
    "calibrated": FittedCalibration.shipped(),
}
FP8 = PrecisionRecipe("fp8_block", "fp8_block", "fp8_block", "bf16")
every_calibration = pytest.mark.parametrize("name", CALIBRATIONS)


def replica(
    name: str = "llama_3_1_8b",
    device: str = "h100_sxm",
    layout: ParallelLayout | None = None,
    recipe: PrecisionRecipe | None = None,
) -> ModelReplica:
    return ModelReplica(model(name), accelerator(device), recipe or PrecisionRecipe(), layout or ParallelLayout(), VLLM)


def one(*values: float) -> tuple[np.ndarray, ...]:
    return tuple(np.array([value], float) for value in values)


def test_a_decode_step_reads_the_weights_and_the_cache_once() -> None:
    """Llama 3.1 8B on an H100, roofline: (7.50 G matrix weights x 2 B + 32 x 4,096 B x context) / 3.35 TB/s."""
    ready = replica_timer(replica(), RooflineCalibration())
    weights = 2 * (model("llama_3_1_8b").total_params - 128256 * 4096)
    for context in (0, 10_000):
        found = ready.step(ReplicaStep.decode(1, context)).total_s[0]
        assert found == pytest.approx((weights + 131072 * context) / 3.35e12, rel=0.01)


def test_prefill_flops_are_two_per_weight_and_token_plus_attention() -> None:
    tokens = 4096.0
    found = prefill_time(replica_timer(replica(), RooflineCalibration()), np.array([tokens]))
    matrices = model("llama_3_1_8b").total_params - 2 * 128256 * 4096
    attention = 4 * 32 * 128 * 32 * float(causal_pairs(np.array(tokens), np.array(0.0)))
    head = 2 * 128256 * 4096
    assert found.flops[0] == pytest.approx(2 * matrices * tokens + attention + head, rel=0.001)
    passes = 4 * 4096 * 2 * 2 * 32 + 3 * 14336 * 2 * 32 + 2 * 4096 * 2 * 32  # bytes a token between the matrices
    assert found.total_s[0] == pytest.approx(found.flops[0] / 989.4e12 + passes * tokens / 3.35e12, rel=0.03)


def test_the_four_effects_of_a_long_context_match_hand_arithmetic() -> None:
    """A 34B model at 50K tokens on one A100: prefill, users that fit, decode latency, swap time."""
    context = 50_000.0
    engine = replace(VLLM, memory_fraction=0.98, chunk_tokens=2048, max_batch=256)
    whole = replace(replica("codellama_34b", "a100_80_sxm"), engine=engine)
    ready, held = replica_timer(whole, RooflineCalibration()), memory(whole)
    architecture = whole.model
    layers, heads, kv_heads, width = 48, 64, 8, 128
    matrices = architecture.total_params - architecture.embedding_params
    pairs = context * (context + 1) / 2
    flops = 2 * matrices * context + 4 * heads * width * pairs * layers
    prefill = prefill_time(ready, np.array([context])).total_s[0]
    assert prefill == pytest.approx(flops / 312e12, rel=0.05)  # some 17 s
    assert 14 < prefill < 18

    cache = 2 * layers * kv_heads * width * 2.0
    assert held.kv_bytes_per_token == cache
    requests = UniformRequests(*one(context, 1))
    by_hand = (0.98 * held.total_bytes - held.weight_bytes - held.reserve_bytes) // (cache * (context + 0.5))
    assert batch_that_fits(held, requests, 256)[0] == by_hand == 1

    decode = ready.step(ReplicaStep.decode(1, context)).total_s[0]
    head = architecture.hidden * architecture.vocabulary
    assert decode == pytest.approx((2 * (matrices + head) + cache * context) / 2039e9, rel=0.02)  # some 38 ms

    host = whole.device.host
    assert host is not None
    swap = cache * context / host.one_way_bytes_per_s
    assert swap == pytest.approx(9.83e9 / host.one_way_bytes_per_s, rel=0.001)
    longer = ready.step(ReplicaStep.decode(1, 2 * context)).total_s[0]
    assert longer - decode == pytest.approx(cache * context / 2039e9, rel=0.1)


def test_experts_touched_are_all_at_large_batches_and_k_at_one_token() -> None:
    assert expected_experts(256, 8, 1) == pytest.approx(8)
    assert expected_experts(256, 8, 10_000) == pytest.approx(256)


@every_calibration
@settings(max_examples=25, deadline=None)
@given(batch=st.integers(1, 256), context=st.integers(1, 100_000), more=st.integers(1, 64))
def test_time_grows_with_batch_and_context(name: str, batch: int, context: int, more: int) -> None:
    ready = replica_timer(replica(), CALIBRATIONS[name])
    base = ready.step(ReplicaStep.decode(batch, batch * context)).total_s[0]
    assert ready.step(ReplicaStep.decode(batch + more, (batch + more) * context)).total_s[0] >= base
    assert ready.step(ReplicaStep.decode(batch, batch * (context + 1000 * more))).total_s[0] >= base


@every_calibration
@settings(max_examples=25, deadline=None)
@given(tokens=st.integers(1, 60_000), more=st.integers(1, 20_000))
def test_prefill_grows_with_the_prompt(name: str, tokens: int, more: int) -> None:
    ready = replica_timer(replica(), CALIBRATIONS[name])
    short, long = prefill_time(ready, np.array([tokens, tokens + more], float)).total_s
    assert long > short * (1 - 1e-9) or np.ceil(tokens / 8192) < np.ceil((tokens + more) / 8192)


@pytest.mark.parametrize("tp", [2, 4, 8])
def test_tensor_parallelism_cuts_weights_and_adds_communication(tp: int) -> None:
    alone, cut = (replica("llama_3_1_70b", "b200_sxm"), replica("llama_3_1_70b", "b200_sxm", ParallelLayout(tp)))
    assert weight_bytes(cut) == pytest.approx(weight_bytes(alone) / tp, rel=0.01)
    single = replica_timer(alone, KernelPriors()).step(ReplicaStep.decode(8, 8 * 1024)).by_name()
    many = replica_timer(cut, KernelPriors()).step(ReplicaStep.decode(8, 8 * 1024)).by_name()
    assert single["communication"][0] == 0 < many["communication"][0]
    assert many["linear"][0] < single["linear"][0]


def test_no_calibration_beats_the_roofline() -> None:
    for name in ("llama_3_1_8b", "qwen3_32b"):
        bound = replica_timer(replica(name), RooflineCalibration()).step(ReplicaStep.decode(32, 32 * 2048)).total_s[0]
        for calibration in CALIBRATIONS.values():
            assert (
                replica_timer(replica(name), calibration).step(ReplicaStep.decode(32, 32 * 2048)).total_s[0]
                >= 0.95 * bound
            )


@every_calibration
def test_vectorised_points_equal_points_alone(name: str) -> None:
    ready = replica_timer(replica("deepseek_v3", "h200_sxm", ParallelLayout(8, 1, 1, 8), FP8), CALIBRATIONS[name])
    batch, context = np.array([1.0, 7.0, 64.0]), np.array([100.0, 9000.0, 2048.0])
    together = ready.step(ReplicaStep.decode(batch, batch * context)).total_s
    alone = [ready.step(ReplicaStep.decode(b, b * c)).total_s[0] for b, c in zip(batch, context, strict=True)]
    assert together == pytest.approx(alone, rel=1e-12)


def test_wider_matrices_take_narrow_activations_unquantised() -> None:
    """Experts in fp4, the attention kept in 16 bit, as public NVFP4 checkpoints do."""
    mixed = replica("deepseek_v3", "b200_sxm", ParallelLayout(8), PrecisionRecipe("bf16", "nvfp4", "nvfp4", "fp8_e4m3"))
    assert part_arithmetic(mixed) == {"weights": "bf16", "experts": "fp4", "head": "bf16"}
    with pytest.raises(UnsupportedFormatError):
        replica_timer(replace(mixed, device=accelerator("h100_sxm")), RooflineCalibration())


def test_every_operation_has_a_group_and_a_kernel() -> None:
    for name, layout in (
        ("qwen3_5_397b_a17b", ParallelLayout(8)),
        ("glm_5", ParallelLayout(8)),
        ("deepseek_v3", ParallelLayout(1, 1, 16, 16)),
    ):
        whole = replica(name, "b200_sxm", layout, FP8)
        parts = part_arithmetic(whole)
        for row in operations(whole.model, whole.recipe, whole.layout).rows:
            assert group_of(kernel_of(whole, row, parts[row.part])) in GROUPS


def test_interference_is_the_share_of_other_prompts() -> None:
    """(B - 1) / O of the time a prompt adds, times the engine's share of it."""
    ready = replica_timer(replica(), FittedCalibration.shipped())
    state = steady(ready, UniformRequests(*one(1024, 512)), np.array([33.0]))
    expected = ready.serving.interference * 32 / 512 * state.marginal_s
    assert state.interference_s == pytest.approx(expected)
    assert state.tpot_s == pytest.approx(state.decode.total_s + expected)


def test_overload_shows_as_a_queue_for_the_cache() -> None:
    """Clients beyond what the cache holds wait for a place: (C - B) / B of a request's stay."""
    small = replace(replica("qwen3_32b", "h100_sxm", ParallelLayout(2)), engine=VLLM)
    ready, held = replica_timer(small, FittedCalibration.shipped()), memory(small)
    requests = UniformRequests(*one(4096, 1024))
    fits = batch_that_fits(held, requests, 1024)[0]
    calm = closed_loop(ready, held, requests, np.array([fits]))
    crowded = closed_loop(ready, held, requests, np.array([3 * fits]))
    assert calm.first.queue_s[0] == 0
    stay = calm.first.total_s - calm.first.queue_s + 1023 * calm.tpot_s  # of one of the clients that the cache holds
    assert crowded.first.queue_s[0] == pytest.approx(2 * stay[0])
    assert crowded.ttft_s[0] > 20 > calm.ttft_s[0]
    assert crowded.tpot_s == pytest.approx(calm.tpot_s)


@settings(max_examples=30, deadline=None)
@given(clients=st.integers(1, 500), more=st.integers(1, 500))
def test_more_clients_wait_no_less_and_get_no_less_in_all(clients: int, more: int) -> None:
    ready, held = replica_timer(replica(), FittedCalibration.shipped()), memory(replica())
    requests = UniformRequests(np.full(2, 1024.0), np.full(2, 256.0))
    loop = closed_loop(ready, held, requests, np.array([clients, clients + more], float))
    assert loop.ttft_s[1] >= loop.ttft_s[0]
    assert loop.output_tokens_per_s[1] >= 0.8 * loop.output_tokens_per_s[0]

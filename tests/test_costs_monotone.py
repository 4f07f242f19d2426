"""What holds of any server, whatever the constants: throughput, first token and the roofline under growing load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.facts.library import SHIPPED
from comptroller_lab.baseline import RooflineCalibration

CLIENTS = np.array([1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 30_000], float)

SERVERS = [
    ("llama_3_1_8b", "h100_sxm", "trtllm", PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3"), ParallelLayout()),
    ("llama_3_1_70b", "h200_sxm", "vllm", PrecisionRecipe("fp8_e4m3", "fp8_e4m3", "fp8_e4m3"), ParallelLayout(4)),
    ("llama_3_1_70b", "rtx_pro_6000", "trtllm", PrecisionRecipe("nvfp4", "nvfp4", "nvfp4"), ParallelLayout(1, 4)),
    ("deepseek_r1", "b200_sxm", "sglang", PrecisionRecipe(*["fp8_block"] * 3), ParallelLayout(1, 1, 8, 8)),
    ("llama_3_1_8b", "mi300x", "vllm", PrecisionRecipe(), ParallelLayout()),
    ("qwen3_30b_a3b", "rtx_4090", "llama_cpp", PrecisionRecipe("q4_k", "q4_k"), ParallelLayout(1, 2)),
    ("qwen3_30b_a3b", "mi300x", "sglang", PrecisionRecipe(), ParallelLayout()),
    ("gpt_oss_20b", "gh200_144", "trtllm", PrecisionRecipe(), ParallelLayout()),
]
LENGTHS = [(128, 128), (500, 2000), (8192, 1024), (300, 200), (1000, 50)]
"""The last two start several prompts in each step of a full server."""


def replica_of(server: tuple[str, str, str, PrecisionRecipe, ParallelLayout]) -> ModelReplica:
    model, device, engine, recipe, layout = server
    settings = EngineSettings.default(SHIPPED.engine(engine))
    return ModelReplica(SHIPPED.model(model), SHIPPED.accelerator(device), recipe, layout, settings)


def loop_of(replica: ModelReplica, lengths: tuple[int, int], calibration: TimingCalibration):  # type: ignore[no-untyped-def]
    shape = np.ones(len(CLIENTS))
    requests = UniformRequests(lengths[0] * shape, lengths[1] * shape)
    return closed_loop(replica_timer(replica, calibration), memory(replica), requests, CLIENTS)


@pytest.mark.parametrize("lengths", LENGTHS, ids=str)
@pytest.mark.parametrize("server", SERVERS, ids=lambda s: f"{s[0]}-{s[1]}-{s[2]}")
def test_more_clients_never_lower_throughput_and_never_hasten_the_first_token(
    server: tuple[str, str, str, PrecisionRecipe, ParallelLayout], lengths: tuple[int, int]
) -> None:
    loop = loop_of(replica_of(server), lengths, FittedCalibration.shipped())
    rate = loop.output_tokens_per_s
    assert (np.diff(rate) >= -1e-9 * rate[:-1]).all(), dict(zip(CLIENTS, rate, strict=True))
    assert (np.diff(loop.ttft_s) >= 0).all()
    full = loop.state.batch < CLIENTS
    assert np.ptp(rate[full]) <= 1e-9 * rate.max() if full.any() else True


@pytest.mark.parametrize("server", SERVERS, ids=lambda s: f"{s[0]}-{s[1]}-{s[2]}")
def test_nothing_is_faster_than_the_roofline(server: tuple[str, str, str, PrecisionRecipe, ParallelLayout]) -> None:
    replica = replica_of(server)
    for lengths in LENGTHS:
        ours = loop_of(replica, lengths, FittedCalibration.shipped())
        bound = loop_of(replica, lengths, RooflineCalibration())
        assert (ours.tpot_s >= bound.state.decode.total_s * (1 - 1e-9)).all()
        assert (ours.ttft_s >= bound.state.prefill_s * (1 - 1e-9)).all()


def test_a_queue_is_looked_at_later_by_an_engine_that_polls_less_often() -> None:
    replica = replica_of(SERVERS[3])
    seldom = replace(replica, engine=replace(replica.engine, poll_steps=30))
    often, late = (loop_of(r, (1024, 1024), FittedCalibration.shipped()) for r in (replica, seldom))
    assert (late.ttft_s > often.ttft_s).all()
    assert (late.tpot_s == often.tpot_s).all()


def test_an_old_generation_of_an_engine_is_slower_and_its_version_says_so() -> None:
    facts = SHIPPED.engine("vllm")
    old, new = EngineSettings.at_version(facts, "0.6.3"), EngineSettings.at_version(facts, "0.12.0")
    assert (old.generation, new.generation) == ("v0", "")
    replica = replica_of(SERVERS[1])
    slow, fast = (loop_of(replace(replica, engine=e), (512, 512), FittedCalibration.shipped()) for e in (old, new))
    assert (slow.tpot_s > fast.tpot_s).all()


def test_a_pipeline_goes_on_with_other_parts_while_one_stage_holds_a_prompt() -> None:
    replica = replica_of(SERVERS[2])
    alone = replace(replica, layout=ParallelLayout())
    piped, single = (loop_of(r, (2048, 128), FittedCalibration.shipped()) for r in (replica, alone))
    assert piped.state.marginal_s[4] < 0.5 * single.state.marginal_s[4]

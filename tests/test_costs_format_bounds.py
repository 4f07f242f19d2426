"""Formats that nobody timed are no faster than their timed neighbours, and their intervals say so."""

import numpy as np
import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration, KernelPriors
from comptroller.costs.format_bounds import format_error, is_timed_format
from comptroller.costs.replica_timer import kernel_of, part_arithmetic, replica_timer
from comptroller.facts.accelerator import accelerator
from comptroller.facts.calibration import kernel_prior
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.planning.offer.intervals import ReplicaIntervals

DEVICES = ("h100_sxm", "b200_sxm", "a100_80_sxm", "l4")
NEXT_WIDER = {
    "int2_g128": "int4_g128",
    "int3_g128": "int4_g128",
    "fp4_e2m1": "int4_g128",
    "int5_g128": "int8_wo",
    "int6_g128": "int8_wo",
    "fp6_e3m2": "int8_wo",
    "nf4": "int8_wo",
}


def served(weights: str, device: str = "h100_sxm", engine: str = "vllm") -> ModelReplica:
    recipe = PrecisionRecipe(weights, weights, "bf16", "bf16")
    settings = EngineSettings.default(engine_facts(engine))
    return ModelReplica(model("llama_3_1_8b"), accelerator(device), recipe, ParallelLayout(), settings)


def step_s(replica: ModelReplica, batch: float = 1.0) -> float:
    timer = replica_timer(replica, FittedCalibration.shipped())
    return float(timer.decode_s(np.array([batch]), np.array([1024.0 * batch]))[0])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(("name", "wider"), NEXT_WIDER.items())
def test_an_untimed_format_is_no_faster_than_the_next_wider_timed_one(name: str, wider: str, device: str) -> None:
    assert not is_timed_format(name) and is_timed_format(wider)
    assert step_s(served(name, device)) >= 0.999 * step_s(served(wider, device))


@pytest.mark.parametrize("device", DEVICES)
def test_a_name_for_the_same_kernel_has_the_same_time(device: str) -> None:
    assert step_s(served("int4_awq_g128", device)) == pytest.approx(step_s(served("int4_g128", device)), rel=0.01)


@pytest.mark.parametrize("device", DEVICES)
def test_four_bits_are_no_slower_than_eight_or_sixteen(device: str) -> None:
    four, eight, sixteen = (step_s(served(name, device)) for name in ("int4_g128", "int8_wo", "bf16"))
    assert four < eight and four < 1.05 * sixteen


def test_the_interval_of_an_untimed_format_is_wider_and_that_of_a_timed_one_is_not() -> None:
    shipped = FittedCalibration.shipped()
    timed, untimed = (ReplicaIntervals.of(served(name), shipped).tpot for name in ("int4_g128", "int3_g128"))
    assert untimed.high / untimed.low > 1.5 * timed.high / timed.low
    assert format_error(served("int3_g128")) > 0.2 and format_error(served("int4_g128")) == 0.0


def test_formats_of_an_engine_known_by_whole_servers_are_not_bounded() -> None:
    assert format_error(served("q5_k", engine="llama_cpp")) == 0.0
    assert step_s(served("q4_k", engine="llama_cpp")) < step_s(served("q5_k", engine="llama_cpp"))


@pytest.mark.parametrize(
    ("device", "activations", "row", "level"),
    [
        ("h100_sxm", "bf16", "mxfp4", "system"),
        ("h200_sxm", "bf16", "mxfp4", "system"),
        ("b200_sxm", "bf16", "mxfp4", "system"),
        ("b200_sxm", "mxfp8", "mxfp4_mxfp8", "system"),
        ("gb200", "mxfp8", "mxfp4_mxfp8", "system"),
        ("mi300x", "bf16", "mxfp4", "overall"),
    ],
)
@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_experts_of_gpt_oss_take_the_row_of_their_activations_and_never_that_of_nvfp4(
    device: str, activations: str, row: str, level: str, engine: str
) -> None:
    settings = EngineSettings.default(engine_facts(engine))
    recipe = PrecisionRecipe("bf16", "mxfp4", activations, "bf16")
    replica = ModelReplica(model("gpt_oss_120b"), accelerator(device), recipe, ParallelLayout(), settings)
    parts = part_arithmetic(replica)
    experts = next(x for x in replica_timer(replica, KernelPriors()).operations.rows if x.kind == "moe")
    taken = KernelPriors().efficiency(replica, kernel_of(replica, experts, parts["experts"]))
    timed, other = (kernel_prior("moe", replica.device, engine, name) for name in (row, "nvfp4"))
    assert (timed.op, timed.source_level) == ("moe", level)
    assert (taken.bytes, taken.flops, taken.floor_s) == (timed.eff_bytes, timed.eff_flops, timed.floor_s)
    assert (taken.bytes, taken.flops, taken.floor_s) != (other.eff_bytes, other.eff_flops, other.floor_s)

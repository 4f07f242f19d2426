"""The shipped kernel priors are sound and fall back honestly; their fit recovers what it should."""

import importlib
import sys
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.calibration import (
    COLLECTIVES,
    OpPrior,
    expert_imbalance,
    kernel_power,
    kernel_prior,
    kin,
    operations_known,
)
from comptroller.facts.reader import ids

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
ENGINES = ("vllm", "sglang", "trtllm", "llama.cpp")
NEEDED = (
    *("gemm", "attention_decode", "attention_prefill", "mla_decode", "mla_prefill", "moe", "linear_attention"),
    *("all_reduce", "all_to_all", "all_gather", "send", "norm"),
)


def prior(op: str, name: str, engine: str = "vllm", fmt: str = "bf16") -> OpPrior:
    return kernel_prior(op, accelerator(name), engine, fmt)


@pytest.mark.parametrize("name", ids("accelerators"))
@pytest.mark.parametrize("op", NEEDED)
def test_every_accelerator_has_a_physical_prior_for_every_operation(op, name):
    for engine in ENGINES:
        for fmt in ("bf16", "fp8", "nvfp4", "int4_g128", "q4_k"):
            found = prior(op, name, engine, fmt)
            assert 0 < found.eff_bytes <= 1.15
            assert 0 < found.eff_flops <= 1.1
            assert 1e-7 < found.floor_s < 1e-3
            assert 0 < found.error < 3
            assert found.rows >= 10
            assert min(found.passes, found.item_s, found.depth_s, found.setup_s) >= 0
            assert all(error >= 0 for error in found.errors.values())


def test_a_measured_system_is_found_at_its_own_level():
    found = prior("gemm", "h100_sxm", "vllm", "bf16")
    assert (found.source_level, found.source) == ("system", "h100_sxm, vllm, bf16")
    assert found.error < 0.15


@pytest.mark.parametrize(
    ("op", "name", "level", "source"),
    [
        ("gemm", "a10g", "family", "ampere, vllm, bf16"),
        ("gemm", "mi300x", "overall", "overall, vllm, bf16"),
        ("moe", "h100_nvl", "family", "hopper, vllm, bf16"),
        ("mla_decode", "h100_sxm", "system", "h100_sxm, bf16"),
        ("all_gather", "h100_sxm", "system", "h100_sxm, bf16"),
        ("all_reduce", "mi300x", "family", "fabric, vllm, bf16"),
        ("all_reduce", "a10g", "family", "pcie 4.0, vllm, bf16"),
        ("all_reduce", "t4", "family", "pcie, vllm, bf16"),
    ],
)
def test_the_fallback_says_where_it_found_a_prior(op, name, level, source):
    found = prior(op, name)
    assert (found.source_level, found.source) == (level, source)


@pytest.mark.parametrize("op", ["gemm", "attention_decode", "moe"])
def test_a_system_without_tables_carries_a_larger_error(op):
    assert prior(op, "h100_sxm").error <= prior(op, "mi300x").error


def test_an_unknown_engine_and_an_unknown_format_fall_back_further():
    assert prior("gemm", "h100_sxm", "llama.cpp").source == "h100_sxm, bf16"
    assert prior("gemm", "h100_sxm", "vllm", "q4_k").source == "overall"
    assert prior("gemm", "h100_sxm", "vllm", "fp16") == prior("gemm", "h100_sxm", "vllm", "bf16")


def test_an_unknown_operation_lists_the_nearest():
    with pytest.raises(UnknownIdError, match="gemm"):
        kernel_prior("gem", accelerator("h100_sxm"), "vllm", "bf16")


def test_collectives_pool_by_link_not_by_family():
    assert kin("all_reduce", accelerator("a100_80_sxm")) == ("nvlink 3", "fabric")
    assert kin("all_reduce", accelerator("a10g")) == ("pcie 4.0", "pcie")
    assert set(operations_known()) >= COLLECTIVES


# Measured times of an n = k projection (aiconfigurator-core tables): device, engine, format, n, m, us.
MEASURED = [
    ("h100_sxm", "vllm", "bf16", 4096, 1, 15.0),
    ("h100_sxm", "vllm", "bf16", 4096, 1024, 43.1),
    ("h100_sxm", "vllm", "bf16", 4096, 8192, 347.0),
    ("h100_sxm", "vllm", "bf16", 8192, 64, 47.4),
    ("b200_sxm", "vllm", "bf16", 4096, 64, 9.1),
    ("b200_sxm", "vllm", "bf16", 8192, 8192, 652.0),
    ("b200_sxm", "vllm", "nvfp4", 8192, 1, 14.8),
    ("b200_sxm", "vllm", "nvfp4", 8192, 8192, 258.0),
    ("b200_sxm", "trtllm", "nvfp4", 4096, 1024, 18.6),
    ("h200_sxm", "vllm", "fp8_e4m3", 8192, 8192, 725.0),
]


@pytest.mark.parametrize(("name", "engine", "fmt", "size", "tokens", "measured_us"), MEASURED)
def test_the_equation_gives_back_measured_projections(name, engine, fmt, size, tokens, measured_us):
    device, found = accelerator(name), prior("gemm", name, engine, fmt)
    weight, peak = {"bf16": (2.0, "bf16"), "fp8_e4m3": (1.0, "fp8"), "nvfp4": (0.5625, "fp4")}[fmt]
    moved = size * size * weight + tokens * size * weight + tokens * size * 2
    one_pass = tokens * size * (2 + weight) / device.memory_bytes_per_s
    memory = moved / (found.eff_bytes * device.memory_bytes_per_s)
    compute = 2 * tokens * size**2 / (found.eff_flops * device.peak(peak))
    serial = found.floor_s + found.passes * one_pass + found.depth_s * size
    seconds = serial + (memory**4 + compute**4) ** 0.25
    assert abs(np.log(seconds * 1e6 / measured_us)) < 2.5 * found.error


def test_skewed_routing_costs_most_where_experts_are_full():
    for engine in ("vllm", "sglang", "trtllm"):
        assert expert_imbalance(engine, 1.2, 1000).ratio[0] > expert_imbalance(engine, 1.2, 4).ratio[0]
        assert expert_imbalance(engine, 1.2, 1000).ratio[0] >= expert_imbalance(engine, 1.01, 1000).ratio[0]


def test_power_rises_from_idle_to_the_limit():
    table = kernel_power()
    assert 0 < table.idle_w < table.limit_w == accelerator(table.system).tdp_w
    for kind in (table.attention_prefill, table.attention_decode, table.moe):
        share = -np.expm1(-(kind.memory[0] * 0.9 + kind.compute[0] * 0.02))
        assert 0.5 < share < 1
        assert kind.error < 0.4


pytest.importorskip("pandas", reason="fitting reads tables with pandas")
pytest.importorskip("pyarrow", reason="fitting reads tables with pyarrow")


@pytest.fixture(scope="module")
def fitting():
    sys.path.insert(0, str(BENCHMARKS))
    try:
        yield importlib.import_module("fit_kernels"), importlib.import_module("kernel_tables")
    finally:
        sys.path.remove(str(BENCHMARKS))


def synthetic(tables, op: str, count: int, seed: int):
    rng = np.random.default_rng(seed)
    m = 2.0 ** rng.integers(0, 14, count)
    size = 2.0 ** rng.integers(9, 15, count)
    ideal = {"bytes_s": (size**2 * 2 + m * size * 4) / 3e12, "flops_s": 2 * m * size**2 / 1e15}
    rest = {"pass_s": m * size * 3 / 3e12, "items": m, "depth": size, "direct_s": m * size / 1e11}
    group = np.arange(count) // 4
    head = (op, "x", "vllm", "fp8_e4m3", "1")
    return tables.Rows(*head, time_s=np.ones(count), group=group, **ideal, **rest)


@pytest.mark.parametrize(
    ("op", "truth"),
    [
        ("gemm", {"floor_s": 4e-6, "eff_bytes": 0.8, "eff_flops": 0.6, "depth_s": 3e-10, "passes": 2.0}),
        ("moe", {"floor_s": 3e-5, "eff_bytes": 0.9, "eff_flops": 0.4, "passes": 4.0}),
        ("attention_decode", {"floor_s": 1e-5, "eff_bytes": 0.85, "eff_flops": 0.3, "item_s": 2e-8}),
    ],
)
def test_the_fit_recovers_parameters_under_noise_and_outliers(fitting, op, truth):
    fit_kernels, tables = fitting
    rows = synthetic(tables, op, 2000, seed=3)
    rng = np.random.default_rng(4)
    noise = np.exp(rng.normal(0, 0.05, 2000))
    noise[:60] *= 8
    measured = tables.Rows(**{**rows.__dict__, "time_s": fit_kernels.seconds(truth, rows) * noise})
    start = {name: fit_kernels.PRIOR[name][0] for name in fit_kernels.PRIOR}
    found = fit_kernels.fit(measured, fit_kernels.PRIOR, start, held_out=True)
    for name, value in truth.items():
        assert abs(np.log(found.values[name] / value)) < 0.05 + 3 * found.errors[name]
    for name in {"floor_s", "eff_bytes", "eff_flops"} & set(truth):
        assert found.values[name] == pytest.approx(truth[name], rel=0.1)
    assert found.error < 0.08


def test_a_parameter_that_the_rows_cannot_identify_keeps_its_prior_and_says_so(fitting):
    fit_kernels, tables = fitting
    rows = synthetic(tables, "gemm", 400, seed=5)
    truth = {"floor_s": 4e-6, "eff_bytes": 0.8, "eff_flops": 0.6, "depth_s": 3e-10, "passes": 2.0}
    rows = tables.Rows(**{**rows.__dict__, "flops_s": rows.flops_s * 1e-9})
    rows = tables.Rows(**{**rows.__dict__, "time_s": fit_kernels.seconds(truth, rows)})
    start = {name: fit_kernels.PRIOR[name][0] for name in fit_kernels.PRIOR}
    found = fit_kernels.fit(rows, fit_kernels.PRIOR, start, held_out=False)
    assert found.values["eff_flops"] == pytest.approx(fit_kernels.PRIOR["eff_flops"][0], rel=0.1)
    assert found.errors["eff_flops"] > 0.5
    assert found.errors["eff_bytes"] < 0.1


def test_a_pool_spreads_when_its_members_disagree(fitting):
    fit_kernels, tables = fitting
    rows = synthetic(tables, "gemm", 50, seed=6)

    def member(value: float):
        values = {"floor_s": value}
        return fit_kernels.Fit(values, {"floor_s": 0.02}, np.zeros(1), np.zeros(1), rows)

    same = fit_kernels.pooled([member(1e-5), member(1e-5)])["floor_s"]
    apart = fit_kernels.pooled([member(5e-6), member(2e-5)])["floor_s"]
    assert same[0] == pytest.approx(apart[0]) == pytest.approx(1e-5)
    assert same[1] < 0.1
    assert apart[1] > 0.5

"""Speed of formats: the fitted table, batch-1 decode as published (a test, never a fit), real kernels here."""

from __future__ import annotations

import json
import tomllib
from importlib.util import find_spec
from statistics import median

import pytest
from scipy.optimize import brentq

from comptroller.cli import main
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import KernelPriors
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.errors import InputError, UnknownIdError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.measure import kernels_run
from comptroller.measure.kernels import DECODE, PREFILL, GemmShape, gemm_s, measured_prior, speed_over_bf16
from comptroller_lab.baseline import RooflineCalibration
from comptroller_lab.launch_bound import launched_s

# arXiv 2605.30571: Qwen2.5-7B, one sequence, 2,048 tokens of context
L4_MS = {"bf16": 62.32, "bnb nf4": 59.36, "AutoAWQ + Marlin": 45.24, "GPTQ + ExLlamaV2": 17.36}
GRAPHS = {"h100_sxm": 1.259, "l4": 1.028}
OF_FLOOR = {"h100_sxm": 0.27, "l4": 0.81}
STEP = ReplicaStep.decode([1.0], [2048.0])


def ready(device: str, weights: str = "bf16", calibration=None):
    replica = ModelReplica(
        model("qwen2_5_7b"),
        accelerator(device),
        PrecisionRecipe(weights, weights),
        ParallelLayout(),
        EngineSettings.default(engine_facts("vllm")),
    )
    return replica_timer(replica, calibration or KernelPriors())


def ms(device: str, weights: str = "bf16", calibration=None) -> float:
    return float(ready(device, weights, calibration).step(STEP).total_s[0]) * 1e3


def gain(device: str, launch_s: float) -> float:
    one = ready(device)
    return launched_s(one, STEP, launch_s) / launched_s(one, STEP, 0.0)


class TestBatchOneDecode:
    def test_bf16_on_l4_and_the_fastest_four_bit_runtime_are_predicted(self):
        assert ms("l4") == pytest.approx(L4_MS["bf16"], rel=0.15)
        assert ms("l4", "int4_g128") == pytest.approx(L4_MS["GPTQ + ExLlamaV2"], rel=0.15)

    def test_the_runtime_decides_what_four_bits_buy(self):
        bytes_alone = (
            L4_MS["bf16"]
            / ms("l4", "int4_g128", RooflineCalibration())
            * ms("l4", "bf16", RooflineCalibration())
            / L4_MS["bf16"]
        )
        bought = {name: L4_MS["bf16"] / value for name, value in L4_MS.items()}
        assert bytes_alone > 3
        assert bought["bnb nf4"] < 1.1 and bought["AutoAWQ + Marlin"] < 1.5 < bought["GPTQ + ExLlamaV2"]

    def test_the_launch_time_that_explains_the_h100_explains_the_l4(self):
        launch_s = brentq(lambda t: gain("h100_sxm", t) - GRAPHS["h100_sxm"], 1e-6, 1e-4)
        assert 5e-6 < launch_s < 3e-5
        assert gain("l4", launch_s) == pytest.approx(GRAPHS["l4"], abs=0.02)

    def test_the_slow_device_is_near_its_memory_floor_and_the_fast_one_is_not(self):
        floor = {device: ms(device, "bf16", RooflineCalibration()) for device in OF_FLOOR}
        assert floor["l4"] / L4_MS["bf16"] == pytest.approx(OF_FLOOR["l4"], abs=0.06)
        share = {device: floor[device] / ms(device) for device in OF_FLOOR}
        assert share["h100_sxm"] < share["l4"]


class TestFittedTable:
    def test_half_the_bits_is_not_twice_the_speed(self):
        ratios = speed_over_bf16("nvfp4", DECODE)
        assert len(ratios) >= 10 and max(ratios.values()) < 2.2
        assert 1.8 < median(speed_over_bf16("nvfp4", PREFILL).values()) < 2.8  # four times the bits, on paper

    def test_the_same_format_is_faster_or_slower_by_engine(self):
        ratios = speed_over_bf16("fp8_block", DECODE)
        assert ratios["h100_sxm", "sglang"] > 1.3 and ratios["h100_sxm", "vllm"] < 1

    def test_a_product_takes_what_was_measured(self):
        device = accelerator("h100_sxm")
        prior = measured_prior(device, "vllm", "bf16")
        assert prior is not None
        # aiconfigurator, vLLM 0.24 on H100, n = k = 8192: 51.6 us at m = 1, 1542 us at m = 8192
        assert gemm_s(device, prior, "bf16", DECODE) == pytest.approx(51.6e-6, rel=0.1)
        assert gemm_s(device, prior, "bf16", GemmShape(8192, 8192, 8192)) == pytest.approx(1542e-6, rel=0.15)
        assert measured_prior(device, "vllm", "nf4") is None


class TestKernels:
    def test_the_law_is_recovered_from_its_own_times(self):
        shapes = [GemmShape(m, n, n) for m in (1, 64, 4096) for n in (1024, 8192)]
        times = []
        for s in shapes:
            moved = s.n * s.k * 2 + 2 * s.m * (s.n + s.k)
            seconds = 5e-6 + moved / 2e12 + s.flops / 4e14
            times.append(kernels_run.GemmTiming("own", "bf16", s, seconds, seconds, seconds))
        (fit,) = kernels_run.fits(times, {"bf16": 2.0})
        assert fit.floor_s == pytest.approx(5e-6, rel=1e-3)
        assert (fit.bytes_per_s, fit.flops_per_s) == (pytest.approx(2e12, rel=1e-3), pytest.approx(4e14, rel=1e-3))
        document = tomllib.loads(kernels_run.as_toml('odd "name"', {"torch": "2"}, [fit]))
        assert document["kernels"][0]["shapes"] == 6 and document["device"] == 'odd "name"'

    def test_few_shapes_fit_nothing(self):
        one = kernels_run.GemmTiming("own", "bf16", GemmShape(1, 8, 8), 1.0, 1.0, 1.0)
        assert kernels_run.fits([one] * 3, {"bf16": 2.0}) == []

    @pytest.mark.parametrize("spec", ["nothing", "missing.py:make=int8", "x.py:make=int8x"])
    def test_a_kernel_of_the_users_own_must_be_there(self, spec):
        with pytest.raises((InputError, UnknownIdError)):
            kernels_run.own_kernel(spec)

    def test_a_kernel_of_the_users_own_is_read(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text("def make(torch, device, shape):\n    return lambda: shape.flops\n")
        (name, fmt), make = kernels_run.own_kernel(f"{file}:make=int6_g128")
        assert (name, fmt) == ("mine", "int6_g128") and make(None, "cpu", GemmShape(1, 2, 3))() == 12

    def test_a_kernel_of_the_users_own_is_imported_as_any_own_file(self, tmp_path):
        file = tmp_path / "mine.py"
        file.write_text(
            "from __future__ import annotations\nfrom dataclasses import dataclass\n\n\n"
            "@dataclass(slots=True)\nclass Product:\n    flops: int = 0\n\n\n"
            "def make(torch, device, shape):\n    return lambda: Product(shape.flops).flops\n"
        )
        assert kernels_run.own_kernel(f"{file}:make=int6_g128")[1](None, "cpu", GemmShape(1, 2, 3))() == 12
        file.write_text("def make(torch, device, shape)\n    return None\n")
        with pytest.raises(InputError, match=r"mine\.py.*line 1"):
            kernels_run.own_kernel(f"{file}:make=int6_g128")

    @pytest.mark.skipif(find_spec("torch") is not None, reason="torch is installed")
    def test_without_torch_the_command_says_what_to_install(self, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["measure", "kernels", "cpu"])
        assert ended.value.code == 2 and "comptroller[kernels]" in capsys.readouterr().err

    @pytest.mark.skipif(find_spec("torch") is None, reason="needs torch: pip install 'comptroller[kernels]'")
    def test_real_kernels_run_on_the_cpu(self, tmp_path, capsys):
        out = tmp_path / "kernels.toml"
        shapes = [part for m in (1, 8, 64) for n in (256, 512) for part in ("--shape", f"{m}x{n}x{n}")]
        with pytest.raises(SystemExit) as ended:
            main(["measure", "kernels", "cpu", *shapes, "--json", "--out", str(out)])
        assert not ended.value.code
        found = json.loads(capsys.readouterr().out)
        timings = next(rows for title, rows in found.items() if title.startswith("Products timed"))
        assert {row["format"] for row in timings} >= {"fp32", "bf16"}
        assert all(0 < row["least_us"] <= row["us"] <= row["most_us"] for row in timings)
        assert {row["format"] for row in tomllib.loads(out.read_text())["kernels"]} >= {"fp32", "bf16"}

    @pytest.mark.parametrize(("words", "message"), [(["cuda"], "cuda"), (["cpu", "--shape", "4x0x4"], "MxNxK")])
    def test_bad_input(self, words, message, capsys):
        with pytest.raises(SystemExit) as ended:
            main(["measure", "kernels", *words])
        assert ended.value.code == 2
        assert message in capsys.readouterr().err or find_spec("torch") is None

"""Tiles of a CPU's engine: several vectors cost an unpacking more, one costs what it did; accelerators have none."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.tiles import tile_vectors
from comptroller.costs.timing import ReplicaTimer
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.measure.host import FAMILIES, HostMeasurement

TIMED = Path(__file__).parents[1] / "benchmarks" / "results" / "cpu_tiles.json"


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One core of a machine, as `comptroller measure host cpu` writes it."""
    file = tmp_path_factory.mktemp("host") / "host.toml"
    measured = HostMeasurement("core", "Intel", FAMILIES["x86_64"], 8, 4e9, 1.25e10, 9e10)
    file.write_text(measured.as_toml("comptroller measure host cpu", date(2026, 11, 29)))
    return str(file)


def timer(device: str, width: int, name: str = "smollm2_135m") -> ReplicaTimer:
    engine = replace(EngineSettings.default(engine_facts("llama_cpp")), tile_vectors=width)
    recipe = PrecisionRecipe("q8_0", "q8_0")
    replica = ModelReplica(model(name), accelerator(device), recipe, ParallelLayout(), engine)
    return replica_timer(replica, FittedCalibration.shipped())


def decode_s(device: str, width: int) -> np.ndarray:
    batch = np.array([1.0, 2.0, 4.0, 8.0, 32.0])
    return timer(device, width).step(ReplicaStep.decode(batch, 64 * batch)).total_s


def test_several_vectors_cost_an_unpacking_on_a_cpu(core: str) -> None:
    plain, tiled = decode_s(core, 1), decode_s(core, 8)
    assert tiled[0] == pytest.approx(plain[0], rel=1e-12)
    assert np.all(tiled[1:] > plain[1:]) and tiled[1] > 1.2 * plain[1] and tiled[4] < 1.3 * plain[4]
    assert np.all(np.diff(tiled) > 0), "more sequences never take less"


def test_other_devices_have_no_tiles() -> None:
    assert np.array_equal(decode_s("rtx_4090", 1), decode_s("rtx_4090", 8))


def test_means_of_batches_lie_between() -> None:
    found = tile_vectors(np.linspace(0.1, 20, 200), 8)
    assert np.all(np.diff(found) >= 0) and np.all(found >= np.linspace(0.1, 20, 200))


def test_the_width_is_that_of_timed_prompts() -> None:
    """From two tokens on a prompt takes the time of an unpacking and of each token: within 15 % in the median."""
    figures = json.loads(TIMED.read_text())["figures"]
    timed = {int(count): ms for count, ms in figures["ms"].items() if int(count) > 1}
    counts, ms = np.array(list(timed), float), np.array(list(timed.values()))
    width = engine_facts("llama_cpp").tile_vectors
    off = figures["ms_a_token"] * tile_vectors(counts, width) / ms - 1
    assert np.median(np.abs(off)) < 0.15 and np.all(np.abs(off) < 0.4)
    assert abs(np.mean(ms / figures["ms_a_token"] - counts) - (width - 1)) < 1.5
    assert figures["ms"]["1"] < 0.5 * figures["ms"]["2"]

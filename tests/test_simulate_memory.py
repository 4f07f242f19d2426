"""What replicas hold beside their cache, from the command to the engine: swaps, slots of adapters, what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comptroller.cli import main
from comptroller.errors import InputError
from comptroller.planning.simulation import ReplicaMemorySettings
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from export_plans import GOLDEN, plan_of

TIGHT = replace(linear(max_batch=8), kv_capacity_tokens=1600)


def load(count: int = 60) -> CallTable:
    rng = np.random.default_rng(0)
    return CallTable.of(
        arrival_s=np.sort(rng.uniform(0, 3, count)), input_tokens=rng.integers(50, 300, count),
        output_tokens=rng.integers(100, 400, count),
    )  # fmt: skip


def test_nothing_said_changes_nothing() -> None:
    fleet = SimulatedFleet.uniform(TIGHT, 2)
    same = ReplicaMemorySettings().of_fleet(fleet)
    assert simulate(same, load()).e2e_s.tolist() == simulate(fleet, load()).e2e_s.tolist()


def test_what_is_swapped_is_not_computed_again_and_calls_of_swapping_cost_time() -> None:
    fleet = SimulatedFleet.uniform(TIGHT, 1)
    plain = simulate(fleet, load())
    swaps = simulate(ReplicaMemorySettings(swap_gb=64).of_fleet(fleet), load())
    slow = simulate(ReplicaMemorySettings(swap_gb=64, chunk_tokens=16, chunk_s=5e-3).of_fleet(fleet), load())
    beside = simulate(ReplicaMemorySettings(64, 16, 5e-3, beside=True).of_fleet(fleet), load())
    assert plain.meters.recomputed_tokens.sum() > 0 == swaps.meters.recomputed_tokens.sum()
    assert slow.horizon_s > swaps.horizon_s
    assert beside.horizon_s < slow.horizon_s


def test_slots_of_adapters_beside_swapping_and_negative_sizes_are_refused() -> None:
    fleet = SimulatedFleet.uniform(TIGHT, 1)
    with pytest.raises(InputError, match="slots of adapters beside swapping"):
        ReplicaMemorySettings(swap_gb=1, adapter_slots=2).of_fleet(fleet)
    with pytest.raises(InputError, match="--swap -1 GB: allowed: from 0"):
        ReplicaMemorySettings(swap_gb=-1).of_fleet(fleet)


def test_the_command_takes_slots_of_adapters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "plan.json").write_text(plan_of(GOLDEN.services[0]).model_dump_json(), encoding="utf-8")
    rows = "".join(f"{0.2 * n:.1f},200,20,lora{n % 5}\n" for n in range(60))
    (tmp_path / "trace.csv").write_text(f"arrival_s,input_tokens,output_tokens,adapter\n{rows}", encoding="utf-8")
    words = ["simulate", str(tmp_path / "plan.json"), "--trace", str(tmp_path / "trace.csv"), "--json"]
    found = []
    for more in ([], ["--adapter-slots", "1", "--adapter-load", "500"]):
        with pytest.raises(SystemExit) as ended:
            main([*words, *more])
        assert ended.value.code == 0
        found.append(capsys.readouterr().out)
    assert found[0] != found[1]

"""Locked clocks and power limits: the law of clock and voltage, what they cost in time and save in watts, as levers."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.costs.deployment import ClockSetting, EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.power import clock_refusal, device_w
from comptroller.costs.power_demand import CoreClock, DeviceActivity, clock_within, core_power
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import FactError, UnsupportedError
from comptroller.export import service_launches
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.power import power_facts
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.work.workload import parse
from comptroller_lab.clock_points import STAGES, V100_EPOCHS_S, V100_LIMITS_W, fit_voltage, stage_power
from lever_workloads import planned, problem_of, workload

DECODE = np.array([1.0, 32.0, 256.0]), np.array([1.0, 32.0, 256.0]) * 1000.0
PROMPT = ReplicaStep.prefill(8192.0)


def timer(device: str = "h100_sxm", **setting: float) -> ReplicaTimer:
    engine = EngineSettings.default(engine_facts("vllm"))
    parts = PrecisionRecipe(), ParallelLayout(1), engine
    clock = ClockSetting(**setting) if setting else None
    replica = ModelReplica(model("llama_3_1_8b"), accelerator(device), *parts, clock=clock)
    return replica_timer(replica, FittedCalibration.shipped())


def test_the_shipped_law_is_that_of_the_published_stages() -> None:
    found, shipped = fit_voltage(), power_facts().clocks
    assert found.floor.fraction == pytest.approx(shipped.floor.fraction, abs=2e-3)
    assert found.knee.fraction == pytest.approx(shipped.knee.fraction, abs=2e-3)


@pytest.mark.parametrize("device", ["a100_80_sxm", "a40"])
def test_powers_of_a_device_at_locked_clocks_follow_from_the_other_device(device: str) -> None:
    law = fit_voltage([stage for stage in STAGES if stage.device != device])
    for stage in (stage for stage in STAGES if stage.device == device):
        error = np.abs(stage_power(stage, law) / stage.w - 1)
        assert error.mean() < 0.035
        assert error.max() < 0.07


def test_epochs_under_a_power_limit_take_no_longer_than_predicted_for_cores_alone() -> None:
    """ResNet-50 on V100 waits and reads too, and so slows less than cores do; both slow faster the lower the limit."""
    facts = power_facts()
    busy = DeviceActivity(*(np.array([x]) for x in (1.0, 1.0, 0.0, 0.0, 0.3, 0.5)))
    clocks = np.array(
        [
            clock_within(busy, facts.shares, facts.clocks, 1.0, CoreClock(limit=watts / 250, idle=0.14))[0]
            for watts in V100_LIMITS_W
        ]
    )
    slower, measured = clocks[0] / clocks, np.array(V100_EPOCHS_S) / V100_EPOCHS_S[0]
    assert (slower >= measured - 1e-9).all()
    assert (np.diff(slower, 2) > 0).sum() >= 4 and (np.diff(measured, 2) > 0).sum() >= 4


@given(st.floats(0.05, 1.0), st.floats(0.05, 1.0))
def test_cores_draw_more_at_a_higher_clock(one: float, other: float) -> None:
    low, high = sorted((one, other))
    drawn = core_power([low, high], power_facts().clocks)
    assert 0 < drawn[0] <= drawn[1] <= 1.0


def test_a_power_limit_above_what_decoding_draws_changes_nothing_and_slows_prompts() -> None:
    """Published for H200 (arXiv 2605.11999): no cap triggers while small batches decode."""
    free, capped = timer(), timer(limit_w=500.0)
    before, after = (ready.decode(*DECODE).total_s for ready in (free, capped))
    assert after[0] == before[0] and after[2] > before[2]
    assert capped.step(PROMPT).total_s[0] > 1.1 * free.step(PROMPT).total_s[0]


@pytest.mark.parametrize("watts", [280.0, 400.0, 550.0, 700.0])
def test_no_step_draws_more_than_the_limit(watts: float) -> None:
    ready = timer(limit_w=watts)
    for time in (ready.decode(*DECODE), ready.step(PROMPT)):
        assert (device_w(ready, time) <= watts * 1.001).all()


def test_a_lower_clock_takes_longer_and_draws_less_and_memory_keeps_its_rate() -> None:
    steps = [
        (ready, ready.decode(*DECODE)) for ready in (timer(), *(timer(clock_hz=c * 1e6) for c in (1600, 1300, 1000)))
    ]
    times = np.array([time.total_s for _, time in steps])
    watts = np.array([device_w(ready, time) for ready, time in steps])
    assert (np.diff(times, axis=0) >= 0).all()
    assert (np.diff(watts[1:], axis=0) < 0).all()
    assert (times[-1] / times[0] < 1.98).all(), "less than the cores alone, which run at 0.505 of their clock"


def test_a_locked_clock_saves_energy_of_decoding_at_little_loss() -> None:
    """Published for H200: up to 32 % of the energy of decoding at little loss of throughput."""
    free, locked = timer(), timer(clock_hz=1200e6)
    joules, seconds = [], []
    for ready in (free, locked):
        time = ready.decode(*DECODE)
        joules.append(device_w(ready, time) * time.total_s)
        seconds.append(time.total_s)
    assert 0.15 < 1 - joules[1][1] / joules[0][1] < 0.40
    assert seconds[1][1] / seconds[0][1] < 1.15


def test_without_a_setting_nothing_changes() -> None:
    ready = timer()
    assert ready.decode(*DECODE).clock == 1.0
    assert (
        dataclasses.replace(ready, pace=1.0).decode(*DECODE).total_s.tolist() == ready.decode(*DECODE).total_s.tolist()
    )


@pytest.mark.parametrize(
    ("device", "setting", "words"),
    [
        ("h100_sxm", {"clock_hz": 500e6}, "990 to 1,980 MHz"),
        ("h100_sxm", {"clock_hz": 2500e6}, "990 to 1,980 MHz"),
        ("h100_sxm", {"limit_w": 100.0}, "280 to 700 W"),
        ("l40s", {"clock_hz": 1500e6}, "state no clock"),
    ],
)
def test_what_is_not_known_is_refused_by_name(device: str, setting: dict[str, float], words: str) -> None:
    assert words in clock_refusal(timer(device, **setting).replica)


def small(**changes: Any) -> dict[str, Any]:
    document = workload(4.0, (800.0, 150.0), 2000.0, 60.0, power_limit_w=[400.0], clock_mhz=[1200.0])
    return {**document, **changes}


def test_clocks_are_candidates_and_a_plan_for_energy_takes_one() -> None:
    (offers,) = problem_of(small()).space.offers.values()
    settings = {str(item.replica.clock) for item in offers.deployments}
    assert settings == {"None", "1200 MHz", "400 W"}
    found = planned(small(objective="j"))
    (service,) = found.services
    (pool,) = service.deployment.pools
    assert pool.clock_mhz == 1200.0 and ".1200mhz." in service.id
    assert replica_of_pool(service.deployment, pool, found.library).clock == ClockSetting(1.2e9)
    assert any("--lock-gpu-clocks=0,1200" in note for note in found.notes)
    assert Plan.model_validate_json(found.to_json()) == found
    with pytest.raises(UnsupportedError, match="no export"):
        service_launches(found)


def test_a_clock_out_of_range_is_told_with_what_is_allowed() -> None:
    document = small()
    document["allow"] |= {"clock_mhz": [300.0], "power_limit_w": []}
    (offers,) = problem_of(document).space.offers.values()
    assert {item.replica.clock for item in offers.deployments} == {None}
    with pytest.raises(FactError, match=r"allow\.clock_mhz"):
        parse({**document, "allow": {**document["allow"], "clock_mhz": [0]}})

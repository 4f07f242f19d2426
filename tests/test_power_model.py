from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import KernelPriors
from comptroller.costs.money import host_w, wall_j, wall_w
from comptroller.costs.power import device_interval_w, device_w, energy_interval_j, idle, idle_w, request_j, step_j
from comptroller.costs.power_demand import DeviceActivity, limit_s, soft_power_cap
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steady import UniformRequests, steady
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import ReplicaTimer, StepOverheads
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.power import power_facts
from comptroller.facts.reader import ids

SHARES = power_facts().shares
seconds = st.floats(0.0, 10.0)


def ready(name: str = "llama_3_1_8b", device: str = "h100_sxm", layout: ParallelLayout | None = None) -> ReplicaTimer:
    engine = EngineSettings.default(engine_facts("vllm"))
    replica = ModelReplica(model(name), accelerator(device), PrecisionRecipe(), layout or ParallelLayout(), engine)
    return replace(replica_timer(replica, KernelPriors()), overheads=StepOverheads(1e-5, 5e-4, 5e-5))


def doing(
    kernel: float, collective: float, sequence: float, waiting: float, used: tuple[float, float]
) -> DeviceActivity:
    total = kernel + collective + sequence + waiting
    return DeviceActivity(*(np.array(x) for x in (total, kernel, collective, sequence, used[0], used[1])))


@given(seconds, seconds, seconds, seconds, seconds, seconds)
def test_power_stays_between_floor_and_limit(kernel, collective, sequence, waiting, memory, matrix):
    one = doing(kernel, collective, sequence, waiting, (memory, matrix))
    spent = float(limit_s(one, SHARES))
    floor = soft_power_cap(SHARES.floor.fraction)
    assert float(floor) * float(one.total_s) <= spent * (1 + 1e-12)
    assert spent <= float(one.total_s) * (1 + 1e-12)


@given(seconds, seconds, seconds, seconds, st.floats(0.01, 5.0))
def test_power_grows_as_waiting_turns_into_work(kernel, waiting, memory, matrix, more):
    lazy = doing(kernel, 0.0, 0.0, waiting + more, (memory, matrix))
    busy = doing(kernel + more, 0.0, 0.0, waiting, (memory, matrix))
    assert float(limit_s(busy, SHARES)) >= float(limit_s(lazy, SHARES)) * (1 - 1e-9)


@given(seconds, seconds, seconds, st.floats(0.0, 5.0))
def test_power_grows_with_work_done_in_the_same_time(kernel, memory, matrix, more):
    little = doing(kernel, 0.0, 0.0, 1.0, (memory, matrix))
    assert float(limit_s(doing(kernel, 0.0, 0.0, 1.0, (memory + more, matrix)), SHARES)) >= float(
        limit_s(little, SHARES)
    )
    assert float(limit_s(doing(kernel, 0.0, 0.0, 1.0, (memory, matrix + more)), SHARES)) >= float(
        limit_s(little, SHARES)
    )


@given(seconds, seconds, seconds, seconds, st.floats(0.1, 100.0))
def test_energy_is_proportional_to_repetition(kernel, waiting, memory, matrix, times):
    one = doing(kernel, 0.0, 0.0, waiting, (memory, matrix))
    assert float(limit_s(one.times(times), SHARES)) == pytest.approx(
        times * float(limit_s(one, SHARES)), rel=1e-9, abs=1e-12
    )


def test_a_longer_span_adds_waiting_at_the_floor_only():
    one = doing(1.0, 0.0, 0.0, 0.0, (0.5, 0.2))
    longer = one.within(np.array(3.0))
    assert float(limit_s(longer, SHARES) - limit_s(one, SHARES)) == pytest.approx(2.0 * SHARES.floor.fraction)


def test_a_shorter_span_squeezes_what_runs():
    squeezed = doing(1.0, 0.5, 0.5, 0.0, (0.5, 0.2)).within(np.array(1.0))
    assert float(squeezed.busy_s) == pytest.approx(1.0)
    assert float(squeezed.total_s) == 1.0


def test_energy_of_a_request_is_the_sum_of_its_phases_and_the_power_of_the_loop():
    served = ready(layout=ParallelLayout(tp=2))
    state = steady(served, UniformRequests(np.array([300.0, 2000.0]), np.array([400.0, 200.0])), np.array([64.0, 16.0]))
    energy = request_j(served, state)
    share_s = state.request_s / state.batch
    mean_w = energy.total_j / share_s / 2
    low = np.minimum(device_w(served, state.decode), device_w(served, state.prefill))
    high = np.maximum(device_w(served, state.decode), device_w(served, state.prefill))
    assert (low * (1 - 1e-9) <= mean_w).all()
    assert (mean_w <= high * (1 + 1e-9)).all()
    assert (energy.prefill_j > 0).all()
    assert (energy.decode_j > 0).all()


def test_prefill_draws_more_than_decode_of_few():
    served = ready()
    prefill = device_w(served, served.step(ReplicaStep.prefill(8192)))
    decode = device_w(served, served.step(ReplicaStep.decode(8, 8 * 500)))
    assert prefill > 1.3 * decode


@pytest.mark.parametrize("device", ["h100_sxm", "h200_sxm", "b200_sxm", "a100_80_sxm", "mi300x"])
def test_steps_draw_between_floor_and_limit_on_every_device(device):
    served = ready(device=device)
    limit = served.replica.device.tdp_w
    batch = np.array([1.0, 8.0, 64.0, 512.0])
    watts = device_w(served, served.step(ReplicaStep.decode(batch, batch * 1000)))
    assert (watts > 0.15 * limit).all()
    assert (watts <= limit).all()
    low, high = device_interval_w(watts, served.replica.device)
    assert (low < watts).all()
    assert (high <= limit).all()


def test_intervals_widen_on_a_device_family_that_was_not_measured():
    watts = np.array([300.0])
    seen, unseen = accelerator("h100_sxm"), accelerator("mi300x")
    assert device_interval_w(watts, unseen)[0] < device_interval_w(watts, seen)[0]
    low, high = energy_interval_j(watts, unseen)
    assert low < energy_interval_j(watts, seen)[0] < watts < energy_interval_j(watts, seen)[1] < high


def test_wall_energy_is_wall_power_over_the_time():
    device, host = 500.0 * 8 * 60.0, float(wall_w(500.0, 8, host_w(8), 1.3)) * 60.0
    assert float(wall_j(device, 8 * 60.0, 1.3)) == pytest.approx(host)


def test_energy_per_token_falls_with_the_batch():
    served = ready()
    batch = np.array([1.0, 8.0, 64.0, 256.0])
    joules = step_j(served, served.step(ReplicaStep.decode(batch, batch * 600))) / batch
    assert (np.diff(joules) < 0).all()


def test_work_per_sequence_counts_as_running_and_the_rest_of_the_overhead_as_waiting():
    served = ready()
    time = served.step(ReplicaStep.decode(100, 100 * 600))
    found = served.activity(time)
    assert float(found.sequence_s[0]) == pytest.approx(100 * 5e-5)
    waiting = float((found.total_s - found.busy_s)[0])
    assert waiting == pytest.approx(32 * 1e-5 + 5e-4)


@pytest.mark.parametrize("name", ids("accelerators"))
def test_every_device_has_an_idle_power_below_its_limit(name):
    device = accelerator(name)
    found = idle(device)
    assert 0 < found.w < device.tdp_w
    assert found.w == idle_w(device)
    if device.idle_w is None:
        assert found.source == "fitted share of the power limit"
        assert found.error_w > 0
    else:
        assert name in found.source


@pytest.mark.parametrize("wall", [6161.0, 6296.0, 4778.0])
def test_the_host_share_leaves_possible_device_power_in_mlperf_walls(wall):
    """Median wall watts of eight H200 (MLPerf Inference v4.1, H200-SXM-141GBx8 MaxQ): Llama-2-70B and GPT-J."""
    device = accelerator("h200_sxm")
    each = (wall - host_w(8)) / 8
    assert SHARES.floor.fraction * device.tdp_w < each < device.tdp_w
    assert float(wall_w(each, 8, host_w(8), 1.0)) == pytest.approx(wall)


def test_every_fitted_number_has_an_error_rows_and_a_command():
    facts = power_facts()
    assert facts.fit.command.startswith("python benchmarks/")
    draws = [getattr(facts.shares, name) for name in facts.shares.__dataclass_fields__]
    for draw in (*draws, *facts.families.values(), facts.idle):
        assert draw.error > 0
        assert draw.rows >= 2
    assert all(item.error > 0 for item in facts.serving)
    assert facts.factor("a family nobody measured") == 1.0

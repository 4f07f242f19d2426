"""Rehearsals: draws keep what makes a trace hard, bounds lie above means, overload is seen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.capacity import LatencyTarget
from comptroller.planning.offer.space import targets_of
from comptroller.planning.planner import plan
from comptroller.planning.prove.arrivals import (
    Bound,
    DrawRecord,
    RehearsalSettings,
    block_bootstrap,
    judge_draws,
    least_bound,
    of_a_further_draw,
    of_the_mean,
    quantile_bounds,
    simulated_quantiles,
    traces,
)
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.work.demand import demand
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import parse
from comptroller_lab.baseline import BaselineCalibration

WORKLOAD = {
    "name": "small",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 10.0,
    "lengths": {
        "input": {"median": 600, "mean": 900, "most": 6000},
        "output": {"median": 150, "mean": 200, "most": 900},
    },
    "objectives": {"tpot": {"p": 95.0, "max": 40.0, "unit": "ms"}, "ttft": {"p": 95.0, "max": 800.0, "unit": "ms"}},
    "allow": {"sites": ["us_neocloud"], "accelerators": ["h100_sxm", "l4"]},
}


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 400), st.floats(0.5, 50.0), st.integers(0, 2**32 - 1))
def test_shuffled_windows_are_windows_of_the_trace(count: int, window_s: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    arrival = np.sort(rng.uniform(0, 300, count))
    sizes = np.arange(1, count + 1)
    whole = RequestTrace(arrival, sizes, sizes)
    drawn = block_bootstrap(whole, window_s, np.random.default_rng(seed))
    assert (np.diff(drawn.arrival_s) >= -1e-9).all()
    since = arrival - arrival[0]
    at = {int(size): float(when) for size, when in zip(sizes, since, strict=True)}
    phase = np.array([at[int(size)] for size in drawn.input_tokens]) % window_s
    assert np.allclose((drawn.arrival_s - phase + window_s / 2) % window_s, window_s / 2, atol=1e-6)


def test_bounds_lie_above_means_and_overload_misses() -> None:
    workload = parse(WORKLOAD)
    found = plan(workload, rehearsal=None)
    draws = traces(workload, demand(workload), RehearsalSettings(draws=3))
    few, targets = RehearsalSettings(draws=3), targets_of(workload)
    shown = simulated_quantiles(found.services, BaselineCalibration.shipped(), draws, targets, 0)
    seen = judge_draws(DrawRecord(shown), targets, few)
    assert all(item.upper_s >= item.mean_s for item in seen)
    crowded = [replace(t, arrival_s=t.arrival_s / 20) for t in draws]
    shown = simulated_quantiles(found.services, BaselineCalibration.shipped(), crowded, targets, 0)
    late = judge_draws(DrawRecord(shown), targets, few)
    assert not all(item.holds for item in late)


@settings(max_examples=10, deadline=None)
@given(st.integers(2, 12), st.sampled_from((0.8, 0.95)), st.integers(0, 2**32 - 1))
def test_the_bound_covers_a_further_draw_as_often_as_it_says(n: int, confidence: float, seed: int) -> None:
    draws = np.random.default_rng(seed).normal(10.0, 1.0, (4000, n + 1))
    held = {}
    for bound in (of_a_further_draw, of_the_mean):
        upper = draws[:, :n].mean(axis=1) + bound(n, confidence) * draws[:, :n].std(axis=1, ddof=1)
        held[bound] = float((draws[:, n] <= upper).mean())
    assert held[of_a_further_draw] == pytest.approx(confidence, abs=0.03)
    assert held[of_the_mean] < held[of_a_further_draw]


def test_a_percentile_that_is_never_reached_is_not_within_any_bound() -> None:
    target = LatencyTarget("ttft_s", 0.95, 1.0)
    (seen,) = quantile_bounds(np.array([[0.5], [np.inf], [0.5]]), (target,), RehearsalSettings(draws=3))
    assert not seen.holds and seen.upper_s == np.inf


@pytest.mark.slow
def test_calls_are_sent_as_the_plan_shares_them() -> None:
    workload = parse(WORKLOAD | {"rate_per_s": 60.0, "caps": {"h100_sxm": 1}})
    found = plan(workload, rehearsal=None)
    trace = traces(workload, demand(workload), RehearsalSettings(draws=2))[0]
    calls = calls_of(found.services, trace, np.random.default_rng(0))
    sent = np.bincount(calls["service"], minlength=len(found.services)) / len(calls)
    shares = [x.share for x in found.classes[0].roles["solver"]]
    assert sent == pytest.approx(shares, abs=0.08)
    fleet = fleet_of(found.services, BaselineCalibration.shipped())
    assert len(fleet.replicas()) == sum(s.deployment.pools[0].replicas for s in found.services)


def test_a_fleet_that_fails_by_far_is_not_simulated_to_the_end() -> None:
    """One draw tells; a second is not asked for, and one that only just fails is seen in all of them."""
    targets, shown = (LatencyTarget("ttft_s", 0.95, 1.0), LatencyTarget("tpot_s", 0.95, 0.1)), list[int]()

    def draws(late: float) -> Iterator[np.ndarray]:
        for number in range(4):
            shown.append(number)
            yield np.array([0.2, late + 0.01 * number])

    four = RehearsalSettings(draws=4)
    ttft, tpot = judge_draws(DrawRecord(draws(0.2)), targets, four)
    assert len(shown) == 1 and ttft.holds and not tpot.holds
    assert tpot.upper_s == tpot.mean_s == pytest.approx(0.2)
    assert not judge_draws(DrawRecord(draws(0.06)), targets, four)[1].holds
    assert len(shown) == 5


BOUNDS = st.sampled_from((of_a_further_draw, of_the_mean))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 9.0), min_size=2, max_size=8), st.data(), BOUNDS)
def test_whatever_the_draws_that_are_left_show_the_bound_is_no_less(
    values: list[float], data: st.DataObject, bound: Bound
) -> None:
    few = data.draw(st.integers(1, len(values) - 1))
    asked, rows = RehearsalSettings(draws=len(values), bound=bound), np.array(values)[:, None]
    (whole,) = quantile_bounds(rows, (LatencyTarget("ttft_s", 0.95, 1.0),), asked)
    assert least_bound(rows[:few], asked)[0] <= whole.upper_s + 1e-9

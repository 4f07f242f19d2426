"""Replicas that fault: exact against what a fault costs by hand, nothing lost, no fault is the plain simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.costs.fault_causes import FAULT_CAUSES, breaking_share, fault_device_s
from comptroller.errors import InputError
from comptroller.serving.engine import simulate
from comptroller.serving.faults import FaultSettings, ReplicaFault, draw_faults, serve_with_faults
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable

TABLE = linear(max_batch=8)


def load(count: int = 400, seed: int = 0, span_s: float = 600.0) -> CallTable:
    rng = np.random.default_rng(seed)
    return CallTable.of(
        arrival_s=np.sort(rng.uniform(0, span_s, count)),
        input_tokens=rng.integers(50, 400, count),
        output_tokens=rng.integers(5, 300, count),
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_without_faults_it_is_the_plain_simulation(seed: int, replicas: int) -> None:
    fleet, calls = SimulatedFleet.uniform(TABLE, replicas), load(60, seed, 60.0)
    found = serve_with_faults(fleet, calls, (), FaultSettings(replicas, 60.0))
    plain = simulate(fleet, calls)
    assert found.elastic.latency_s("e2e_s").tolist() == plain.e2e_s.tolist()
    assert found.healthy == 1.0 and not found.faults


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 5.0), st.floats(1.0, 300.0), st.integers(1000, 3000))
def test_a_call_is_late_by_what_ran_before_the_fault_and_by_its_detection(
    at_s: float, detect_s: float, tokens: int
) -> None:
    """By hand: of two replicas with a call each one faults; its call begins anew on the other, which is free by
    then."""
    calls = CallTable.of(arrival_s=[0.0, 0.0, at_s], input_tokens=[100, 100, 10], output_tokens=[tokens, 50, 1])
    fleet = SimulatedFleet.uniform(TABLE, 2)
    first = CallTable.of(arrival_s=[0.0], input_tokens=[100], output_tokens=[tokens])
    alone_s = float(simulate(SimulatedFleet.uniform(TABLE, 1), first).e2e_s[0])
    found = serve_with_faults(fleet, calls, [ReplicaFault(at_s, 0, "GPU", True)], FaultSettings(2, 60.0, 0, detect_s))
    assert found.elastic.latency_s("e2e_s")[0] == pytest.approx(at_s + detect_s + alone_s, abs=1e-6)
    (seen,) = found.faults
    assert seen.seen_s == pytest.approx(at_s + detect_s) and seen.calls == 1 and found.hung_s == pytest.approx(detect_s)


def test_a_replica_that_hangs_still_gets_calls_until_it_is_seen() -> None:
    """Round robin sends every second call there; all of them wait for the detection, the others are as without."""
    calls = CallTable.of(arrival_s=np.arange(1.0, 21.0), input_tokens=[100] * 20, output_tokens=[10] * 20)
    fleet = replace(SimulatedFleet.uniform(TABLE, 2), policies=ServingPolicies(routing="round_robin"))
    found = serve_with_faults(fleet, calls, [ReplicaFault(0.5, 0, "software", False)], FaultSettings(2, 60.0, 0, 40.0))
    late = found.elastic.latency_s("e2e_s") > 1.0
    assert late.sum() == 10 and (np.diff(np.flatnonzero(late)) == 2).all()
    assert found.faults[0].calls == 10 and found.elastic.losses[0].calls == 10


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2), st.floats(20.0, 400.0), st.floats(1.0, 90.0), st.floats(0.0, 200.0))
def test_every_call_ends_and_no_two_faults_hit_a_replica_at_once(
    seed: int, spares: int, fault_s: float, detect_s: float, repair_s: float
) -> None:
    calls = load(150, seed, 300.0)
    faults = draw_faults(np.random.default_rng(seed), 2 + spares, fault_s, 300.0)
    how = FaultSettings(2, 15.0, spares, detect_s, repair_s)
    found = serve_with_faults(SimulatedFleet.uniform(TABLE, 2 + spares), calls, faults, how)
    assert np.isfinite(found.elastic.latency_s("e2e_s")).all()
    assert 0.0 <= found.healthy <= 1.0
    by_replica: dict[int, float] = {}
    for one in found.faults:
        assert one.fault.at_s >= by_replica.get(one.fault.replica, 0.0)
        by_replica[one.fault.replica] = one.seen_s


def test_sooner_seen_and_more_spares_hold_more_calls_within_a_limit() -> None:
    calls = load(2000, 3, 3600.0)
    faults = draw_faults(np.random.default_rng(5), 5, 3000.0, 3600.0)

    def held(detect_s: float, spares: int) -> float:
        fleet = SimulatedFleet.uniform(TABLE, 3 + spares)
        hits = [fault for fault in faults if fault.replica < 3 + spares]
        found = serve_with_faults(fleet, calls, hits, FaultSettings(3, 60.0, spares, detect_s, 1800.0))
        return float((found.elastic.latency_s("e2e_s") <= 5.0).mean())

    assert held(10.0, 0) > held(600.0, 0)
    assert held(30.0, 2) >= held(30.0, 0)


def test_faults_are_drawn_at_their_rate_and_by_their_causes() -> None:
    drawn = draw_faults(np.random.default_rng(1), 10, 100.0, 100_000.0)
    assert len(drawn) == pytest.approx(10_000, rel=0.05)
    share = sum(fault.breaks for fault in drawn) / len(drawn)
    assert share == pytest.approx(breaking_share(), abs=0.02)
    assert sum(cause.count for cause in FAULT_CAUSES) == 419
    assert [fault.at_s for fault in drawn] == sorted(fault.at_s for fault in drawn)


def test_what_cannot_be_simulated_is_refused_by_name() -> None:
    with pytest.raises(InputError, match="seen after 0 s"):
        FaultSettings(2, 60.0, detect_s=0.0)
    with pytest.raises(InputError, match="2 and 1 spares are asked for"):
        serve_with_faults(SimulatedFleet.uniform(TABLE, 2), load(5), (), FaultSettings(2, 60.0, 1))
    for text in ("often", "0", "-3", "nan", "inf", ""):
        with pytest.raises(InputError, match="hours of a device between two faults"):
            fault_device_s(text)

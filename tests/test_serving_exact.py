"""The engine agrees with a plain reference tick by tick, keeps its books, and is the same compiled and uncompiled."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.costs.steptable import SequenceFootprint, StepTable
from comptroller.serving.engine import EventEngine, simulate
from comptroller.serving.fleet import (
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
    SplitThresholds,
)
from comptroller.serving.jit import COMPILED
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import RESULT, PoolRole
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from serving_reference import reference
from serving_uncompiled import EngineTurn, UncompiledEngine, played
from serving_worlds import fleets, plain_fleets, plain_workloads, server_overheads, table, waiting_workloads, workloads

needs_numba = pytest.mark.skipif(not COMPILED, reason="numba is not installed")

JOULES = ("j_prefill", "j_decode", "j_waste", "device_s", "usd")
EXACT = tuple(name for name in RESULT.names or () if name not in (*JOULES, "slot"))


def agree(one: EngineOutcome, other: EngineOutcome) -> None:
    """Ticks, tokens, steps and places are equal; joules, and seconds as they were added up, to 1e-9."""
    for name in EXACT:
        np.testing.assert_array_equal(one.requests[name], other.requests[name], err_msg=name)
    for name in JOULES:
        np.testing.assert_allclose(one.requests[name], other.requests[name], rtol=1e-9, atol=1e-12, err_msg=name)
    np.testing.assert_allclose(one.meters.busy_s, other.meters.busy_s, rtol=1e-9)
    for name in ("steps", "prompt_tokens", "recomputed_tokens", "output_tokens", "evictions"):
        np.testing.assert_array_equal(getattr(one.meters, name), getattr(other.meters, name), err_msg=name)
    np.testing.assert_allclose(one.meters.step_j, other.meters.step_j, rtol=1e-9, atol=1e-12)
    assert one.horizon_s == other.horizon_s


def conserves(outcome: EngineOutcome, calls: CallTable) -> None:
    """One end per request, every token once, and requests + waste + idling = the meter."""
    results, done = outcome.requests, outcome.done
    assert sum(outcome.counts().values()) == len(calls)
    assert outcome.counts()["unfinished"] == 0
    np.testing.assert_array_equal(results.generated[done], calls["output_tokens"][done])
    assert outcome.meters.output_tokens.sum() == results.generated.sum()
    assert outcome.meters.prompt_tokens.sum() == results.computed.sum()
    assert outcome.meters.recomputed_tokens.sum() == results.recomputed.sum()
    fresh = done & (results.preemptions == 0)
    np.testing.assert_array_equal((results.cached + results.computed)[fresh], calls["input_tokens"][fresh])
    whole = done & (results.preemptions > 0)
    assert ((results.cached + results.computed)[whole] >= calls["input_tokens"][whole]).all()
    total = outcome.request_j.sum() + outcome.waste_j.sum() + outcome.idle_j.sum()
    assert total == pytest.approx(outcome.meter_j, rel=1e-9, abs=1e-9)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_engine_equals_the_reference(data: st.DataObject) -> None:
    """Chunks, pages, preemption, prefixes and routing: runs in closed form against as many single steps."""
    fleet = data.draw(plain_fleets())
    calls = data.draw(plain_workloads(fleet))
    outcome = simulate(fleet, calls)
    agree(outcome, reference(fleet, calls))
    conserves(outcome, calls)


WINDOWED = replace(table(3, 64, 20000, 16, 256), footprint=SequenceFootprint(24_000, 24, 160, ((1 << 40, 8), (32, 16))))
"""A window of 512 tokens on layers that take two thirds of a block, and a state of 160 bytes."""


@pytest.mark.parametrize(
    "steps", [linear(kv_token_s=4e-8), table(3, 64, 20000, 16, 256), WINDOWED], ids=["linear", "crooked", "windowed"]
)
def test_long_runs_equal_the_reference(steps: StepTable) -> None:
    """Outputs of thousands of tokens: jumps over many segments against as many single steps."""
    rng = np.random.default_rng(5)
    calls = CallTable.of(
        arrival_s=rng.exponential(0.4, 60).cumsum(),
        input_tokens=rng.integers(1, 900, 60),
        output_tokens=rng.integers(1, 3000, 60),
    )
    fleet = SimulatedFleet.uniform(steps, 2)
    outcome = simulate(fleet, calls)
    agree(outcome, reference(fleet, calls))
    conserves(outcome, calls)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_what_waits_for_a_reply_comes_when_the_server_has_given_it(data: st.DataObject) -> None:
    """Against the reference tick by tick, and by what is reported: a call arrives its parent's whole latency and the
    tool's seconds after it, and never before the engine has ended the parent."""
    fleet, serving = data.draw(plain_fleets()), data.draw(server_overheads())
    replicas = tuple(
        replace(one, table=replace(one.table, serving=serving, in_flight=7.0)) for one in fleet.services[0].replicas
    )
    fleet = replace(fleet, services=(replace(fleet.services[0], replicas=replicas),))
    calls = data.draw(waiting_workloads(fleet))
    outcome = simulate(fleet, calls)
    agree(outcome, reference(fleet, calls))
    child = np.flatnonzero(calls["parent"] >= 0)
    parent, wait_s = calls["parent"][child], calls["wait_s"][child]
    ended_s = (outcome.arrival_s + outcome.e2e_s - outcome.outside_s)[parent]
    replied_s = np.maximum(ended_s, ended_s + outcome.outside_s[parent] + wait_s)
    expected_s = np.maximum(calls["arrival_s"][child], replied_s)
    assert outcome.arrival_s[child] == pytest.approx(expected_s, abs=1e-9)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_every_token_and_joule_is_counted_once(data: st.DataObject) -> None:
    """In any fleet: pools, stores, drafts, lockstep, swapping, old telemetry, waits and parents."""
    fleet = data.draw(fleets())
    calls = data.draw(workloads(fleet))
    conserves(simulate(fleet, calls), calls)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_who_looks_changes_nothing(data: st.DataObject) -> None:
    """Samples and pauses split runs of steps anywhere: not a tick or a token moves."""
    fleet = data.draw(fleets())
    calls = data.draw(workloads(fleet))
    alone = simulate(fleet, calls)
    engine = EventEngine(fleet, sample_s=data.draw(st.sampled_from([0.004, 0.05])))
    engine.submit(calls)
    for fraction in sorted(data.draw(st.lists(st.floats(0, 1, exclude_max=True), max_size=5))):
        engine.advance(fraction * alone.horizon_s)
    agree(engine.run(), alone)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_order_of_rows_changes_nothing(data: st.DataObject) -> None:
    """Calls that arrive at moments of their own, under policies that do not draw by a call's number."""
    fleet = data.draw(plain_fleets())
    policies = replace(fleet.policies, routing=data.draw(st.sampled_from(["least_request", "prefix_match"])))
    fleet = replace(fleet, policies=policies)
    calls = data.draw(plain_workloads(fleet))
    moments = np.random.default_rng(0).permutation(len(calls)) * 0.0123
    calls = calls.with_columns(arrival_s=moments)
    order = np.random.default_rng(1).permutation(len(calls))
    shuffled = simulate(fleet, calls.take(order)).requests
    for name in (*EXACT, *JOULES):
        np.testing.assert_array_equal(shuffled[name], simulate(fleet, calls).requests[name][order], err_msg=name)


@pytest.fixture(scope="module")
def uncompiled() -> Iterator[UncompiledEngine]:
    engine = UncompiledEngine()
    yield engine
    engine.close()


@needs_numba
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_compiled_and_uncompiled_are_equal_bit_by_bit(uncompiled: UncompiledEngine, data: st.DataObject) -> None:
    """Both are given calls, told to cancel and looked at, at the same moments."""
    fleet = data.draw(fleets())
    turns, count, now_s = [], 0, 0.0
    for _ in range(data.draw(st.integers(1, 6))):
        calls = data.draw(workloads(fleet, 8))
        count += len(calls)
        now_s += data.draw(st.sampled_from([0.0, 0.01, 0.3, 5.0]))
        cancels = tuple(data.draw(st.lists(st.integers(0, count - 1), max_size=4)))
        turns.append(EngineTurn(calls, data.draw(st.booleans()), cancels, now_s))
    sample_s = data.draw(st.sampled_from([0.0, 0.05]))
    outcome, shown = played(fleet, turns, sample_s)
    assert uncompiled.played(fleet, turns, sample_s) == shown
    assert outcome.counts()["unfinished"] == 0
    total = outcome.request_j.sum() + outcome.waste_j.sum() + outcome.idle_j.sum()
    assert total == pytest.approx(outcome.meter_j, rel=1e-9, abs=1e-9)


def test_the_engine_runs_where_numba_cannot_be_imported() -> None:
    """The same outcome, from a process that has no numba; it says that it is slow."""
    run = subprocess.run([sys.executable, "-c", WITHOUT_NUMBA], capture_output=True, text=True, check=True)
    calls = CallTable.of(arrival_s=[0.0, 0.5], input_tokens=[100, 200], output_tokens=[10, 1])
    outcome = simulate(SimulatedFleet.uniform(linear(), 1), calls)
    assert run.stdout.strip() == outcome.requests.tobytes().hex()
    assert "runs as plain Python" in run.stderr


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
calls = CallTable.of(arrival_s=[0.0, 0.5], input_tokens=[100, 200], output_tokens=[10, 1])
print(simulate(SimulatedFleet.uniform(linear(), 1), calls).requests.tobytes().hex())
"""


def test_same_seed_same_bytes() -> None:
    rng = np.random.default_rng(0)
    calls = CallTable.of(
        arrival_s=rng.exponential(0.01, 500).cumsum(),
        input_tokens=rng.integers(1, 500, 500),
        output_tokens=rng.integers(1, 200, 500),
    )
    runs = []
    for _ in range(2):
        world = EventEngine(SimulatedFleet.uniform(linear(), 3))
        world.submit(calls)
        runs.append(world.run().requests.tobytes())
    assert runs[0] == runs[1]


def test_replicas_that_wait_for_each_other_s_memory_get_on() -> None:
    """Both are drawn into the mixed pool, each holds a prompt for the other and has no room for the other's."""
    small = table(0, 1, 96, 1, 4)
    replicas = SimulatedReplica(small, pool=PoolRole.PROMPT), SimulatedReplica(small, pool=PoolRole.TOKEN)
    policies = ServingPolicies("bounded_hash", scheduling="fair_share", handoff="bounded_hash", bound=1.0)
    calls = CallTable.of(
        {"key": ("k0", "k1", "k2")},
        arrival_s=[0.0, 0.0, 0.125],
        input_tokens=[80, 27, 50],
        output_tokens=[6, 46, 30],
        predicted_tokens=[-1, 86, 30],
        session=[3, 3, 2],
        key=[0, 2, 2],
    )
    fleet = SimulatedFleet((SimulatedService("a", replicas),), policies, split=SplitThresholds(40, 8), tenants=3)
    outcome = simulate(fleet, calls)
    assert outcome.counts()["stop"] == 3 and outcome.requests.preemptions.sum() == 1
    conserves(outcome, calls)

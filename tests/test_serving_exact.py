"""The jumping engine and the stepping twin agree, request by request, tick by tick."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.costs.steptable import StepTable
from comptroller.serving.engine import EventEngine
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
from comptroller.serving.twin import EngineTwin
from comptroller.work.call import CallTable
from serving_worlds import fleets, table, workloads

pytestmark = pytest.mark.skipif(not COMPILED, reason="numba is not installed")

JOULES = ("j_prefill", "j_decode", "j_waste", "device_s", "usd")
EXACT = tuple(name for name in RESULT.names or () if name not in (*JOULES, "slot"))


def agree(one: EngineOutcome, other: EngineOutcome) -> None:
    """Ticks, tokens, steps and places are equal; joules and seconds to 1e-9."""
    for name in EXACT:
        np.testing.assert_array_equal(one.requests[name], other.requests[name], err_msg=name)
    for name in JOULES:
        np.testing.assert_allclose(one.requests[name], other.requests[name], rtol=1e-9, atol=1e-12, err_msg=name)
    for name in ("busy_s", "steps", "prompt_tokens", "recomputed_tokens", "output_tokens", "evictions"):
        np.testing.assert_array_equal(getattr(one.meters, name), getattr(other.meters, name), err_msg=name)
    np.testing.assert_allclose(one.meters.step_j, other.meters.step_j, rtol=1e-9, atol=1e-12)
    assert one.horizon_s == other.horizon_s
    assert len(one.series) == len(other.series)
    for a, b in zip(one.series, other.series, strict=True):
        assert a.at_s == b.at_s
        for name in ("busy_s", "queued", "running"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
        np.testing.assert_allclose(a.kv_tokens, b.kv_tokens)
        np.testing.assert_allclose(a.step_j, b.step_j, rtol=1e-9, atol=1e-12)


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
def test_engine_equals_twin(data: st.DataObject) -> None:
    fleet = data.draw(fleets())
    calls = data.draw(workloads(fleet))
    sample_s = data.draw(st.sampled_from([0.0, 0.05]))
    worlds = [kind(fleet, sample_s) for kind in (EventEngine, EngineTwin)]
    outcomes = []
    for world in worlds:
        world.submit(calls)
        outcomes.append(world.run())
    agree(*outcomes)
    conserves(outcomes[0], calls)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_engine_equals_twin_under_cancellation_and_arrivals(data: st.DataObject) -> None:
    """Both are stepped, given new calls and told to cancel at the same moments."""
    fleet = data.draw(fleets())
    worlds = [EventEngine(fleet), EngineTwin(fleet)]
    count = 0
    for _ in range(data.draw(st.integers(1, 6))):
        calls = data.draw(workloads(fleet, 8))
        count += len(calls)
        watch = data.draw(st.booleans())
        until_s = worlds[0].now_s + data.draw(st.sampled_from([0.0, 0.01, 0.3, 5.0]))
        stop = data.draw(st.lists(st.integers(0, count - 1), max_size=4))
        seen = []
        for world in worlds:
            world.submit(calls, watch)
            for request in stop:
                world.cancel(request)
            seen.append(sorted(world.advance(until_s).tolist()))
        assert seen[0] == seen[1]
        assert worlds[0].now_s == worlds[1].now_s
        done = [world.outcome() for world in worlds]
        np.testing.assert_array_equal(done[0].finish, done[1].finish)
    outcomes = [world.run() for world in worlds]
    agree(*outcomes)
    assert outcomes[0].counts()["unfinished"] == 0
    total = outcomes[0].request_j.sum() + outcomes[0].waste_j.sum() + outcomes[0].idle_j.sum()
    assert total == pytest.approx(outcomes[0].meter_j, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("steps", [linear(kv_token_s=4e-8), table(3, 64, 20000, 16, 256)], ids=["linear", "crooked"])
def test_long_runs_agree(steps: StepTable) -> None:
    """Outputs of thousands of tokens: jumps over many segments against as many single steps."""
    rng = np.random.default_rng(5)
    calls = CallTable.of(
        arrival_s=rng.exponential(0.4, 60).cumsum(),
        input_tokens=rng.integers(1, 900, 60),
        output_tokens=rng.integers(1, 3000, 60),
    )
    outcomes = []
    for kind in (EventEngine, EngineTwin):
        world = kind(SimulatedFleet.uniform(steps, 2))
        world.submit(calls)
        outcomes.append(world.run())
    agree(*outcomes)
    conserves(outcomes[0], calls)


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


@pytest.mark.parametrize("world", [EventEngine, EngineTwin])
def test_replicas_that_wait_for_each_other_s_memory_get_on(world: type[EventEngine] | type[EngineTwin]) -> None:
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
    one = world(SimulatedFleet((SimulatedService("a", replicas),), policies, split=SplitThresholds(40, 8), tenants=3))
    one.submit(calls)
    outcome = one.run()
    assert outcome.counts()["stop"] == 3 and outcome.requests.preemptions.sum() == 1
    conserves(outcome, calls)

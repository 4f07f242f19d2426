"""Replicas whose speed changes while they run, and power by the sample: exact against the plain reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.errors import InputError
from comptroller.serving.engine import EventEngine, simulate
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import RESULT, TICKS_PER_S
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from serving_reference import reference
from serving_worlds import plain_fleets, plain_workloads, table

EXACT = tuple(name for name in RESULT.names or () if name[:2] != "j_" and name not in ("device_s", "usd", "slot"))

Changes = list[tuple[float, int, int]]
"""Moments, replicas and levels."""


def with_levels(fleet: SimulatedFleet, factors: tuple[float, ...]) -> SimulatedFleet:
    """The fleet, each of whose replicas has a level for every factor."""

    def leveled(replica: SimulatedReplica) -> SimulatedReplica:
        return replace(replica, levels=tuple(replica.table.slowed(factor) for factor in factors))

    services = [replace(one, replicas=tuple(map(leveled, one.replicas))) for one in fleet.services]
    return replace(fleet, services=tuple(services))


def played(fleet: SimulatedFleet, calls: CallTable, changes: Changes, sample_s: float = 0.0) -> EngineOutcome:
    engine = EventEngine(fleet, sample_s)
    engine.submit(calls)
    for at_s, replica, level in changes:
        engine.advance(at_s)
        engine.set_level(replica, level)
    return engine.run()


def level_at(changes: Changes) -> Any:
    """The level of a rank at a tick: the last that was set before it."""

    def level(rank: int, tick: int) -> int:
        known = [to for at_s, one, to in changes if one == rank and int(at_s * TICKS_PER_S + 0.5) < tick]
        return known[-1] if known else 0

    return level


def same(one: EngineOutcome, other: EngineOutcome) -> None:
    for name in EXACT:
        np.testing.assert_array_equal(one.requests[name], other.requests[name], err_msg=name)
    np.testing.assert_allclose(one.request_j, other.request_j, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(one.meters.step_j, other.meters.step_j, rtol=1e-9)
    np.testing.assert_allclose(one.meters.busy_s, other.meters.busy_s, rtol=1e-9)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_changes_of_speed_and_samples_of_power_are_those_of_the_reference(data: st.DataObject) -> None:
    """Levels are set at random moments, in runs that are jumped too; a sample is what steps drew up to it."""
    fleet = with_levels(data.draw(plain_fleets()), (1.7, 3.0))
    calls = data.draw(plain_workloads(fleet))
    count = len(fleet.replicas())
    moment = st.tuples(st.floats(0.0, 3.0), st.integers(0, count - 1), st.integers(0, 2))
    changes = sorted(data.draw(st.lists(moment, max_size=8)), key=lambda one: one[0])
    spans: list[list[tuple[int, int, float]]] = []
    known = reference(fleet, calls, level=level_at(changes), spans=spans)
    found = played(fleet, calls, changes, sample_s=0.037)
    same(found, known)
    for sample in found.series:
        now = round(sample.at_s * TICKS_PER_S)
        for rank, steps in enumerate(spans):
            passed = [(min(now, end) - begin) / (end - begin) if end > begin else 1.0 for begin, end, _ in steps]
            drawn = sum(share * joules for share, (_, _, joules) in zip(passed, steps, strict=True) if share > 0)
            busy = sum(max(min(now, end) - begin, 0) for begin, end, _ in steps)
            assert sample.step_j[rank] == pytest.approx(drawn, rel=1e-9, abs=1e-9)
            assert sample.busy_s[rank] == pytest.approx(busy / TICKS_PER_S, rel=1e-9, abs=1e-12)


def load(count: int = 200, seed: int = 0) -> CallTable:
    rng = np.random.default_rng(seed)
    return CallTable.of(
        arrival_s=np.sort(rng.uniform(0, 4.0, count)),
        input_tokens=rng.integers(5, 60, count),
        output_tokens=rng.integers(1, 40, count),
    )


def fleet_of(levels: tuple[float, ...] = (1.0, 2.0), replicas: int = 2) -> SimulatedFleet:
    return with_levels(SimulatedFleet.uniform(table(1, capacity=2000, chunk=64), replicas), levels)


def test_a_factor_of_one_changes_no_bit() -> None:
    """A run that is cut and taken up again sums its joules in other parts; all else is equal bit by bit."""
    plain = simulate(fleet_of(), load())
    found = played(fleet_of(), load(), [(0.4, 0, 1), (1.1, 1, 1), (1.7, 0, 0), (2.2, 0, 1)])
    same(found, plain)
    never = played(fleet_of(), load(), [(0.0, 0, 1), (0.0, 1, 1)])
    assert never.requests.tobytes() == plain.requests.tobytes()


def test_a_slower_replica_serves_later_and_a_faster_setting_brings_it_back() -> None:
    slow = played(fleet_of(), load(), [(0.0, 0, 2), (0.0, 1, 2)])
    half = played(fleet_of(), load(), [(0.0, 0, 2), (0.0, 1, 2), (2.0, 0, 0), (2.0, 1, 0)])
    plain = simulate(fleet_of(), load())
    assert plain.percentile("e2e_s", 50) < half.percentile("e2e_s", 50) < slow.percentile("e2e_s", 50)


def test_samples_add_up_to_the_meter_whatever_their_number() -> None:
    plain = simulate(fleet_of(), load())
    for sample_s in (0.01, 0.5):
        found = played(fleet_of(), load(), [], sample_s)
        same(found, plain)
        assert (found.series[-1].step_j <= found.meters.step_j + 1e-6).all()
        assert (np.diff([one.step_j for one in found.series], axis=0) >= -1e-9).all()


def test_ranks_in_lockstep_change_together_and_keep_their_books() -> None:
    one = SimulatedReplica(
        table(2, capacity=2000, chunk=64), ranks=2, levels=(table(2, capacity=2000, chunk=64).slowed(2),)
    )
    fleet = SimulatedFleet((SimulatedService("all", (one,)),))
    found = played(fleet, load(60), [(0.3, 0, 1), (1.0, 0, 0)], 0.1)
    plain = simulate(fleet, load(60))
    assert found.meters.output_tokens.sum() == plain.meters.output_tokens.sum()
    assert found.percentile("e2e_s", 50) > plain.percentile("e2e_s", 50)


def test_steps_at_one_kilowatt_are_sampled_at_one_kilowatt() -> None:
    calls = CallTable.of(arrival_s=[0.0], input_tokens=[4000], output_tokens=[100])
    series = simulate(SimulatedFleet.uniform(linear(), 1), calls, 0.01).series
    watts = np.diff([0.0, *(one.step_j[0] for one in series)]) / 0.01
    assert watts == pytest.approx(1000.0, rel=1e-6)


@pytest.mark.parametrize(("replica", "level"), [(2, 0), (0, 3), (-1, 0), (0, -1)])
def test_what_is_no_level_is_refused(replica: int, level: int) -> None:
    with pytest.raises(InputError, match=f"level {level} of replica {replica} of 2"):
        EventEngine(fleet_of()).set_level(replica, level)


def test_a_level_has_the_memory_of_its_replica() -> None:
    with pytest.raises(InputError, match="differ in max_batch, which is no setting"):
        SimulatedReplica(table(), levels=(table(max_batch=4),))
    with pytest.raises(InputError, match=r"at least 1, not 0\.5"):
        table().slowed(0.5)

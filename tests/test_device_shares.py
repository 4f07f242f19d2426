"""Two engines on the same devices (semi-PD): exact against a small reference, and what shares may not change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.serving.device_shares import DeviceShare, ShareCalibration, SharedDevices, bandwidth_within
from comptroller.serving.engine import EventEngine, simulate
from comptroller.serving.fleet import (
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
    SplitThresholds,
)
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.state import TICKS_PER_S, PoolRole
from comptroller.serving.ticks import TickTable
from comptroller.work.call import CallTable
from comptroller_lab.share_control import ShareFeedback, followed
from comptroller_lab.token_gaps import gaps_of
from serving_reference import line, segment
from serving_worlds import table

Levels = Callable[[int, int], int]
"""The level of an engine (0 prompts, 1 tokens) at a tick."""


class SharedReference:
    """Two engines over one cache that never runs out, step by step: prompts by arrival, tokens in one batch."""

    def __init__(self, fleet: SimulatedFleet, calls: CallTable, level: Levels) -> None:
        self.replicas, self.level = fleet.services[0].replicas, level
        self.chunk = fleet.chunk_tokens(self.replicas[0])
        self.lengths = list(zip(calls["input_tokens"].tolist(), calls["output_tokens"].tolist(), strict=True))
        self.arrival = [int(at * TICKS_PER_S + 0.5) for at in calls["arrival_s"]]
        self.done, self.made = [0] * len(calls), [0] * len(calls)
        self.first, self.last = [-1] * len(calls), [-1] * len(calls)
        self.waiting: list[int] = []
        self.prompts: list[int] = []
        self.handed: list[int] = []
        self.batch: list[int] = []
        self.ends: list[int | None] = [None, None]
        self.chunks: list[tuple[int, int]] = []

    def ticks(self, engine: int, now: int, beside: bool) -> TickTable:
        replica, level = self.replicas[engine], self.level(engine, now)
        return TickTable.of((replica.beside if beside and replica.beside else replica.tables)[level])

    def begin_prompts(self, now: int) -> None:
        """A step of prompts, if there is any: seats, then the step's budget, in order."""
        seats, left = self.replicas[0].table.max_batch, self.chunk
        while self.waiting and len(self.prompts) < seats and left > sum(self.left(i) for i in self.prompts):
            self.prompts.append(self.waiting.pop(0))
        self.chunks = []
        for i in self.prompts:
            take = min(self.left(i), left)
            left -= take
            if take:
                self.chunks.append((i, take))
        if self.chunks:
            of = self.ticks(0, now, self.ends[1] is not None or bool(self.batch + self.handed))
            pairs = sum(take * (self.done[i] + 0.5 * (take + 1)) for i, take in self.chunks)
            seconds = line(of.mixed, sum(take for _, take in self.chunks))[0] + line(of.pairs, pairs)[0]
            self.ends[0] = now + max(int(seconds * TICKS_PER_S + 0.5), 1)

    def begin_tokens(self, now: int) -> None:
        while self.handed and len(self.batch) < self.replicas[1].table.max_batch:
            self.batch.append(self.handed.pop(0))
        if self.batch:
            of = self.ticks(1, now, self.ends[0] is not None)
            kv = sum(self.lengths[i][0] + self.made[i] - 1 for i in self.batch)
            at, size = segment(of.knots, kv), len(self.batch)
            self.ends[1] = now + int(of.value[size, at]) + int(of.slope[size, at]) * (kv - int(of.knots[at]))

    def left(self, i: int) -> int:
        return int(self.lengths[i][0] - self.done[i])

    def finish(self, engine: int, now: int) -> None:
        for i, take in self.chunks if engine == 0 else []:
            self.done[i] += take
            if self.left(i) == 0:
                self.prompts.remove(i)
                self.first[i], self.made[i] = now, 1
                self.handed += [i] if self.lengths[i][1] > 1 else []
        self.handed.sort(key=lambda i: (self.arrival[i], i))
        for i in list(self.batch) if engine == 1 else []:
            self.made[i] += 1
            if self.made[i] == self.lengths[i][1]:
                self.batch.remove(i)
        self.last = [now if last < 0 and m == out else last for last, m, (_, out) in self.rows()]
        self.ends[engine] = None

    def rows(self) -> Any:
        return zip(self.last, self.made, self.lengths, strict=True)

    def run(self) -> tuple[list[int], list[int]]:
        """First and last ticks: in one tick steps end, then calls arrive, then prompts start, then tokens."""
        coming = sorted(range(len(self.arrival)), key=lambda i: (self.arrival[i], i))
        while coming or any(end is not None for end in self.ends):
            now = min([*(end for end in self.ends if end is not None), *(self.arrival[i] for i in coming[:1])])
            for engine, end in enumerate(list(self.ends)):
                if end == now:
                    self.finish(engine, now)
            while coming and self.arrival[coming[0]] == now:
                self.waiting.append(coming.pop(0))
            if self.ends[0] is None:
                self.begin_prompts(now)
            if self.ends[1] is None:
                self.begin_tokens(now)
        return self.first, self.last


def pair(factors: tuple[tuple[float, ...], tuple[float, ...]], seed: int = 0, batch: int = 6) -> SimulatedFleet:
    """Two engines whose levels take such times as long, and beside each other half as long again."""
    made = table(seed, batch, 100_000, 4, 32)
    members = []
    for pool, own in zip((PoolRole.PROMPT, PoolRole.TOKEN), factors, strict=True):
        levels = [made.slowed(factor) for factor in own]
        beside = tuple(level.slowed(1.5 + 0.4 * pool) for level in levels)
        members.append(SimulatedReplica(levels[0], pool=pool, storage=0, levels=tuple(levels[1:]), beside=beside))
    return SimulatedFleet((SimulatedService("a", tuple(members)),), split=SplitThresholds(10**9, 2048))


def drawn(seed: int, count: int, rate: float) -> CallTable:
    rng = np.random.default_rng(seed)
    return CallTable.of(
        arrival_s=rng.exponential(1 / rate, count).cumsum(),
        input_tokens=rng.integers(1, 120, count),
        output_tokens=rng.integers(1, 60, count),
    )


def played(fleet: SimulatedFleet, calls: CallTable, changes: list[tuple[float, int, int]]) -> EngineOutcome:
    engine = EventEngine(fleet)
    engine.submit(calls)
    for at_s, which, level in changes:
        engine.advance(at_s)
        engine.set_level(which, level)
    return engine.run()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_two_engines_on_the_same_devices_are_those_of_the_reference(data: st.DataObject) -> None:
    """Every first and last tick, with shares that change while it runs."""
    seed = data.draw(st.integers(0, 99))
    fleet = pair(((1.0, 1.3, 2.0), (1.0, 1.1, 1.7)), seed % 5, data.draw(st.integers(1, 6)))
    calls = drawn(seed, data.draw(st.integers(1, 30)), data.draw(st.sampled_from([2.0, 20.0, 200.0])))
    moment = st.tuples(st.floats(0.0, 2.0), st.integers(0, 1), st.integers(0, 2))
    changes = sorted(data.draw(st.lists(moment, max_size=6)), key=lambda one: one[0])

    def level(engine: int, tick: int) -> int:
        known = [to for at_s, one, to in changes if one == engine and int(at_s * TICKS_PER_S + 0.5) < tick]
        return known[-1] if known else 0

    first, last = SharedReference(fleet, calls, level).run()
    found = played(fleet, calls, changes)
    np.testing.assert_array_equal(found.requests.first, first)
    np.testing.assert_array_equal(found.requests.last, last)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.integers(0, 999), st.sampled_from([5.0, 50.0]))
def test_tables_alike_beside_and_alone_change_no_tick(seed: int, rate: float) -> None:
    """Bit for bit what a shared store was before engines saw each other."""
    fleet, calls = pair(((1.0,), (1.0,)), seed % 5), drawn(seed, 25, rate)
    service = fleet.services[0]
    bare = tuple(replace(one, beside=()) for one in service.replicas)
    alike = tuple(replace(one, beside=one.tables) for one in service.replicas)
    runs = [simulate(replace(fleet, services=(replace(service, replicas=of),)), calls) for of in (bare, alike)]
    assert runs[0].requests.tobytes() == runs[1].requests.tobytes()


def test_who_is_alone_is_not_slowed() -> None:
    """One request: its prompt and its tokens never overlap."""
    fleet, calls = pair(((1.0,), (1.0,))), drawn(3, 1, 1.0)
    service = fleet.services[0]
    bare = replace(fleet, services=(replace(service, replicas=tuple(replace(o, beside=()) for o in service.replicas)),))
    assert simulate(fleet, calls).requests.tobytes() == simulate(bare, calls).requests.tobytes()


def test_idle_power_and_price_of_the_devices_are_counted_once() -> None:
    """The meter of both engines at no load is that of one replica."""
    devices = shared()
    one, other = devices.replicas((0.6,))
    whole = devices.table(DeviceShare(1.0, 1.0))
    assert one.table.idle_w + other.table.idle_w == pytest.approx(whole.idle_w)
    assert one.table.usd_per_s + other.table.usd_per_s == pytest.approx(whole.usd_per_s)


@pytest.fixture(scope="module")
def devices() -> SharedDevices:
    return shared()


def shared() -> SharedDevices:
    """Llama 3.1 8B on one A100, batches of 8."""
    engine = replace(EngineSettings.default(engine_facts("sglang")), max_batch=8)
    replica = ModelReplica(
        model("llama_3_1_8b"), accelerator("a100_80_sxm"), PrecisionRecipe(), ParallelLayout(), engine
    )
    held, calibration = memory(replica), FittedCalibration.shipped()

    def timer(share: DeviceShare) -> ReplicaTimer:
        return replica_timer(replica, ShareCalibration(calibration, share))

    return SharedDevices(
        timer,
        lambda share: tabulate(timer(share), held, SiteRates(1.0, 1.0, 0.0), 4096),
        knee=0.4,
        prompt_tokens=2048.0,
    )


def step_s(of: StepTable) -> tuple[float, float]:
    """A step of 2,048 prompt tokens, and one of 8 sequences of 1,000."""
    return of.mixed_step_s(2048, 2.1e6), of.decode_step_s(8, 8000)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_prompts_slow_with_their_share_and_tokens_where_bandwidth_ends(devices: SharedDevices, share: float) -> None:
    whole = step_s(devices.table(DeviceShare(1.0, 1.0)))
    part = step_s(devices.table(DeviceShare(share, bandwidth_within(share, 0.4))))
    assert 0.8 / share < part[0] / whole[0] <= 1 / share
    assert part[1] / whole[1] < (1.1 if share >= 0.4 else 0.4 / share * 1.05)


def test_more_of_the_devices_is_never_slower(devices: SharedDevices) -> None:
    shares = (0.3, 0.5, 0.7, 0.9)
    prompt, token = devices.replicas(shares)
    for tables, order in ((prompt.tables, 1), (prompt.beside, 1), (token.beside, -1)):
        times = np.array([step_s(one) for one in tables])[::order]
        assert (np.diff(times, axis=0) <= 1e-12).all()
    for one in (prompt, token):
        for alone, beside in zip(one.tables, one.beside, strict=True):
            assert (beside.decode_s[1:] >= alone.decode_s[1:] - 1e-12).all()
            assert (beside.mixed_s >= alone.mixed_s - 1e-12).all()


def steps_apart() -> SimulatedFleet:
    """Three levels: prompts three, two and once as slow; tokens the other way round."""
    return pair(((3.0, 2.0, 1.0), (1.0, 1.2, 1.5)))


def test_without_a_late_call_nothing_changes() -> None:
    """The feedback at a level is a run at that level, bit by bit."""
    fleet, calls = steps_apart(), drawn(5, 40, 5.0)
    easy = ShareFeedback(100.0, 100.0, window_s=0.5, delay_s=0.0, first=1)
    found, changes = followed(fleet, calls, easy)
    fixed = played(fleet, calls, [(0.0, 0, 1), (0.0, 1, 1)])
    assert changes == () and found.requests.tobytes() == fixed.requests.tobytes()


@pytest.mark.parametrize(("ttft_s", "tpot_s", "first", "level"), [(1e-4, 9.0, 0, 2), (9.0, 1e-4, 2, 0)])
def test_who_is_late_gets_more_of_the_devices(ttft_s: float, tpot_s: float, first: int, level: int) -> None:
    """Late first tokens move the share up to the last level, late tokens down to the first, a notch at a time."""
    calls = drawn(5, 200, 20.0)
    how = ShareFeedback(ttft_s, tpot_s, window_s=0.5, delay_s=0.25, first=first)
    found, changes = followed(steps_apart(), calls, how)
    assert [change.level for change in changes] == [1, level]
    assert all(change.at_s % 0.25 == 0 for change in changes)
    start = played(steps_apart(), calls, [(0.0, 0, first), (0.0, 1, first)])
    late, other = ("ttft_s", "tpot_s") if level == 2 else ("tpot_s", "ttft_s")
    assert found.percentile(late, 50) < start.percentile(late, 50)
    assert found.percentile(other, 50) >= start.percentile(other, 50)


@pytest.mark.parametrize("scheduling", ["fcfs", "rotating_priority"])
def test_gaps_of_a_call_add_up_to_its_time_after_the_first_token(scheduling: str) -> None:
    made = table(1, 6, 200, 4, 32)
    service = SimulatedService(
        "all", (SimulatedReplica(made, swap_tokens=4000, swap_chunk_tokens=4, swap_chunk_s=1e-3),)
    )
    fleet = SimulatedFleet((service,), ServingPolicies(scheduling=scheduling))
    calls = drawn(7, 60, 20.0)
    found, gaps = gaps_of(fleet, calls)
    assert found.requests.tobytes() == simulate(fleet, calls).requests.tobytes()
    assert gaps.count.sum() == (calls["output_tokens"] - 1).sum()
    np.testing.assert_allclose((gaps.gap_s * gaps.count).sum(), (found.e2e_s - found.ttft_s).sum(), rtol=1e-9)
    assert scheduling == "fcfs" or found.requests.preemptions.sum() > 0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ShareFeedback(0.0, 1.0), "above 0"),
        (lambda: shared().replicas((0.5, 1.0)), "each between 0 and 1"),
        (lambda: DeviceShare(0.0, 1.0), "above 0, to 1"),
        (lambda: SimulatedReplica(table(), beside=(table(),)), "a storage that both share"),
        (lambda: SimulatedReplica(table(), storage=0, beside=(table(), table())), "one for each of its 1 levels"),
        (lambda: SimulatedReplica(table(), storage=0, beside=(table(max_batch=4),)), "max_batch"),
    ],
)
def test_bad_shares_say_what_is_wrong(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()

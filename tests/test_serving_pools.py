"""Pools of requests: calls, joules and decisions against a plain reference, and what must not change."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.errors import InputError
from comptroller.serving.elastic import ReplicaPhase
from comptroller.serving.elastic_energy import replica_j
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica
from comptroller.serving.policies import module, names
from comptroller.serving.policies.pool_view import LayoutProfile, PoolSetting, PoolView, busiest, cheapest, least_clock
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.serving.request_pools import PooledOutcome, RequestPool, RequestPoolFleet
from comptroller.serving.scaling import ScalingSettings, scale
from comptroller.serving.state import TICKS_PER_S
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from serving_reference import reference
from test_serving_power import BUSY_W, IDLE_W, clocked

LAYOUTS = (1, 2, 4)
CLOCKS = 6
CLOCK_SETTINGS = tuple(PowerSetting(clock=percent / 100, delay_s=0.0) for percent in range(100, 45, -10))


def replica(devices: int, clocks: int = CLOCKS) -> SimulatedReplica:
    """A replica of so many devices: steps are shorter by its devices to the power 0.8, watts in proportion to them."""
    factor = devices**-0.8
    table = linear(6e-3 * factor, 22e-6 * factor, 60e-6 * factor, max_batch=8)
    table = replace(
        table, devices=devices, idle_w=IDLE_W * devices,
        **{name: getattr(table, name) * devices for name in ("decode_j", "mixed_j", "pair_j")},
    )  # fmt: skip
    levels = tuple(scaled(table, setting, devices) for setting in CLOCK_SETTINGS[1:clocks])
    return SimulatedReplica(table, levels=levels)


def scaled(table: Any, setting: PowerSetting, devices: int) -> Any:
    made = clocked(replace(table, idle_w=IDLE_W), setting)
    joules = {name: getattr(made, name) * devices for name in ("decode_j", "mixed_j", "pair_j")}
    return replace(made, idle_w=table.idle_w, **joules)


def profile(devices: int, start_up_s: float = 7.3, clocks: int = CLOCKS) -> LayoutProfile:
    """Requests a second in proportion to clocks and more than to devices, so that busy pools are cheapest on the larger
    layouts; watts from idle to busy in proportion to what is carried."""
    shares = np.array([setting.clock for setting in CLOCK_SETTINGS[:clocks]])
    per_s = 8.0 * devices**1.3 * shares
    rates = np.linspace(0.0, per_s[0], 9)
    used = np.minimum(rates / per_s[:, None], 1.0)
    watts = devices * (IDLE_W + used * (np.maximum(shares * BUSY_W, IDLE_W)[:, None] - IDLE_W))
    return LayoutProfile(devices, per_s, rates, watts, start_up_s)


def pool(name: str, layouts: tuple[int, ...] = LAYOUTS, clocks: int = CLOCKS, **more: Any) -> RequestPool:
    known: dict[str, Any] = {"expected_per_s": 30.0, "planned": PoolSetting(0, 1, 0, 1)} | more
    sizes = tuple(replica(one, clocks) for one in layouts)
    return RequestPool(name, sizes, tuple(profile(one, clocks=clocks) for one in layouts), **known)


def load(seed: int = 0, span_s: float = 700.0) -> CallTable:
    """Two pools of calls, quiet, busy and quiet again."""
    rng = np.random.default_rng(seed)
    arrivals = np.concatenate([rng.uniform(0, span_s, 1500), rng.uniform(0.4 * span_s, 0.6 * span_s, 2500)])
    count = arrivals.size
    calls = CallTable.of(
        arrival_s=np.sort(arrivals), input_tokens=rng.integers(50, 900, count),
        output_tokens=rng.integers(5, 40, count),
    )  # fmt: skip
    columns = {**calls.columns, "service": rng.integers(0, 2, count)}
    return CallTable(columns, {**calls.names, "service": ("short", "long")}, calls.block_ids, calls.block_starts)


def played(seed: int = 0, policy: str = "dynamo_llm", devices: int = 16) -> PooledOutcome:
    return RequestPoolFleet([pool("short"), pool("long")], policy, devices).play(load(seed))


def own_policy(folder: Path, body: str) -> str:
    path = folder / "own_pools.py"
    path.write_text(
        "from comptroller.serving.policies import decision\n"
        "from comptroller.serving.policies.pool_view import PoolSetting\n"
        "from comptroller.serving.policies.power_view import PowerSetting\n"
        "EVERY_S = 5\nCLASSES = ('all',)\nCLOCKS = (PowerSetting(),)\n"
        f"def classes(calls):\n    return [0] * len(calls)\n\n{body}\n",
        encoding="utf-8",
    )
    return str(path)


# decisions


def watts_of(layout: LayoutProfile, clock: int, each: float) -> float:
    return float(np.interp(each, layout.rates_per_s, layout.watts[clock]))


@pytest.mark.parametrize("seed", range(30))
def test_the_cheapest_setting_is_that_of_exhaustive_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    layouts = tuple(profile(d, float(rng.uniform(0, 200))) for d in LAYOUTS)
    setting = PoolSetting(int(rng.integers(3)), int(rng.integers(1, 4)), int(rng.integers(CLOCKS)), 12)
    view = PoolView(300, np.zeros(300), 0.0, 0.0, layouts, setting, 12)
    per_s, devices, period_s = float(rng.uniform(0, 60)), int(rng.integers(4, 16)), 300.0

    def cost(layout: int, count: int, clock: int) -> float:
        one, has = layouts[layout], setting.replicas if layout == setting.layout else 0
        starts_w = max(count - has, 0) * one.watts[clock, 0] * one.start_up_s / period_s
        return count * watts_of(one, clock, per_s / count) + starts_w

    able = [(layout, count, clock) for layout, count, clock in product(range(3), range(1, 17), range(CLOCKS))
            if count * LAYOUTS[layout] <= devices]  # fmt: skip
    carries = [one for one in able if one[1] * layouts[one[0]].per_s[one[2]] >= per_s]
    found = cheapest(view, per_s, devices, period_s)
    if carries:
        assert cost(*found[:3]) == pytest.approx(min(cost(*one) for one in carries), rel=1e-12)
        assert tuple(found[:3]) in carries
    else:
        most = max(count * layouts[layout].per_s[clock] for layout, count, clock in able)
        assert found.replicas * layouts[found.layout].per_s[found.clock] == pytest.approx(most)


def test_free_resharding_is_never_worse_than_any_fixed_layout() -> None:
    """A load of steps, known at each: replicas that start at once, by layouts of choice and by each alone."""
    rng = np.random.default_rng(1)
    loads = rng.uniform(0.5, 60.0, 40)
    layouts = tuple(profile(devices, 0.0) for devices in LAYOUTS)

    def watts(of: tuple[LayoutProfile, ...], per_s: float) -> float:
        view = PoolView(300, np.zeros(300), 0.0, 0.0, of, PoolSetting(0, 1, 0, 16), 16)
        chosen = cheapest(view, per_s, 16, 300.0)
        return chosen.replicas * watts_of(of[chosen.layout], chosen.clock, per_s / chosen.replicas)

    free = sum(watts(layouts, per_s) for per_s in loads)
    fixed = [sum(watts((one,), per_s) for per_s in loads) for one in layouts]
    assert free <= min(fixed) * (1 + 1e-12)


def test_clocks_follow_the_load_and_are_highest_where_none_carries_it() -> None:
    view = PoolView(5, np.zeros(5), 0.0, 0.0, (profile(2),), PoolSetting(0, 2, 0, 4), 4)
    clocks = [least_clock(view, view.setting, per_s).clock for per_s in (1.0, 10.0, 20.0, 27.0, 60.0)]
    assert clocks == sorted(clocks, reverse=True) and clocks[0] == CLOCKS - 1 and clocks[-1] == 0
    assert least_clock(view, view.setting, 0.0).clock == 0, "of equals the highest"


@pytest.mark.parametrize(("span_s", "window_s"), [(10, 1), (50, 7), (300, 60), (300, 400)])
def test_the_busiest_window_is_that_of_a_plain_search(span_s: int, window_s: int) -> None:
    seen = np.random.default_rng(span_s).poisson(3.0, 200).astype(float)
    last = seen[-span_s:]
    width = min(window_s, last.size)
    known = max(last[at : at + width].mean() for at in range(last.size - width + 1))
    assert busiest(seen, span_s, window_s) == pytest.approx(known)


# the simulation


def first_phase(found: PooledOutcome, replica: int) -> ReplicaPhase | None:
    return next((event.phase for event in found.elastic.events if event.replica == replica), None)


def pool_reference(
    found: PooledOutcome, calls: CallTable, place: int
) -> tuple[Any, list[list[tuple[int, int, float]]]]:
    """A pool by itself, stepped plainly: who takes calls is as the events say, clocks as the decisions."""
    fleet = found.elastic.outcome.fleet
    begin = sum(len(one.replicas) for one in fleet.services[:place])
    own = range(begin, begin + len(fleet.services[place].replicas))
    ever = {lease.replica for lease in found.elastic.leases}
    first = {r - begin for r in own if r in ever and first_phase(found, r) != ReplicaPhase.STARTING}
    openings: list[tuple[float, frozenset[int]]] = [(-1.0, frozenset(first))]
    for event in found.elastic.events:
        if event.replica in own:
            taking = set(openings[-1][1])
            (taking.add if event.phase == ReplicaPhase.OPEN else taking.discard)(event.replica - begin)
            openings.append((event.at_s, frozenset(taking)))
    clocks = [(one.at_s, one.setting.clock) for one in found.decisions if one.pool == place]

    def who(tick: int) -> list[int]:
        return sorted([open_ for at_s, open_ in openings if at_s * TICKS_PER_S < tick][-1])

    def level(_: int, tick: int) -> int:
        return ([clocks[0][1]] + [clock for at_s, clock in clocks[1:] if at_s * TICKS_PER_S < tick])[-1]

    spans: list[list[tuple[int, int, float]]] = []
    sent = calls.take(np.asarray(calls["service"]) == place)
    alone = CallTable.of(**{name: sent[name] for name in ("arrival_s", "input_tokens", "output_tokens")})
    known = reference(replace(fleet, services=(fleet.services[place],)), alone, who, level, spans)
    return known, spans


@pytest.mark.parametrize("seed", range(3))
def test_calls_joules_and_decisions_are_those_of_a_plain_reference(seed: int) -> None:
    """Steps one by one; joules of steps, idle watts of what is paid for; decisions from the arrivals alone."""
    calls, found = load(seed), played(seed)
    assert found.reshardings and len(found.decisions) > 8
    joules: list[float] = []
    for place in (0, 1):
        known, spans = pool_reference(found, calls, place)
        rows = np.flatnonzero(np.asarray(calls["service"]) == place)
        for name in ("started", "first", "last"):
            np.testing.assert_array_equal(found.elastic.outcome.requests[name][rows], known.requests[name])
        for steps in spans:
            number = len(joules)
            busy_s = sum((last - first) / TICKS_PER_S for first, last, _ in steps)
            idle_w = IDLE_W * LAYOUTS[found.layouts[number]]
            joules.append(sum(j for *_, j in steps) + idle_w * (found.elastic.paid_s[number] - busy_s))
    np.testing.assert_allclose(replica_j(found.elastic), joules, rtol=1e-6, atol=1e-6)
    assert found.elastic.outcome.counts()["stop"] == len(calls)


@pytest.mark.parametrize("seed", range(3))
def test_replicas_follow_decisions(seed: int) -> None:
    """A replica starts in a second in which its layout is in force, takes calls its start-up later, and replicas of
    another layout end only while those of the layout in force take calls; devices never pass what there is."""
    found, start_up_s = played(seed), 7.3
    service_of = [place for place, one in enumerate(found.elastic.outcome.fleet.services) for _ in one.replicas]
    started: dict[int, float] = {}
    held = sum(LAYOUTS[one.setting.layout] * one.setting.replicas for one in found.decisions[:2])
    for event in found.elastic.events:
        place, layout = service_of[event.replica], found.layouts[event.replica]
        force = [one.setting for one in found.decisions if one.pool == place and one.at_s <= event.at_s][-1]
        held += LAYOUTS[layout] * {ReplicaPhase.STARTING: 1, ReplicaPhase.OFF: -1}.get(event.phase, 0)
        assert held <= 16
        if event.phase == ReplicaPhase.STARTING:
            assert layout == force.layout
            started[event.replica] = event.at_s
        if event.phase == ReplicaPhase.OPEN:
            assert event.at_s == pytest.approx(started[event.replica] + start_up_s)


def test_one_pool_of_one_layout_is_plain_scaling(tmp_path: Path) -> None:
    """The same rule told by replicas: as many as the calls of the last ten seconds take at 8 a second each."""
    rule = "int(-(-view.arrivals[-10:].mean() // 8)) or 1"
    pools = own_policy(
        tmp_path, f"def choose(view):\n    if not view.second:\n        return PoolSetting(0, 2, 0, 9)\n"
        f"    return PoolSetting(0, min({rule}, 9), 0, 9)",
    )  # fmt: skip
    scaling = tmp_path / "own_scaling.py"
    scaling.write_text(f"EVERY_S = 5\ndef wish(view):\n    return {rule}\n", encoding="utf-8")
    calls = load()
    calls = CallTable.of(**{name: calls[name] for name in ("arrival_s", "input_tokens", "output_tokens")})
    one = pool("all", (1,), clocks=1)
    found = RequestPoolFleet([one], pools, 9).play(calls).elastic
    settings = ScalingSettings(str(scaling), 6.0, 8.0, first=2, most=9, start_up_s=7.3)
    plain = scale(SimulatedFleet.uniform(one.replicas[0].table, 9), calls, settings)
    assert found.outcome.requests.tobytes() == plain.outcome.requests.tobytes()
    assert found.events == plain.events and found.leases == plain.leases and len(plain.events) > 10


@pytest.mark.parametrize(("devices", "reshardings"), [(16, 0), (20, 1)])
def test_another_layout_starts_only_where_all_its_replicas_fit(devices: int, reshardings: int, tmp_path: Path) -> None:
    """One replica of eight devices stands; three of four need twelve beside it until they take its calls."""
    wish = f"PoolSetting(1, 3, 0, {devices}) if view.second else PoolSetting(0, 1, 0, {devices})"
    policy = own_policy(tmp_path, f"def choose(view):\n    return {wish}")
    calls = load()
    calls = CallTable.of(**{name: calls[name] for name in ("arrival_s", "input_tokens", "output_tokens")})
    one = pool("all", (8, 4), clocks=1, planned=PoolSetting(0, 1, 0, devices))
    found = RequestPoolFleet([one], policy, devices).play(calls)
    assert found.reshardings == reshardings
    if not reshardings:
        assert found.device_hours == pytest.approx(8 * found.elastic.outcome.horizon_s / 3600)


def test_as_it_is_nothing_is_decided_twice() -> None:
    one = pool("all", (2,), planned=PoolSetting(0, 3, 0, 6), clocks=1)
    calls = load()
    calls = CallTable.of(**{name: calls[name] for name in ("arrival_s", "input_tokens", "output_tokens")})
    found = RequestPoolFleet([one], "none", 6).play(calls)
    assert [each.setting for each in found.decisions] == [PoolSetting(0, 3, 0, 6)]
    assert not found.reshardings and found.device_hours == pytest.approx(6 * found.elastic.outcome.horizon_s / 3600)


def test_slower_clocks_where_there_is_slack_save_energy_and_lose_no_call(tmp_path: Path) -> None:
    """Steps take the same joules over a longer time, so that less is drawn idle."""
    pools = [pool(name, (2,), planned=PoolSetting(0, 2, 0, 4)) for name in ("short", "long")]
    slow = own_policy(tmp_path, "def choose(view):\n    return view.setting._replace(clock=5)")
    found = [RequestPoolFleet(pools, policy, 8).play(load()).elastic for policy in (slow, "none")]
    energy_j = [float(replica_j(one).sum()) for one in found]
    assert energy_j[0] < energy_j[1] and all(one.outcome.counts()["stop"] == 4000 for one in found)


@pytest.mark.parametrize("name", names("pools"))
def test_a_policy_names_its_classes_and_clocks(name: str) -> None:
    file = module("pools", name)
    calls = load()
    told = np.asarray(file.classes(calls))
    assert told.shape == (len(calls),) and told.min() >= 0 and told.max() < len(file.CLASSES)
    assert file.CLOCKS[0] == PowerSetting(delay_s=file.CLOCKS[0].delay_s) and file.EVERY_S >= 1


def test_what_cannot_be_played_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="2 pools on 1 devices: at least 2 are needed, one replica each"):
        played(devices=1)
    wrong = own_policy(tmp_path, "def choose(view):\n    return PoolSetting(7, 1, 0, 9)")
    with pytest.raises(InputError, match="allowed: layouts 0 to 0, from 1 replica, clocks 0 to 0"):
        RequestPoolFleet([pool("all", (1,), clocks=1)], wrong, 9).play(load())
    with pytest.raises(InputError, match=r"pool all: its layouts have \[1, 2\] clocks; all have the same"):
        RequestPool("all", (replica(1, 1),), (profile(1, clocks=2),), 1.0, PoolSetting(0, 1, 0, 1))

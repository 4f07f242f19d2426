"""Rows within a power budget while replicas come and go: against a plain reference, and what must not change."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from comptroller.errors import InputError
from comptroller.serving.elastic import ReplicaPhase
from comptroller.serving.elastic_rows import ScaledRows, scale_in_rows
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.policies import decision, module, names
from comptroller.serving.policies.power_view import PowerView
from comptroller.serving.power import LevelTables
from comptroller.serving.power_rows import PowerConditions, most_step_w
from comptroller.serving.scaling import ScalingSettings, scale
from comptroller.serving.state import TICKS_PER_S
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from serving_reference import reference
from test_serving_power import IDLE_W, clocked

MOST = 8
FLEET = SimulatedFleet.uniform(linear(max_batch=8), MOST)


def load(seed: int = 0) -> CallTable:
    """Quiet, a burst in the middle, quiet; half of the calls are of high priority."""
    rng = np.random.default_rng(seed)
    arrivals = np.concatenate([rng.uniform(0, 120, 300), rng.uniform(30, 70, 1100)])
    count = arrivals.size
    return CallTable.of(
        arrival_s=np.sort(arrivals), input_tokens=rng.integers(50, 2000, count),
        output_tokens=rng.integers(5, 60, count), priority=rng.integers(0, 2, count),
    )  # fmt: skip


def settings(policy: str = "kpa") -> ScalingSettings:
    return ScalingSettings(policy, target_calls=6.0, target_per_s=6.0, first=4, least=1, most=MOST, start_up_s=7.3)


def played(power: str, budget_w: float, seed: int = 0, scaling: str = "kpa", **more: Any) -> ScaledRows:
    conditions = PowerConditions(power, budget_w, tpot_s=0.05, **more)
    return scale_in_rows(FLEET, load(seed), settings(scaling), conditions, LevelTables(clocked))


FREE_BY_BUDGET = [name for name in names("power") if name != "request_pools"]
"""All but those whose clocks follow an objective and not the row."""


@pytest.mark.parametrize("scaling", ["kpa", "hpa", "none"])
@pytest.mark.parametrize("power", FREE_BY_BUDGET)
def test_an_infinite_budget_is_uncapped_scaling(power: str, scaling: str) -> None:
    capped, free = played(power, 1e12, scaling=scaling), played("none", 1e12, scaling=scaling, tiers_as=power)
    assert capped.elastic.outcome.requests.tobytes() == free.elastic.outcome.requests.tobytes()
    assert capped.elastic.events == free.elastic.events and not capped.rows.orders
    if not hasattr(module("power", power), "TIERS"):
        plain = scale(FLEET, load(), settings(scaling))
        for name in ("started", "first", "last", "prompt_rank", "generated", "steps"):
            np.testing.assert_array_equal(plain.outcome.requests[name], capped.elastic.outcome.requests[name])
        np.testing.assert_allclose(plain.outcome.meters.step_j, capped.elastic.outcome.meters.step_j, rtol=1e-9)
        assert plain.events == capped.elastic.events and plain.leases == capped.elastic.leases
        assert (plain.paid_s == capped.elastic.paid_s).all()


def tier_reference(found: ScaledRows, calls: CallTable, tier: int) -> tuple[Any, list[list[tuple[int, int, float]]]]:
    """A tier by itself, stepped plainly: who takes calls is as the events say, and levels as the orders."""
    fleet = found.elastic.outcome.fleet
    service = fleet.services[tier]
    begin = sum(len(one.replicas) for one in fleet.services[:tier])
    own = range(begin, begin + len(service.replicas))
    off = {event.replica for event in found.elastic.events if event.phase == ReplicaPhase.STARTING}
    ever = {lease.replica for lease in found.elastic.leases}
    first = {r for r in own if r in ever and not (r in off and first_phase(found, r) == ReplicaPhase.STARTING)}
    openings: list[tuple[float, frozenset[int]]] = [(-1.0, frozenset(r - begin for r in first))]
    for event in found.elastic.events:
        if event.replica in own:
            taking = set(openings[-1][1])
            (taking.add if event.phase == ReplicaPhase.OPEN else taking.discard)(event.replica - begin)
            openings.append((event.at_s, frozenset(taking)))
    in_force = [(order.due_s, order.setting) for order in found.rows.orders if order.tier == tier]

    def who(tick: int) -> list[int]:
        return sorted([open_ for at_s, open_ in openings if at_s * TICKS_PER_S < tick][-1])

    def level(_: int, tick: int) -> int:
        return ([0] + [setting for due_s, setting in in_force if due_s * TICKS_PER_S < tick])[-1]

    spans: list[list[tuple[int, int, float]]] = []
    sent = calls.take(found.tier == tier)
    known = reference(replace(fleet, services=(service,)), sent, who, level, spans)
    return known, spans


def first_phase(found: ScaledRows, replica: int) -> ReplicaPhase:
    return next(event.phase for event in found.elastic.events if event.replica == replica)


def overlap_s(at_s: np.ndarray, begin_s: float, end_s: float) -> np.ndarray:
    """Seconds of a span in each of the intervals between samples."""
    edges = np.concatenate([[0.0], at_s])
    return np.clip(edges[1:], begin_s, end_s) - np.clip(edges[:-1], begin_s, end_s)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("power", "budget_w"), [("polca", 4200.0), ("polca", 3000.0), ("request_pools", 1e6)])
def test_calls_watts_and_decisions_are_those_of_a_plain_reference(power: str, budget_w: float, seed: int) -> None:
    """Steps one by one; joules of steps cut at the samples, idle watts of what is paid for; the policy by those."""
    calls = load(seed)
    found = played(power, budget_w, seed, other_w=50.0)
    assert found.rows.orders and len(found.elastic.events) > 4
    at_s, watts = found.rows.at_s, np.zeros_like(found.rows.row_w)
    took_s, begin = np.diff(at_s, prepend=0.0), 0
    for tier in (0, 1):
        known, spans = tier_reference(found, calls, tier)
        for name in ("started", "first", "last"):
            ours = found.elastic.outcome.requests[name][found.tier == tier]
            np.testing.assert_array_equal(ours, known.requests[name], err_msg=name)
        for place, steps in enumerate(spans):
            busy_s = np.zeros_like(at_s)
            for first, last, joules in steps:
                inside_s = overlap_s(at_s, first / TICKS_PER_S, last / TICKS_PER_S)
                busy_s += inside_s
                watts[:, 0] += joules * inside_s / ((last - first) / TICKS_PER_S) / took_s
            leases = [lease for lease in found.elastic.leases if lease.replica == begin + place]
            on_s = sum((overlap_s(at_s, lease.since_s, lease.until_s) for lease in leases), np.zeros_like(at_s))
            watts[:, 0] += (IDLE_W * (on_s - busy_s) + 50.0 * on_s) / took_s
        begin += len(spans)
    np.testing.assert_allclose(found.rows.row_w, watts, rtol=1e-6, atol=1e-6)
    if power == "polca":
        decided, orders = (0, 0), []
        for k, moment in enumerate(at_s):
            view = PowerView(watts[: k + 1, 0], budget_w, decided, (), np.zeros((2, 5)), (0.0, 0.0), 0.05)
            wished = decision("power", "polca")(view)
            orders += [(moment, tier, s) for tier, s in enumerate(wished) if s != decided[tier]]
            decided = wished
        assert orders == [(order.at_s, order.tier, order.setting) for order in found.rows.orders]


def test_settings_come_into_force_between_seconds_too() -> None:
    """Clocks that take 0.2 s are in force after 0.2 s: what a plain look every second would make of it is later."""
    found = played("request_pools", 1e6)
    assert any(order.due_s % 1 for order in found.rows.orders)
    assert {round(order.due_s - order.at_s, 9) for order in found.rows.orders} == {0.2}


def test_a_tight_budget_is_kept_by_what_is_set_while_replicas_come() -> None:
    """Bounded by those that are on, and by what the others would draw idle, whatever is started between samples."""
    for power in ("static_cap", "clock_lock"):
        for seed in range(2):
            found = played(power, 5000.0, seed)
            assert found.rows.over_s == 0 and found.rows.orders
            assert found.elastic.outcome.counts()["stop"] == len(load(seed))


@pytest.mark.parametrize("power", ["static_cap", "clock_lock"])
def test_a_clock_follows_how_many_are_on_and_is_lower_if_all_there_may_be_have_to_count(power: str) -> None:
    """At each sample the strongest setting that those on may have, by the most that any step draws; where a replica
    takes calls before the next sample, all count."""
    budget_w, every_s = 5000.0, float(module("power", power).EVERY_S)
    found = played(power, budget_w)
    (tier,) = found.elastic.outcome.fleet.services
    most_w = [most_step_w(table) for table in tier.replicas[0].tables]
    on = dict.fromkeys(found.rows.at_s, 0)
    for lease in found.elastic.leases:
        for at_s in on:
            on[at_s] += lease.since_s < at_s < lease.until_s
    bounds = {
        at_s: next(n for n, watts in enumerate(most_w) if count * watts + (MOST - count) * IDLE_W <= budget_w)
        for at_s, count in on.items()
    }
    decided = {order.at_s: order.setting for order in found.rows.orders}
    setting, settled = decided.get(0.0, 0), []
    for at_s in found.rows.at_s:
        setting = decided.get(at_s, setting)
        settled.append(setting)
    assert settled == [bounds[at_s] for at_s in found.rows.at_s] and len(set(settled)) > 1
    quick = scale_in_rows(
        FLEET, load(), replace(settings(), start_up_s=every_s), PowerConditions(power, budget_w), LevelTables(clocked)
    )
    all_on = next(n for n, watts in enumerate(most_w) if MOST * watts <= budget_w)
    assert [order.setting for order in quick.rows.orders] == [all_on] and max(settled) <= all_on


def test_a_budget_below_what_all_replicas_draw_idle_is_refused() -> None:
    with pytest.raises(InputError, match="1,000 W is below what 8 replicas draw idle, 1,600 W; at least as much"):
        played("polca", 1000.0)
    with pytest.raises(InputError, match="every call has priority 1; two priorities are needed"):
        scale_in_rows(
            FLEET, load().with_columns(priority=np.ones(1400)), settings(), PowerConditions("polca", 1e4),
            LevelTables(clocked),
        )  # fmt: skip

"""Rows within a power budget: watts add up, settings come into force when they are due, policies by their own rules."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.policies import decision, module, names
from comptroller.serving.policies.power_view import PowerSetting, PowerView
from comptroller.serving.power import LevelTables, PowerOutcome, setting_shares, simulate_rows
from comptroller.serving.power_rows import PowerConditions, most_step_w
from comptroller.serving.power_tiers import tier_of
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from serving_reference import reference

POLICIES = names("power")
IDLE_W, BUSY_W = 200.0, 1000.0
"""Of `linear`."""


def clocked(table: StepTable, setting: PowerSetting) -> StepTable:
    """Steps take 1 / clock as long, at a power in proportion to the smaller of clock and limit, never below idle."""
    times = {f"{name}_s": getattr(table, f"{name}_s") / setting.clock for name in ("decode", "mixed", "pair")}
    watts = max(min(setting.clock, setting.limit) * BUSY_W, table.idle_w)
    return replace(table, **times, **{f"{name[:-2]}_j": values * watts for name, values in times.items()})


def load(count: int = 1500, span_s: float = 120.0, seed: int = 0) -> CallTable:
    """Quiet, a burst in the middle, quiet; half of the calls are of high priority."""
    rng = np.random.default_rng(seed)
    burst = rng.uniform(0.4 * span_s, 0.6 * span_s, count // 2)
    return CallTable.of(
        arrival_s=np.sort(np.concatenate([rng.uniform(0, span_s, count - count // 2), burst])),
        input_tokens=rng.integers(50, 2000, count),
        output_tokens=rng.integers(5, 60, count),
        priority=rng.integers(0, 2, count),
    )


def rows_of(policy: str, budget_w: float, calls: CallTable | None = None, **more: object) -> PowerOutcome:
    conditions = PowerConditions(policy, budget_w, tpot_s=0.05, **more)  # type: ignore[arg-type]
    fleet = SimulatedFleet.uniform(linear(max_batch=16), 4)
    return simulate_rows(fleet, load() if calls is None else calls, conditions, LevelTables(clocked))


@pytest.mark.parametrize("policy", POLICIES)
def test_an_infinite_budget_is_no_budget(policy: str) -> None:
    """But for pools by size, whose clocks follow their objective and not the row."""
    if policy == "request_pools":
        return
    capped = rows_of(policy, 1e12)
    free = rows_of("none", 1e12, tiers_as=policy)
    assert capped.outcome.requests.tobytes() == free.outcome.requests.tobytes()
    assert not capped.orders and capped.over_s == 0 and (setting_shares(capped)[:, 0] == 1).all()


def test_one_tier_uncapped_is_the_fleet_as_it_is() -> None:
    free = rows_of("none", 1e6)
    plain = simulate(SimulatedFleet.uniform(linear(max_batch=16), 4), load())
    np.testing.assert_array_equal(free.outcome.requests["last"], plain.requests["last"])
    np.testing.assert_allclose(free.outcome.meters.step_j, plain.meters.step_j, rtol=1e-9)


@pytest.mark.parametrize("rows", [1, 2])
def test_samples_of_power_are_those_of_the_reference(rows: int) -> None:
    """Joules of every step of the plain reference, cut at the samples, and idle power between steps."""
    calls = load(200, 30.0)
    found = rows_of("none", 1e6, calls, rows=rows, other_w=50.0)
    spans: list[list[tuple[int, int, float]]] = []
    reference(SimulatedFleet.uniform(linear(max_batch=16), 4), calls, spans=spans)
    edges = np.concatenate([[0.0], found.at_s]) * 2.0**38
    watts = np.full((found.at_s.size, rows), 50.0 * 4 / rows)
    for replica, steps in enumerate(spans):
        busy = np.zeros(found.at_s.size)
        for begin, end, joules in steps:
            inside = np.clip(edges[1:], begin, end) - np.clip(edges[:-1], begin, end)
            busy += inside
            watts[:, replica % rows] += joules * inside / (end - begin) / (np.diff(edges) / 2.0**38)
        watts[:, replica % rows] += IDLE_W * (1 - busy / np.diff(edges))
    np.testing.assert_allclose(found.row_w, watts, rtol=1e-8)


def test_samples_and_meters_are_one_energy() -> None:
    for policy, budget_w in (("none", 1e6), ("polca", 3000.0)):
        found = rows_of(policy, budget_w, rows=2, other_w=30.0)
        assert found.energy_j == pytest.approx(found.outcome.meter_j + 4 * 30.0 * found.outcome.horizon_s, rel=1e-9)
        sampled = (found.row_w * np.diff(found.at_s, prepend=0.0)[:, None]).sum()
        assert sampled <= found.energy_j * (1 + 1e-9)
        assert found.energy_j - sampled <= 4 * (BUSY_W + 30.0) * 2.0


def test_a_cap_slows_low_priority_first_and_lowers_the_row() -> None:
    found, free = rows_of("polca", 4200.0), rows_of("none", 4200.0, tiers_as="polca")
    assert 0.8 < free.peak_share < 1.0 and found.brakes == 0
    assert {order.tier for order in found.orders} >= {0}
    assert found.row_w[found.at_s > 100].mean() <= free.row_w[free.at_s > 100].mean()
    late = [found.quantile_s("e2e_s", 0.9, tier) / free.quantile_s("e2e_s", 0.9, tier) for tier in (0, 1)]
    assert late[0] > 1 and late[0] > late[1]


def test_a_setting_is_in_force_after_its_delay_and_not_before() -> None:
    found = rows_of("polca", 4200.0)
    assert found.orders
    for order in found.orders:
        assert order.due_s == pytest.approx(order.at_s + found.conditions.settings[order.setting].delay_s)
    first = min(order.due_s for order in found.orders)
    assert (found.in_force[found.at_s < first] == 0).all()
    assert (found.in_force[found.at_s >= first + 2] > 0).any()


def test_a_row_above_its_budget_is_braked_within_seconds() -> None:
    found = rows_of("polca", 2500.0)
    assert found.peak_share > 1 and found.brakes >= 1
    brake = next(order for order in found.orders if found.conditions.settings[order.setting].brake)
    assert brake.due_s - brake.at_s == 5.0


@pytest.mark.parametrize("policy", ["static_cap", "clock_lock"])
def test_what_is_set_for_good_holds_whatever_the_load(policy: str) -> None:
    for seed in range(3):
        found = rows_of(policy, 3000.0, load(2500, seed=seed))
        assert found.over_s == 0 and found.brakes == 0 and len({order.at_s for order in found.orders}) == 1
        strongest = found.orders[0].setting
        table = linear(max_batch=16)
        before = clocked(table, found.conditions.settings[strongest - 1])
        assert 4 * most_step_w(before) > 3000.0, "one step up would not hold"


def test_pools_run_no_faster_than_they_must_and_save_energy() -> None:
    found, free = rows_of("request_pools", 1e6), rows_of("none", 1e6, tiers_as="request_pools")
    assert found.energy_j < free.energy_j and (setting_shares(found)[:, 1:].sum(axis=1) > 0).all()
    assert set(np.unique(found.tier)) == {0, 1}


def test_tiers_have_replicas_in_proportion_to_their_work() -> None:
    found = rows_of("request_pools", 1e6)
    short, long = (service.replicas for service in found.outcome.fleet.services)
    assert len(short) + len(long) == 4 and len(long) >= len(short) >= 1
    ranks = found.outcome.requests["prompt_rank"]
    assert (ranks[found.tier == 0] < len(short)).all() and (ranks[found.tier == 1] >= len(short)).all()


@pytest.mark.parametrize("policy", POLICIES)
def test_a_policy_lists_its_settings_and_keeps_to_them(policy: str) -> None:
    settings = module("power", policy).SETTINGS
    assert settings[0][:2] == (1.0, 1.0) and not settings[0].brake
    assert all(0 < one.clock <= 1 and 0 < one.limit <= 1 and one.delay_s >= 0 for one in settings)
    tiers = len(getattr(module("power", policy), "TIERS", ("all",)))
    most_w = tuple(np.linspace(100.0, 40.0, len(settings)))
    for share in (0.1, 0.79, 0.81, 0.9, 1.1):
        for before in range(len(settings)):
            view = PowerView(
                np.array([share * 100]), 100.0, (before,) * tiers, most_w, np.full((tiers, len(settings)), 0.01),
                (0.0,) * tiers, 0.05,
            )  # fmt: skip
            wished = decision("power", policy)(view)
            assert len(wished) == tiers and all(0 <= one < len(settings) for one in wished)


def polca(share: float, before: tuple[int, int]) -> tuple[int, ...]:
    view = PowerView(np.array([share]), 1.0, before, (1.0,) * 5, np.zeros((2, 5)), (0.0, 0.0), np.inf)
    return decision("power", "polca")(view)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("share", "before", "wished"),
    [
        (0.79, (0, 0), (0, 0)),
        (0.81, (0, 0), (1, 0)),
        (0.76, (1, 0), (1, 0)),  # not yet 5 % below
        (0.74, (1, 0), (0, 0)),
        (0.90, (0, 0), (2, 3)),
        (0.85, (2, 3), (2, 3)),
        (0.83, (2, 3), (1, 0)),
        (0.74, (2, 3), (0, 0)),
        (1.01, (2, 3), (4, 4)),
        (0.90, (4, 4), (4, 4)),
        (0.83, (4, 4), (1, 0)),
    ],
)
def test_polca_follows_its_thresholds(share: float, before: tuple[int, int], wished: tuple[int, int]) -> None:
    assert polca(share, before) == wished


# what cannot be


def test_a_budget_below_idle_is_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match=r"500 W is below what 4 replicas draw idle, 800 W; .* at most 2 replicas"):
        rows_of("polca", 500.0)
    with pytest.raises(InputError, match="2 replicas draw idle, 600 W"):
        rows_of("polca", 500.0, rows=2, other_w=100.0)


def test_a_budget_that_no_setting_keeps_is_refused_with_what_is_needed() -> None:
    with pytest.raises(InputError, match="at the lowest setting the row may still draw 1,600 W; as much is needed"):
        rows_of("static_cap", 1000.0)


def test_priorities_that_do_not_differ_are_refused() -> None:
    calls = load(50).with_columns(priority=np.ones(50))
    with pytest.raises(InputError, match="every call has priority 1; two priorities are needed"):
        tier_of("polca", calls)


def test_too_few_replicas_and_several_services_are_refused() -> None:
    one = SimulatedFleet.uniform(linear(), 1)
    conditions = PowerConditions("polca", 1e6)
    with pytest.raises(InputError, match="1 replicas for the tiers low priority, high priority: at least 2"):
        simulate_rows(one, load(50), conditions, LevelTables(clocked))
    services = tuple(SimulatedService(name, (SimulatedReplica(linear()),)) for name in "ab")
    with pytest.raises(InputError, match="one service"):
        simulate_rows(SimulatedFleet(services), load(50), conditions, LevelTables(clocked))
    with pytest.raises(InputError, match="plca"):
        PowerConditions("plca", 1e6)
    with pytest.raises(InputError, match="row budget of -1 W"):
        PowerConditions("polca", -1.0)

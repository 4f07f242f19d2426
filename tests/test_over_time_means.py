"""A fleet over time with zones of spot or rows of power: what they are worth, what they are not, and its document."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comptroller.errors import InfeasibleError, InputError
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.over_time import FleetOverTime, fleet_over_time
from comptroller.planning.over_time_play import FIXED
from comptroller.planning.over_time_saving import BLOCKS, blocks_of
from comptroller.planning.over_time_surroundings import SpotShare
from comptroller.planning.over_time_trial import OverTimeSurroundings, OverTimeWish
from comptroller.planning.over_time_write import plan_over_time
from comptroller.planning.power_simulation import RowConditions
from comptroller.planning.scaled_simulation import ScalingConditions, replica_targets
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.report.over_time_pictures import over_time_page, over_time_picture
from comptroller.report.over_time_tables import over_time_sheets
from comptroller.work.load_requests import requests_of_load
from comptroller.work.load_series import LoadSeries
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import parse
from comptroller.work.zone_record import ZoneRecord
from golden_replicas import replicated_plan
from spot_worlds import zones

CONDITIONS = ScalingConditions(start_up_s=10.0, most=4)
SPOT = SpotConditions(spot_usd_per_device_h=0.6, drain_s=10.0)
WISH = OverTimeWish(0.8, 3, ("hpa",), (SpotShare("spread_cover", 1.0, 0), SpotShare("spread_cover", 0.5, 0)))
CALM, EMPTY = zones([(0.0, 4)], [(0.0, 4)]), zones([(0.0, 0)], [(0.0, 0)])


@pytest.fixture(scope="module")
def planned() -> Plan:
    return replicated_plan(2)


@pytest.fixture(scope="module")
def trace(planned: Plan) -> RequestTrace:
    """Ten minutes at what a replica and a half take."""
    per_s, _ = replica_targets(planned.services[0])
    arrivals = np.sort(np.random.default_rng(0).uniform(0, 600, int(900 * per_s)))
    return RequestTrace(arrivals, np.full(arrivals.size, 400), np.full(arrivals.size, 100))


def over(plan: Plan, trace: RequestTrace, record: ZoneRecord) -> FleetOverTime:
    return fleet_over_time(plan, trace, WISH, CONDITIONS, around=OverTimeSurroundings((record, SPOT)))


@pytest.fixture(scope="module")
def on_calm_zones(planned: Plan, trace: RequestTrace) -> FleetOverTime:
    return over(planned, trace, CALM)


def test_zones_that_stand_make_a_fleet_cheaper_and_every_loser_says_why(on_calm_zones: FleetOverTime) -> None:
    found = on_calm_zones
    assert found.winner.spot is not None and found.fixed is not None and found.winner.spent < found.fixed.spent
    assert found.fixed_aided is not None and found.fixed_aided.spot is not None
    for one in found.trials:
        assert (one is found.winner) == (not one.lost)
    assert found.runner_up is not None and found.runner_up.spent >= found.winner.spent and found.runner_up.lost
    halves = [one for one in found.trials if one.spot == SpotShare("spread_cover", 0.5, 0) and len(one.played) == 2]
    wholes = {(one.policy, one.fill, one.first): one for one in found.trials if one.spot == WISH.spot[0]}
    assert halves and all(one.spent >= wholes[one.policy, one.fill, one.first].spent for one in halves)


def test_the_saving_has_an_interval_about_it_and_blocks_sum_to_the_whole(on_calm_zones: FleetOverTime) -> None:
    found = on_calm_zones
    for one in found.savings:
        assert one.low <= one.mean <= one.high < 1 and one.blocks == BLOCKS
    for _, played in found.drawn:
        for objective in ("usd", "j", "gco2e"):
            blocks = blocks_of(played, BLOCKS, objective, found.prices)
            assert blocks.sum() == pytest.approx(getattr(played.figures, objective)) and (blocks >= 0).all()
    assert found.savings[0].mean == pytest.approx(found.saved, rel=1e-6)


def test_the_plan_holds_the_choice_and_comes_back_the_same(on_calm_zones: FleetOverTime, tmp_path: Path) -> None:
    written = plan_over_time(on_calm_zones)
    (tmp_path / "plan.json").write_text(written.to_json(), encoding="utf-8")
    again = load_plan(tmp_path / "plan.json")
    assert again == written and again.to_json() == written.to_json()
    assert again.over_time is not None and again.over_time.chosen.name == on_calm_zones.winner.name
    assert again.over_time.unseen.chosen.within and not again.over_time.chosen.lost


def test_a_picture_has_the_choice_beside_the_fixed_fleets(on_calm_zones: FleetOverTime) -> None:
    charts = over_time_picture(on_calm_zones).charts
    assert [len(chart.lines) for chart in charts][1:] == [3, 3, 4, 3, 3]
    page = over_time_page(on_calm_zones)
    assert on_calm_zones.winner.name in page and over_time_sheets(on_calm_zones)[0].title.split(";")[0] in page


def test_zones_without_a_node_are_worth_nothing(planned: Plan, trace: RequestTrace) -> None:
    found = over(planned, trace, EMPTY)
    bare = fleet_over_time(planned, trace, WISH, CONDITIONS)
    assert found.winner.name == bare.winner.name and found.winner.usd == bare.winner.usd
    for one in found.trials:
        if one.spot and len(one.played) == 2:
            assert one.spent == pytest.approx(found.winner.spent, rel=1e-6) or one.spent > found.winner.spent


LOCK = """from comptroller.serving.policies.power_view import PowerSetting

EVERY_S = 2
SETTINGS = (PowerSetting(), PowerSetting(clock=0.6, delay_s=0.0))


def cap(view):
    return (1,) * len(view.decided)
"""


def test_rows_without_bound_change_nothing_and_tight_ones_need_a_policy(
    planned: Plan, trace: RequestTrace, tmp_path: Path
) -> None:
    (tmp_path / "lock.py").write_text(LOCK, encoding="utf-8")
    lock = str(tmp_path / "lock.py")
    wish = replace(WISH, policies=(), power=("clock_lock", lock))

    def within(budget_w: float) -> FleetOverTime:
        around = OverTimeSurroundings(rows=RowConditions(budget_w))
        return fleet_over_time(planned, trace, wish, CONDITIONS, around=around)

    bare, wide = fleet_over_time(planned, trace, wish, CONDITIONS), within(1e9)
    assert wide.winner.name == bare.winner.name and wide.winner.usd == pytest.approx(bare.winner.usd)
    fixed = next(one for one in wide.trials if one.policy == FIXED and one.first == wide.winner.first)
    assert not fixed.over_s
    (_, played), *_ = wide.drawn
    assert played.rows is not None
    tight = within(0.9 * played.rows.peak_share * 1e9)
    assert tight.winner.power == lock and not tight.winner.over_s
    told = {one.lost for one in tight.trials}
    assert any(why.startswith("rows above their budget") for why in told)
    assert any("at the lowest setting the row may still draw" in why for why in told)


def test_joules_are_minimised_where_the_plan_says_so(planned: Plan, trace: RequestTrace) -> None:
    found = fleet_over_time(planned.model_copy(update={"objective": "j"}), trace, WISH, CONDITIONS)
    held = [one for one in found.trials if len(one.played) == 2 and min(one.shares) >= WISH.share]
    assert found.winner.spent == min(sum(part.j for part in one.played) for one in held)


def test_what_cannot_be_had_is_refused_by_name(planned: Plan, trace: RequestTrace) -> None:
    with pytest.raises(InputError, match=r"the record drawn ends after 0\.0833 h"):
        over(planned, trace, zones([(0.0, 4)], end_s=300.0))
    with pytest.raises(InputError, match="name --row-budget or --availability"):
        OverTimeSurroundings((CALM, SPOT), RowConditions(1e5))
    with pytest.raises(InputError, match=r"below what .* replicas draw idle"):
        fleet_over_time(planned, trace, WISH, CONDITIONS, around=OverTimeSurroundings(rows=RowConditions(10.0)))
    wish = replace(WISH, power=("polca",), policies=())
    found = fleet_over_time(planned, trace, wish, CONDITIONS, around=OverTimeSurroundings(rows=RowConditions(1e9)))
    lost = {one.lost for one in found.trials if one.power}
    assert len(lost) == 1 and "polca slows low priority first, and every call has priority 0" in lost.pop()
    with pytest.raises(InfeasibleError, match="closest"):
        fleet_over_time(planned, trace.scaled(20), WISH, CONDITIONS)


WORKLOAD = {
    "name": "chat", "models": ["llama_3_1_8b"], "rate_per_s": 4.0,
    "lengths": {
        "input": {"median": 400.0, "p99": 2000.0, "most": 4000}, "output": {"median": 90.0, "p99": 300.0, "most": 400},
    },
    "objectives": {"ttft": {"p": 95, "max": 5, "unit": "s"}},
}  # fmt: skip


def test_requests_drawn_from_a_load_come_at_its_rates() -> None:
    values = np.array([1.0, 4.0, 0.0, 2.0] * 5)
    found = requests_of_load(LoadSeries("load", 600.0, values), parse(WORKLOAD), 8.0)
    counts = np.bincount((found.arrival_s // 600).astype(int), minlength=values.size)
    assert (counts[values == 0] == 0).all()
    expected = values / 4.0 * 8.0 * 600
    assert np.all(np.abs(counts - expected) <= 5 * np.sqrt(expected)), "Poisson"
    assert "drawn at the rates of load" in found.notes[0] and len(found.input_tokens) == len(found)
    with pytest.raises(InputError, match="a load is from 0"):
        requests_of_load(LoadSeries("load", 600.0, values - 1), parse(WORKLOAD), 8.0)

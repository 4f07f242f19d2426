"""The day: brute force, conservation, deadlines, terms, spot, limits, and what is refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from comptroller.errors import FactError, InfeasibleError, InputError
from comptroller.planning.ground.nouns import DeferrableLoad, Demand, Fleet, Goal, Market
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.day_market import without_spot
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.solve.day_space import day_space
from comptroller.planning.solve.problem import pose_problem
from comptroller.report import hours
from comptroller.report.plan_page import page
from comptroller.report.terminal import print_plan
from comptroller.work.hours import HOURS, SpotRisk, rates_by_hour
from comptroller.work.workload import load, parse
from hours_markets import USD, H, cheapest, day_of, market, shares


def work(released: Any, window_h: int, saves: float | None = None) -> DeferrableLoad:
    """Requests released by hour, 3,600 making one per second for an hour."""
    return DeferrableLoad("batch", 3600.0 * np.array(released, float), window_h, saves)


def brute_force(of: Market, asked: Demand, most: int = 4) -> float:
    """Every number of units in every hour, for loads without work: the hours meet only in columns rented all day."""
    best = np.inf
    for held in itertools.product(range(most + 1), repeat=int(of.all_day.sum())):
        total = 0.0
        for h, factor in enumerate(asked.load):
            hour = np.inf
            for free in itertools.product(range(most + 1), repeat=int((~of.all_day).sum())):
                units = np.zeros(len(of.all_day))
                units[of.all_day], units[~of.all_day] = held, free
                if (units / of.load[0, 0]).sum() >= factor - 1e-9:
                    hour = min(hour, float(of.usd[h] @ units))
            total += hour
        best = min(best, total)
    return best


numbers = st.floats(0.3, 2.5).map(lambda x: round(x, 2))


@settings(max_examples=25, deadline=None)
@given(
    load=st.tuples(numbers, numbers),
    price=st.tuples(numbers, numbers),
    all_day=st.tuples(st.booleans(), st.booleans()),
    by_hour=st.tuples(*[st.floats(0.1, 1.0).map(lambda x: round(x, 2))] * H),
)
@example(load=(2.5, 1.5), price=(1.0, 1.5), all_day=(False, True), by_hour=(0.1, 1.0, 1.0))
def test_the_day_is_the_one_that_brute_force_finds(load: Any, price: Any, all_day: Any, by_hour: Any) -> None:
    of, asked = market(load, price, all_day), day_of(by_hour)
    assert cheapest(of, asked).objective == pytest.approx(brute_force(of, asked), rel=1e-3)


def conserved(day: Fleet, asked: Demand) -> None:
    """All load served; all work done once, after its release and before its deadline."""
    saved = sum(z * (w.saves or 0.0) for z, w in zip(day.chosen, asked.works, strict=True))
    assert day.share.sum(axis=(1, 2)) == pytest.approx(np.full(len(asked.load), 1.0 - saved), abs=1e-6)
    for k, each in enumerate(asked.works):
        moved = day.moved[k]
        assert moved.min() >= -1e-9 and moved.shape[1] <= each.window_h
        assert moved.sum(axis=1) == pytest.approx(day.chosen[k] * each.released / each.released.sum(), abs=1e-6)
        arrived = np.zeros(len(asked.load))
        for released, waited in np.ndindex(*moved.shape):
            arrived[(released + waited) % len(arrived)] += moved[released, waited]
        assert day.done[:, k] == pytest.approx(arrived, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    load=st.tuples(numbers, numbers),
    by_hour=st.tuples(*[st.floats(0.1, 1.0)] * H),
    released=st.tuples(*[st.floats(0.0, 2.0)] * H).filter(lambda x: sum(x) > 0.1),
)
def test_a_later_deadline_is_never_dearer_and_all_work_is_done_in_time(load: Any, by_hour: Any, released: Any) -> None:
    of = market(load, (1.0, 0.7), (False, True), works=[load])
    costs = []
    for window in (1, 2, 3):
        asked = day_of(by_hour, [work(released, window)])
        day = cheapest(of, asked)
        conserved(day, asked)
        taken = of.load[0, 0] * shares(day) + of.load[0, 1] * asked.works_per_s[0] * day.work[0][:, 0]
        assert (taken <= day.units[0] + 1e-6).all()
        costs.append(day.objective)
    assert costs[1] <= costs[0] * (1 + 1e-3) and costs[2] <= costs[1] * (1 + 1e-3)


def test_work_moves_into_idle_units_and_costs_nothing_there() -> None:
    of = market((1.0,), (1.0,), (False,), works=[(1.0,)])
    alone = cheapest(of, day_of([1.0, 0.5, 1.0]))
    later = cheapest(of, day_of([1.0, 0.5, 1.0], [work([0.5, 0, 0], 2)]))
    at_once = cheapest(of, day_of([1.0, 0.5, 1.0], [work([0.5, 0, 0], 1)]))
    assert later.objective == pytest.approx(alone.objective) == pytest.approx(3.0)
    assert at_once.objective == pytest.approx(4.0)
    assert later.done[1, 0] == pytest.approx(1.0)


def test_emissions_move_work_to_the_clean_hour() -> None:
    of = market((1.0,), (1.0,), (False,), works=[(1.0,)])
    day = cheapest(of, day_of([0.1, 0.1, 0.1], [work([0, 0, 0.5], 3)]), Goal("gco2e"))
    assert day.done[:, 0] == pytest.approx([1.0, 0.0, 0.0], abs=1e-6)
    assert day.objective == pytest.approx((1 + 2 + 4) * (1 + 0.2) + 2 * 0.5)
    assert day.total["usd"].sum() == pytest.approx(3.0)


def test_units_for_the_day_stay_and_others_follow_the_load() -> None:
    day = cheapest(market((0.5, 0.5), (1.0, 0.6), (False, True)), day_of([4.0, 1.0, 1.0]))
    assert day.units[0][:, 1].tolist() == [1, 1, 1] and day.units[0][:, 0].tolist() == [1, 0, 0]


def spotted(lost: float, standing: float = 1.0) -> Market:
    """A firm column at 1.0 and a spot column at 0.3."""
    of = market((1.0, 1.0), (1.0, 0.3), works=[(1.0, 1.0)])
    return replace(of, lost=np.array([0.0, lost]), standing=np.array([1.0, standing]))


def test_interactive_load_outlasts_an_interruption() -> None:
    asked = day_of([2.0] * H)
    half = cheapest(spotted(0.5), asked)
    assert half.units[0][:, 1].tolist() == [4] * H and half.objective == pytest.approx(3 * 4 * 0.3)
    third = cheapest(spotted(0.3), asked)
    assert third.units[0][:, 1].tolist() == [3] * H, "of three units 0.9 go: a whole one"
    everything = cheapest(spotted(1.0), replace(asked, works=(work([3, 0, 0], 3),)))
    assert everything.units[0][:, 0].tolist() == [2] * H, "all spot may go at once: only work that may wait runs on it"
    assert everything.units[0][:, 1].sum() == 3


def test_a_unit_that_stands_half_the_time_does_half_the_work_and_costs_half() -> None:
    asked = day_of([1.0] * H, [work([1, 1, 1], 1)])
    whole, part = (cheapest(spotted(1.0, standing), asked) for standing in (1.0, 0.5))
    assert part.units[0][:, 1].tolist() == [2] * H
    assert part.objective == pytest.approx(whole.objective)


def test_sleep_time_work_is_done_as_far_as_it_pays() -> None:
    load = day_of([2.0] * H)
    of = market((1.0,), (1.0,), (False,), works=[(1.0,)])
    dear = cheapest(of, replace(load, works=(work([1, 1, 1], 3, saves=0.3),)))
    cheap = cheapest(of, replace(load, works=(work([0.3, 0.3, 0.3], 3, saves=0.5),)))
    assert dear.objective == pytest.approx(6.0) and cheap.objective == pytest.approx(4.0)
    assert cheap.units[0].sum() == 4, "one unit an hour for what is left, one more where the work is done"
    conserved(cheap, replace(load, works=(work([0.3, 0.3, 0.3], 3, saves=0.5),)))


def test_replicas_in_reserve_and_caps_are_held() -> None:
    of, asked = market((1.0, 1.0), (1.0, 1.5)), day_of([1.0, 2.0, 1.0])
    spare = cheapest(of, asked, replace(USD, spare=1))
    assert spare.units[0].sum(axis=1).tolist() == [2, 3, 2]
    capped = cheapest(replace(of, takes={"cap a": np.array([1.0, 0.0])}), asked, replace(USD, limits=(("cap a", 1.0),)))
    assert capped.units[0].tolist() == [[1, 0], [1, 1], [1, 0]]


def test_limits_that_leave_no_day_are_named_with_what_would_do() -> None:
    of, asked = market((1.0, 1.0), (1.0, 1.5)), day_of([1.0, 2.0, 1.0])
    with pytest.raises(InfeasibleError, match=r"budget of the day \(at most 3, needs 4\)"):
        cheapest(of, asked, replace(USD, over_day=(("usd", 3.0),)))
    with pytest.raises(InfeasibleError, match="interactive load"):
        cheapest(replace(of, lost=np.ones(2)), asked)
    with pytest.raises(InfeasibleError, match=r"cap a \(at most 1 devices, needs 2\)"):
        cheapest(replace(of, takes={"cap a": np.ones(2)}), asked, replace(USD, limits=(("cap a", 1.0),)))


def test_the_day_is_drawn_and_told(planned: Plan) -> None:
    body = page(planned)
    svg = body[body.index("<svg", body.index("Hours of the day")) :]
    drawn = ElementTree.fromstring(svg[: svg.index("</svg>") + 6])
    bars = [each for each in drawn.iter() if each.tag.endswith("rect")]
    assert len(bars) == HOURS and all(float(bar.attrib["height"]) > 0 for bar in bars)
    told = StringIO()
    print_plan(planned, Console(file=told, width=120))
    text = told.getvalue()
    assert "Where the day's saving comes from" in text and "deferrable work moved" in text
    assert len(hours.hours(planned).rows) == HOURS
    assert planned.hours is not None
    assert hours.steps(planned).rows[-1][1] == f"${planned.hours.usd_per_day:,.2f}"


def test_the_example_gives_what_it_gave() -> None:
    """The first steps of the day, which are proven in a moment."""
    workload = load(Path(__file__).parents[1] / "examples" / "day.toml")
    problem = pose_problem(without_spot(workload), shipped_calibration())
    assert workload.hours is not None
    space = day_space(replace(problem, workload=workload), workload.hours, shipped_calibration())
    costs = [step.day(step.demand).objective for step in itertools.islice(space.freedoms, 2)]
    assert costs == pytest.approx([3148.80, 1858.00], rel=1e-3)
    (offers,) = space.offers.values()
    assert {"on_demand", "reserved", "spot"} == set(offers.terms) and len(offers.market.rows) == 6


WORKLOAD: dict[str, Any] = {
    "name": "day",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 30.0,
    "lengths": {
        "input": {"median": 600, "mean": 900, "most": 6000},
        "output": {"median": 150, "mean": 200, "most": 900},
    },
    "objectives": {"tpot": {"p": 95.0, "max": 40.0, "unit": "ms"}},
    "allow": {"sites": ["aws_us_east"], "accelerators": ["l4"], "terms": ["on_demand", "spot"]},
    "hours": {
        "load": [0.2] * 8 + [1.0] * 8 + [0.5] * 8,
        "grid_gco2e_per_kwh": {"aws_us_east": [300.0] * 12 + [400.0] * 12},
        "deferrable": [
            {
                "name": "batch",
                "requests_per_day": 60_000.0,
                "input_tokens": 2000,
                "output_tokens": 200,
                "deadline_h": 12,
                "released": [0.0] * 12 + [1.0] + [0.0] * 11,
            }
        ],
    },
}

RISK = {"interruptions_per_h": 0.1, "outage_s": 1800, "lost_at_once": 0.5, "source": "made up for this test"}


def with_hours(**changes: Any) -> dict[str, Any]:
    return {**WORKLOAD, "hours": {**WORKLOAD["hours"], **changes}}


@pytest.fixture(scope="module")
def planned() -> Plan:
    return plan(parse(WORKLOAD), rehearsal=None)


def test_the_plan_holds_a_day_that_adds_up(planned: Plan) -> None:
    day = planned.hours
    assert day is not None and len(day.hours) == HOURS
    assert sum(hour.usd for hour in day.hours) == pytest.approx(day.usd_per_day, rel=1e-4)
    assert sum(hour.gco2e for hour in day.hours) == pytest.approx(day.gco2e_per_day, rel=1e-4)
    assert sum(hour.w for hour in day.hours) * 3600 == pytest.approx(day.j_per_day, rel=1e-4)
    assert sum(hour.done["batch"] for hour in day.hours) == pytest.approx(60_000, rel=1e-4)
    assert all(hour.done["batch"] == 0 for hour in day.hours[:12]), "released at 12, due by midnight"
    assert {r.term for hour in day.hours for r in hour.rented} == {"on_demand"}
    assert any("hours.spot" in note for note in day.notes)
    costs = [step.objective_per_day for step in day.steps]
    assert costs == sorted(costs, reverse=True) and day.usd_per_day == costs[-1]
    assert day.least_per_day <= day.usd_per_day * (1 + 1e-6)


def test_a_peak_fleet_held_all_day_is_the_plan_without_hours(planned: Plan) -> None:
    lone = plan(parse(with_hours(deferrable=[])), rehearsal=None)
    assert lone.hours is not None
    held = lone.hours.steps[0].usd_per_day / HOURS
    assert held == pytest.approx(lone.totals.usd_per_h.value, rel=0.02)
    assert planned.totals.usd_per_h.value == lone.totals.usd_per_h.value
    assert Plan.model_validate_json(planned.to_json()) == planned


def test_a_limit_may_forbid_the_peak_fleet_and_leave_a_day(planned: Plan) -> None:
    assert planned.hours is not None
    mean = planned.hours.usd_per_day / HOURS
    most = max(planned.totals.usd_per_h.value, mean) * 1.01
    assert most < planned.hours.steps[0].usd_per_day / HOURS
    found = plan(parse({**WORKLOAD, "budget": {"max": most, "unit": "USD/h"}}), rehearsal=None).hours
    assert found is not None and not any("held all day" in step.name for step in found.steps)
    assert found.usd_per_day == pytest.approx(planned.hours.usd_per_day, rel=1e-3)


@pytest.mark.slow
def test_spot_is_mixed_in_where_its_risk_is_known(planned: Plan) -> None:
    risky = plan(parse(with_hours(spot=RISK)), rehearsal=None).hours
    assert risky is not None and planned.hours is not None
    assert risky.usd_per_day < planned.hours.usd_per_day
    assert "spot" in {r.term for hour in risky.hours for r in hour.rented}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"load": [1.0] * 23}, "load"),
        ({"load": [0.0] * 24}, "all zero"),
        ({"load": "trace"}, "no trace"),
        ({"spot": {"interruptions_per_h": 0.1, "outage_s": 60}}, "source"),
        ({"grid_gco2e_per_kwh": {"atlantis": [1.0] * 24}}, "atlantis"),
        ({"deferrable": [{"name": "x", "input_tokens": 1, "output_tokens": 1}]}, "give the work once"),
        ({"deferrable": [{**WORKLOAD["hours"]["deferrable"][0], "deadline_h": 0}]}, "deadline_h"),
        ({"deferrable": WORKLOAD["hours"]["deferrable"] * 2}, "one name"),
        ({"lode": [1.0] * 24}, "did you mean 'load'"),
    ],
)
def test_malformed_hours_are_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        plan(parse(with_hours(**changes)), rehearsal=None)


def test_spot_alone_or_unallowed_is_refused() -> None:
    for terms, said in ((["spot"], "spot alone"), (["on_demand"], "spot is not allowed")):
        document = {**with_hours(spot=RISK), "allow": {**WORKLOAD["allow"], "terms": terms}}
        with pytest.raises(FactError, match=said):
            plan(parse(document), rehearsal=None)


def test_hours_of_a_trace_need_all_hours_and_a_unit_stands_between_interruptions() -> None:
    with pytest.raises(FactError, match="leave out hour 1"):
        rates_by_hour(np.arange(0.0, 3600.0), 0, 0.95, 60.0)
    risk = SpotRisk(interruptions_per_h=1.0, outage_s=3600, source="a test")
    assert risk.standing == 0.5

"""Hours simulated by themselves: what interactive load can count on, raising, and what is told of it."""

from __future__ import annotations

import itertools
from dataclasses import replace
from io import StringIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Demand, Fleet, Goal, Market, SimulatedQuantile
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import plan
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.hour_rehearsal import (
    ROUNDS,
    dependable_units,
    headroom_factor,
    hour_rehearsal_notes,
    raise_hours_until_held,
)
from comptroller.planning.solve.day_freedoms import DayFreedom
from comptroller.report import hours
from comptroller.report.plan_page import page
from comptroller.report.terminal import print_plan
from comptroller.work.workload import parse
from hours_markets import USD, H, case_of, cheapest, day_of, market, shares
from test_planning_hours import RISK, with_hours, work

few = st.floats(0.3, 2.5).map(lambda x: round(x, 2))


@settings(max_examples=20, deadline=None)
@given(
    load=st.tuples(few, few),
    by_hour=st.tuples(*[st.floats(0.1, 1.0)] * H),
    factor=st.tuples(*[st.floats(1.0, 2.0)] * H),
    lost=st.sampled_from([0.0, 0.4, 0.5]),
)
def test_what_interactive_load_can_count_on_carries_it_as_it_was_sized(
    load: Any, by_hour: Any, factor: Any, lost: float
) -> None:
    of = replace(market(load, (1.0, 0.4), works=[load]), lost=np.array([0.0, lost]))
    asked = day_of(by_hour, [work([1, 0, 0], 2)], np.array(factor))
    day = cheapest(of, asked)
    plain = cheapest(of, replace(asked, factor=None))
    assert day.objective >= plain.objective * (1 - 1e-3)
    for h in range(H):
        units = dependable_units(of, asked, day, 0, h)
        needs = of.load[0, 0] * shares(day)[h]
        assert shares(day)[h].sum() == pytest.approx(asked.load[h] * asked.sizing[h] * day.share[h].sum())
        assert (units <= day.units[0][h]).all() and (needs <= units + 1e-6).all()
        assert headroom_factor(of, asked, day, 0, h) >= 1.0 - 1e-6


class Judge:
    """A trial that knows how much room every hour needs; an hour with less fails by a tenth."""

    def __init__(self, of: Market, needs: tuple[float, ...]) -> None:
        self.market, self.needs = of, needs

    def headroom(self, demand: Demand, day: Fleet, h: int) -> float:
        return headroom_factor(self.market, demand, day, 0, h)

    def seen(self, demand: Demand, day: Fleet, h: int) -> tuple[SimulatedQuantile, ...]:
        units = dependable_units(self.market, demand, day, 0, h)
        carried = float((units / self.market.load[0, 0]).sum()) / float(demand.load[h])
        upper = 0.9 if carried >= self.needs[h] else 1.1
        return (SimulatedQuantile(LatencyTarget("ttft_s", 0.95, 1.0), upper, upper),)


def one_day(of: Market, asked: Demand, goal: Goal = USD) -> DayFreedom:
    """A freedom of one market."""
    return DayFreedom("the day", case_of(of, asked, goal))


def test_only_hours_that_fail_are_raised_and_until_they_hold() -> None:
    of, asked = market((0.5,), (1.0,), (False,)), day_of([1.0, 2.0, 3.0])
    found = raise_hours_until_held(Judge(of, (1.0, 3.0, 1.0)), one_day(of, asked), cheapest(of, asked))
    assert not found.failed and found.day.units[0][:, 0].tolist() == [1, 3, 2]
    assert found.demand.sizing[[0, 2]].tolist() == [1.0, 1.0] and found.demand.sizing[1] > 1
    first = found.trial(1.1, 1)
    assert first is not None and first.holds and first.sized_for > 1.1
    assert any("1 of 3 were raised" in line for line in hour_rehearsal_notes(found, 1.0))


def test_hours_that_cannot_be_shown_are_named() -> None:
    of, asked = market((0.5,), (1.0,), (False,)), day_of([1.0, 2.0, 3.0])
    found = raise_hours_until_held(Judge(of, (1.0, np.inf, 1.0)), one_day(of, asked), cheapest(of, asked))
    assert found.failed == (1,) and any(
        f"within {ROUNDS} rounds: hours 01" in x for x in hour_rehearsal_notes(found, 1.0)
    )
    capped, goal = replace(of, takes={"cap a": np.ones(1)}), replace(USD, limits=(("cap a", 2.0),))
    day = one_day(capped, asked, goal)
    found = raise_hours_until_held(Judge(capped, (1.0, 9.0, 1.0)), day, cheapest(capped, asked, goal))
    assert found.failed == (1,) and "cap a" in found.why and found.day.units[0].sum() == 5


FEW = RehearsalSettings(draws=3)


@pytest.fixture(scope="module")
def planned() -> Plan:
    pytest.importorskip("numba")
    return plan(parse(with_hours(spot=RISK)), rehearsal=FEW)


@pytest.mark.slow
def test_every_hour_of_a_plan_is_simulated_and_holds_or_is_named(planned: Plan) -> None:
    day, most = planned.hours, 0.04
    assert day is not None and all(hour.tried is not None for hour in day.hours)
    for hour in day.hours:
        assert hour.tried is not None
        if hour.tried.holds:
            assert hour.tried.upper_s[0] is not None and hour.tried.upper_s[0] <= most * (1 + 1e-3)
        else:
            assert any(f"{hour.hour:02d}" in note for note in day.notes if "not shown" in note)
    bare = plan(parse(with_hours(spot=RISK)), rehearsal=None).hours
    assert bare is not None and all(hour.tried is None for hour in bare.hours)
    assert day.usd_per_day >= bare.usd_per_day * (1 - 1e-3)
    costs = [step.objective_per_day for step in day.steps if step.name != "every hour held in simulation"]
    assert all(later <= before * (1 + 1e-3) for before, later in itertools.pairwise(costs))
    assert Plan.model_validate_json(planned.to_json()) == planned


@pytest.mark.slow
def test_what_hours_are_sized_for_is_told(planned: Plan) -> None:
    told_ = StringIO()
    print_plan(planned, Console(file=told_, width=140))
    assert "sized for" in told_.getvalue() and "sized for" in page(planned)
    day = planned.hours
    assert day is not None and day.hours[0].tried is not None
    tried = day.hours[0].tried.model_copy(update={"holds": False})
    assert hours.sizing_text(tried).endswith("not shown")
    assert any("simulated at its own rate" in note for note in day.notes)


@pytest.mark.slow
def test_a_day_within_no_budget_is_still_refused(planned: Plan) -> None:
    document = {**with_hours(spot=RISK), "budget": {"max": 0.01, "unit": "USD/h"}}
    with pytest.raises(InfeasibleError):
        plan(parse(document), rehearsal=FEW)

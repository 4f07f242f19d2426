"""The bounded program of one hour against the whole one: the same optimum, whatever is left out before."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.highs import EXACT, solve
from comptroller.planning.ground.nouns import Demand, Goal, Market
from comptroller.planning.solve.bound import DualBound
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import fleet_of_units, optimum, within
from comptroller.planning.solve.program import pose


def market_of(rng: np.random.Generator, kind: str) -> Market:
    """A few deployments of one model, with two loads of each bucket."""
    buckets, columns = int(rng.integers(1, 4)), int(rng.integers(1, 6))
    load = np.stack([rng.random((buckets, columns)) + 0.05, rng.random((buckets, columns))])
    price = rng.random(columns) * 4 + 0.5
    energy, power = rng.random((buckets, columns)) * 3, rng.random(columns) + 0.1
    none = np.zeros(columns)
    return Market(
        rows=np.arange(columns),
        load=load,
        usd=price[None],
        grid=np.ones((1, columns)),
        idle_j=price,
        added_j=energy,
        added_usd=0 * energy,
        takes={"power": power} if kind == "limits" else {},
        all_day=np.zeros(columns, bool),
        standing=np.ones(columns),
        lost=none,
    )


def drawn(rng: np.random.Generator, kind: str) -> ProgramCase:
    """A small case: classes, options and models with whole units, and a goal of a kind."""
    classes, options, models = int(rng.integers(1, 4)), int(rng.integers(2, 9)), int(rng.integers(0, 4))
    weight = rng.dirichlet(np.ones(classes))
    markets, calls = {}, {}
    for model in range(models):
        market = market_of(rng, kind)
        shape = (classes, options, market.buckets)
        uses = (rng.random((1, options, 1)) < 0.5) & (rng.random(shape) < 0.6)
        if uses.any():
            markets[model], calls[model] = market, rng.integers(1, 4, shape) * uses
    score = rng.integers(0, 11, (classes, options)) / 10
    usd = rng.random((classes, options)) / 3600.0 * rng.integers(0, 3, (classes, options))
    reach = float(weight @ score.max(axis=1))
    names = ("",) if classes == 1 else tuple("abc"[:classes])
    goal = Goal(
        "j" if kind == "energy" else "usd",
        limits=(("power", 4.0),) if kind == "limits" else (),
        spare=int(kind == "spare"),
        quality=(("", reach * float(rng.uniform(0.3, 1.0)) - 1e-9),),
    )
    demand = Demand(float(rng.uniform(0.2, 4.0)), names, weight)
    return ProgramCase(demand, OptionTable(score, usd, calls), markets, goal)


def whole(case: ProgramCase) -> float:
    """The optimum of the whole program, infinite where there is none."""
    return solve(pose(case).program, EXACT).objective


KINDS = ("usd", "energy", "limits", "spare")


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(KINDS))
def test_the_bounded_optimum_is_that_of_the_whole_program(seed: int, kind: str) -> None:
    case = drawn(np.random.default_rng(seed), kind)
    least, found = whole(case), optimum(case)
    if found is None:
        assert np.isinf(least)
        return
    assert found.objective == pytest.approx(least, rel=1e-6, abs=1e-7)
    share = found.share[0]
    assert np.allclose(share.sum(axis=1), 1.0)
    solved = float(case.demand.weight @ (case.options.score * share).sum(axis=1))
    assert solved >= case.goal.quality[0][1] - 1e-6
    assert DualBound(case).least <= least * (1 + 1e-6) + 1e-7
    for more, so in ((1.001, True), (0.999, False)):
        if least > 1e-3:
            assert within(case, least * more) is so


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_the_units_of_an_optimum_hold_it_and_fewer_do_not_cost_less(seed: int) -> None:
    case = drawn(np.random.default_rng(seed), "usd")
    found = optimum(case)
    assert found is not None
    again = fleet_of_units(case, found.units)
    assert again is not None and again.objective == pytest.approx(found.objective, rel=1e-6, abs=1e-7)
    for model, count in found.units.items():
        for row in np.flatnonzero(count[0]):
            less = {**found.units, model: count - (np.arange(count.shape[1]) == row)}
            other = fleet_of_units(case, less)
            assert other is None or other.objective >= found.objective * (1 - 1e-6) - 1e-7

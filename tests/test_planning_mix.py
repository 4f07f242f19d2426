"""The mix of one hour: published example, enumeration, limits, spares, and errors that name what binds."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from comptroller.planning.ground.nouns import Demand, Fleet, Floats, Goal
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import fleet_of_units, optimum
from comptroller.planning.solve.infeasible import why_infeasible
from comptroller.planning.solve.program import pose
from hours_markets import USD, hour_market, hour_of

RATES = np.array([[2, 1, 5, 2], [20, 20, 40, 20]], float)
DEMAND = 30 * np.array([0.2, 0.1, 0.5, 0.2])
PRICE = np.array([1.01, 3.67])


def melange(goal: Goal = USD, load: Any = 1 / RATES.T, takes: dict[str, Any] | None = None) -> ProgramCase:
    """Mélange's own example: sizes on an A10G and on an A100-80GB (melange/config/example.json)."""
    return hour_of(hour_market(load, PRICE, takes=takes), DEMAND, goal)


def found(case: ProgramCase) -> Fleet:
    fleet = optimum(case)
    assert fleet is not None
    return fleet


def shares(case: ProgramCase, fleet: Fleet) -> Floats:
    """(sizes, j), of each size."""
    rate = case.demand.rate_per_s * case.options.calls[0][0, 0]
    return np.asarray(fleet.calls_per_s[0][0] / rate[:, None])


def of_kinds(shut: Any = None) -> ProgramCase:
    """The same with every size a class, and either device an option: a share of a class is what a device serves."""
    calls = {kind: np.zeros((4, 2, 4)) for kind in (0, 1)}
    for kind, size in np.ndindex(2, 4):
        calls[kind][size, kind, size] = 1.0
    options = OptionTable(np.ones((4, 2)), np.zeros((4, 2)), calls, None if shut is None else np.array(shut, bool))
    demand = Demand(float(DEMAND.sum()), ("a", "b", "c", "d"), DEMAND / DEMAND.sum())
    markets = {kind: hour_market(1 / RATES[[kind]].T, PRICE[[kind]]) for kind in (0, 1)}
    return ProgramCase(demand, options, markets, USD)


def test_melange_readme_example() -> None:
    """Mélange's own optimum where no size is split: 3 A10G + 1 A100-80GB at $6.70/h."""
    whole = [found(of_kinds(np.eye(2)[list(kinds)])) for kinds in itertools.product((0, 1), repeat=4)]
    best = min(whole, key=lambda fleet: fleet.objective)
    assert [best.units[kind].item() for kind in (0, 1)] == [3, 1]
    assert best.objective == pytest.approx(6.70)


def test_splitting_a_size_never_costs_more() -> None:
    split = found(melange())
    assert split.objective == pytest.approx(4.68) == pytest.approx(found(of_kinds()).objective)
    three_and_one = fleet_of_units(melange(), {0: np.array([[3, 1]])})
    assert three_and_one is not None and split.objective <= three_and_one.objective == pytest.approx(6.70)


def test_spares_are_added_to_every_candidate_in_use() -> None:
    plain, spared = found(melange()), found(melange(Goal("usd", spare=1)))
    need = (DEMAND[:, None] / RATES.T * shares(melange(), spared)).sum(axis=0)
    used = need > 1e-9
    assert used.any() and (spared.units[0][0, used] >= np.ceil(need[used] - 1e-6) + 1).all()
    assert spared.objective > plain.objective


def test_a_limit_is_held_and_an_impossible_one_is_named() -> None:
    chosen = found(melange(Goal("usd", limits=(("cap a100", 0.0),)), takes={"cap a100": [0.0, 1.0]}))
    assert chosen.units[0][0, 1] == 0
    impossible = melange(Goal("usd", limits=(("budget", 2.0),)), takes={"budget": PRICE})
    assert optimum(impossible) is None
    assert "budget (at most 2 USD/h, needs 4.68)" in why_infeasible(impossible, pose(impossible))


def test_a_size_that_fits_nowhere_is_named() -> None:
    load = 1 / RATES.T
    load[2] = np.inf
    assert optimum(melange(load=load)) is None
    assert "carries the interactive load" in why_infeasible(melange(load=load), pose(melange(load=load)))


def test_balancing_keeps_the_fleet_and_lowers_the_busiest() -> None:
    case = hour_of(hour_market([[0.6, 0.5], [0.6, 0.7]], [1.0, 1.1]), [1.0, 1.0])
    even = fleet_of_units(case, {0: np.array([[1, 1]])})
    assert even is not None and even.units[0].tolist() == [[1, 1]] and even.objective == pytest.approx(2.1)
    share = shares(case, even)
    assert share.sum(axis=1) == pytest.approx(1.0)
    brim = np.array([[1.0, 0.0], [0.6, 0.4]])
    busiest = [(case.markets[0].load[0] * part).sum(axis=0).max() for part in (brim, share)]
    assert busiest[1] < busiest[0] and np.isclose(*(case.markets[0].load[0] * share).sum(axis=0))


@dataclass(frozen=True)
class Mix:
    """Loads (sizes, j) of one request per second of each size, further loads, prices, energy, most units."""

    load: Floats
    price: Floats
    also: tuple[Floats, ...] = ()
    energy: Floats | None = None
    most: float = np.inf
    spare: int = 0

    @property
    def case(self) -> ProgramCase:
        limits = (("cap", self.most),) if np.isfinite(self.most) else ()
        takes = {"cap": np.ones(len(self.price))} if limits else {}
        of = hour_market(self.load, self.price, self.also, self.energy, takes)
        return hour_of(of, np.ones(len(self.load)), Goal("usd", limits=limits, spare=self.spare))


def brute_force(mix: Mix) -> float:
    """Every number of units, the cheapest first, with the cheapest shares that they carry."""
    fits = np.isfinite(mix.load)
    if not fits.any(axis=1).all():
        return np.inf
    loads = [np.where(fits, load, 0.0) for load in (mix.load, *mix.also)]
    sizes, kinds = mix.load.shape
    energy = np.zeros(mix.load.shape) if mix.energy is None else mix.energy
    serve = np.kron(np.eye(sizes), np.ones(kinds))
    carry = np.vstack([np.hstack([np.diag(row) for row in load]) for load in loads])
    most = [int(np.ceil(max(load[:, j].sum() for load in loads))) + mix.spare for j in range(kinds)]
    every = [np.array(units) for units in itertools.product(*(range(n + 1) for n in most)) if sum(units) <= mix.most]
    best = np.inf
    for units in sorted(every, key=lambda units: float(mix.price @ units)):
        price = float(mix.price @ units)
        if price >= best:
            break
        room = np.tile(np.maximum(units - mix.spare, 0), len(loads))
        bounds = [(0, 1 if fit else 0) for fit in fits.ravel()]
        tried = linprog(energy.ravel(), carry, room, serve, np.ones(sizes), bounds)
        if tried.status == 0:
            best = min(best, price + tried.fun)
    return best


@st.composite
def mixes(draw: st.DrawFn) -> Mix:
    sizes, kinds = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    load = rng.uniform(0.05, 1.5, (sizes, kinds))
    load[rng.uniform(size=load.shape) < 0.15] = np.inf
    load[:, 0] = rng.uniform(0.05, 1.5, sizes)
    also = (np.where(np.isfinite(load), rng.uniform(0.0, 1.2, load.shape), np.inf),)
    return Mix(
        load,
        rng.uniform(0.5, 5.0, kinds),
        also if draw(st.booleans()) else (),
        rng.uniform(0.0, 1.0, load.shape) if draw(st.booleans()) else None,
        float(draw(st.integers(1, 6))) if draw(st.booleans()) else np.inf,
        draw(st.integers(0, 1)),
    )


@settings(max_examples=80, deadline=None)
@given(mixes())
def test_an_hour_agrees_with_every_number_of_units(mix: Mix) -> None:
    truth, fleet = brute_force(mix), optimum(mix.case)
    if np.isinf(truth):
        assert fleet is None
    else:
        assert fleet is not None and fleet.objective == pytest.approx(truth, rel=1e-6)


@settings(max_examples=60, deadline=None)
@given(mixes())
def test_an_hour_is_feasible_and_within_that_of_whole_sizes(mix: Mix) -> None:
    fleet, whole = optimum(mix.case), whole_sizes(mix)
    if fleet is None:
        assert np.isinf(whole)
        return
    assert fleet.objective <= whole * (1 + 1e-9)
    share = shares(mix.case, fleet)
    assert share.sum(axis=1) == pytest.approx(1.0)
    for load in (mix.load, *mix.also):
        carried = np.where(share > 0, np.where(np.isfinite(load), load, 0.0), 0.0) * share
        assert (share[~np.isfinite(load)] == 0).all()
        assert (carried.sum(axis=0) <= fleet.units[0][0] - mix.spare * share.any(axis=0) + 1e-6).all()
    assert fleet.bound <= fleet.objective * (1 + 1e-6)


def whole_sizes(mix: Mix) -> float:
    """Every assignment of whole sizes to kinds, units rounded up, limits checked."""
    sizes, kinds = mix.load.shape
    best = np.inf
    for assigned in itertools.product(range(kinds), repeat=sizes):
        used = np.zeros((1 + len(mix.also), kinds))
        for i, j in enumerate(assigned):
            used[:, j] += [load[i, j] for load in (mix.load, *mix.also)]
        if np.isfinite(used).all():
            count = np.ceil(used.max(axis=0) - 1e-9) + mix.spare * np.isin(range(kinds), assigned)
            extra = 0.0 if mix.energy is None else sum(mix.energy[i, j] for i, j in enumerate(assigned))
            if count.sum() <= mix.most:
                best = min(best, float(mix.price @ count) + extra)
    return best

"""One program: an hour of requests is the textbook program, with options as with one, and a day of one hour is it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import Bounds, LinearConstraint, milp

from comptroller.highs import EXACT, solve
from comptroller.planning.ground.limit_names import OBJECTIVES
from comptroller.planning.ground.nouns import Demand, Floats, Goal, Market
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import cheapest_day, optimum
from comptroller.planning.solve.program import pose
from hours_markets import hour_market, hour_of

SEEDS = range(60)


def textbook(of: Market, rates: Floats, goal: Goal) -> float:
    """minimise sum_j p_j u_j + sum_ij e_ij r_i x_ij, every size i on devices j, by a solver of its own.

    sum_j x_ij = 1,  sum_i l_ij r_i x_ij <= u_j - s z_j for both loads l,  x_ij <= z_j,  sum_j k_j u_j <= most;
    u whole, z binary. The columns are x by size, u, z.
    """
    sizes, kinds = of.load.shape[1:]
    per_unit = {"usd": of.usd[0], "j": of.idle_j, "gco2e": of.idle_j * of.grid[0]}[goal.objective]
    per_load = {"usd": of.added_usd, "j": of.added_j, "gco2e": of.added_j * of.grid[0]}[goal.objective]
    fits = np.isfinite(of.load).all(axis=0)
    asked = np.repeat(rates, kinds)
    cost = np.concatenate([np.where(fits, per_load, 0.0).ravel() * asked, per_unit, np.zeros(kinds)])
    one, nothing = np.eye(kinds), np.zeros((kinds, kinds))
    rows = [(np.hstack([np.kron(np.eye(sizes), np.ones(kinds)), np.zeros((sizes, 2 * kinds))]), 1.0, 1.0)]
    for load in of.load:
        carried = np.hstack([np.diag(row) for row in np.where(fits, load, 0.0)]) * asked
        rows.append((np.hstack([carried, -one, goal.spare * one]), -np.inf, 0.0))
    for size in range(sizes):
        used = np.hstack([one if other == size else nothing for other in range(sizes)])
        rows.append((np.hstack([used, nothing, -one]), -np.inf, 0.0))
    for name, most in goal.limits:
        taken = np.concatenate([np.zeros(sizes * kinds), of.takes[name], np.zeros(kinds)])
        rows.append((taken[None], -np.inf, most))
    upper = np.concatenate([fits.ravel().astype(float), np.full(kinds, 60.0), np.ones(kinds)])
    whole = np.concatenate([np.zeros(sizes * kinds), np.ones(2 * kinds)])
    constraints = [LinearConstraint(*row) for row in rows]
    solved = milp(cost, integrality=whole, bounds=Bounds(0, upper), constraints=constraints,
                  options={"mip_rel_gap": 0.0})  # fmt: skip
    return float(solved.fun) if solved.status == 0 else np.inf


def drawn(seed: int) -> tuple[Market, Floats, Goal]:
    """A market of one to four devices for one to five sizes, with energy, and a goal."""
    rng = np.random.default_rng(seed)
    sizes, kinds = int(rng.integers(1, 6)), int(rng.integers(1, 5))
    load = rng.uniform(0.05, 1.2, (sizes, kinds))
    load[rng.uniform(size=load.shape) < 0.1] = np.inf
    also = np.where(np.isfinite(load), rng.uniform(0.0, 1.0, load.shape), np.inf)
    takes = {"power": rng.uniform(0.5, 2.0, kinds), "cap a": np.eye(kinds)[0]}
    of = hour_market(load, rng.uniform(0.5, 5.0, kinds), (also,), rng.uniform(0.0, 0.4, load.shape), takes)
    of = replace(
        of,
        grid=rng.uniform(0.5, 2.0, (1, kinds)),
        idle_j=rng.uniform(0.5, 3.0, kinds),
        added_j=rng.uniform(0.0, 1.0, load.shape),
        added_usd=of.added_usd * rng.integers(0, 2),
    )
    bounds = (("power", float(rng.uniform(1.0, 8.0))), ("cap a", float(rng.integers(0, 4))))
    limits = tuple(limit for limit in bounds if rng.uniform() < 0.4)
    return of, rng.uniform(0.2, 1.5, sizes), Goal(OBJECTIVES[seed % 3], limits=limits, spare=int(rng.integers(0, 3)))


@pytest.mark.parametrize("seed", SEEDS)
def test_an_hour_of_requests_is_the_textbook_program(seed: int) -> None:
    of, rates, goal = drawn(seed)
    case, truth = hour_of(of, rates, goal), textbook(of, rates, goal)
    bare = solve(pose(case).program, EXACT)
    fleet = optimum(case)
    if np.isinf(truth):
        assert fleet is None and bare.values is None
        return
    assert bare.objective == pytest.approx(truth, rel=1e-9, abs=1e-9)
    assert fleet is not None and fleet.objective == pytest.approx(truth, rel=1e-9, abs=1e-9)
    assert fleet.total[goal.objective].sum() == pytest.approx(truth, rel=1e-9, abs=1e-9)
    assert fleet.calls_per_s[0][0].sum(axis=1) == pytest.approx(rates, rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_day_of_one_hour_is_the_hour(seed: int) -> None:
    case = hour_of(*drawn(seed))
    fleet = optimum(case)
    if fleet is None:
        return
    day = cheapest_day(case)
    assert day.bound <= fleet.objective * (1 + 1e-9) <= day.objective * (1 + 2e-9)
    assert day.objective == pytest.approx(fleet.objective, rel=5e-4), "the gap of a day"
    assert day.calls_per_s[0].sum(axis=2) == pytest.approx(fleet.calls_per_s[0].sum(axis=2), rel=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_sizes_as_classes_with_one_option_each_are_the_same_program(seed: int) -> None:
    """Whether the sizes are buckets of one class or classes of one bucket, the fleet costs the same."""
    of, rates, goal = drawn(seed)
    one, sizes = optimum(hour_of(of, rates, goal)), len(rates)
    calls = np.eye(sizes)[:, None, :]
    options = OptionTable(np.ones((sizes, 1)), np.zeros((sizes, 1)), {0: calls})
    names = tuple(map(str, range(sizes)))
    demand = replace(hour_of(of, rates).demand, classes=names, weight=rates / rates.sum())
    other = optimum(ProgramCase(demand, options, {0: of}, goal))
    assert (one is None) == (other is None)
    if one is not None and other is not None:
        assert other.objective == pytest.approx(one.objective, rel=1e-9, abs=1e-9)


def test_an_option_whose_calls_nothing_carries_is_not_taken() -> None:
    of, calls = hour_market([[0.5], [np.inf]], [3.0]), np.eye(2)[None]
    options = OptionTable(np.array([[0.5, 1.0]]), np.zeros((1, 2)), {0: calls})
    fleet = optimum(ProgramCase(Demand(1.0), options, {0: of}, Goal("usd")))
    assert fleet is not None and fleet.share[0, 0].tolist() == [1.0, 0.0] and fleet.objective == pytest.approx(3.0)

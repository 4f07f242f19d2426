"""The search: exact pruning, targets that bind, caps and budgets, objectives other than dollars."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from comptroller.errors import InfeasibleError
from comptroller.highs import EXACT, solve
from comptroller.planning.ground.nouns import Fleet, Goal
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.offer.requests import ANYBODY
from comptroller.planning.reasons.shadow_prices import constraints, shadow_price
from comptroller.planning.solve.balance import one_kind_units
from comptroller.planning.solve.cheapest import fleet_of_units, optimum
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.infeasible import constraints_of, minimal_conflict, solve_or_explain
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.program import pose
from comptroller.work.workload import parse
from comptroller_lab.baseline import BaselineCalibration
from hours_markets import hour_market, hour_of

SMALL = {
    "name": "small",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 12.0,
    "lengths": {
        "input": {"median": 600, "mean": 900, "most": 6000},
        "output": {"median": 150, "mean": 200, "most": 900},
    },
    "objectives": {"tpot": {"p": 95.0, "max": 40.0, "unit": "ms"}, "ttft": {"p": 95.0, "max": 800.0, "unit": "ms"}},
    "allow": {"sites": ["us_neocloud"], "accelerators": ["h100_sxm", "l4", "a10g", "a100_80_sxm", "l40s"]},
}


@cache
def problem() -> PlanningProblem:
    return pose_problem(parse(SMALL), BaselineCalibration.shipped())


def offers() -> DeploymentOffers:
    return problem().space.offers[ANYBODY]


def test_pruning_keeps_the_optimum() -> None:
    """Neither dominance nor bounds move it: the whole program over every deployment costs the same."""
    asked = problem()
    pruned = asked.search.solve(asked.goal)
    case, _ = asked.search.case(asked.goal)
    whole = offers().market(case.goal)
    whole = whole.only(np.flatnonzero(whole.fits.all(axis=0)))
    full = solve(pose(case.with_markets({ANYBODY: whole})).program, EXACT)
    assert pruned.considered < len(case.markets[ANYBODY].rows) < len(whole.rows)
    assert full.values is not None and pruned.objective == pytest.approx(full.objective, rel=1e-9)


def test_equal_cost_prefers_one_kind_of_replica() -> None:
    case = hour_of(hour_market([[1.0, 1.0], [1.0, 1.0]], [2.0, 2.0]), [1.0, 1.0])
    best = optimum(case)
    assert best is not None and best.objective == pytest.approx(4.0)
    assert np.count_nonzero(best.units[0]) == 1
    one = one_kind_units(case, 4.0)
    assert one is not None and np.count_nonzero(one[0]) == 1 and one[0].sum() == 2
    dear = hour_of(hour_market([[1.0, 3.0], [3.0, 1.0]], [2.0, 2.0]), [1.0, 1.0])
    best = optimum(dear)
    assert one_kind_units(dear, 4.0) is None
    assert best is not None and best.units[0].tolist() == [[1, 1]] and best.objective == pytest.approx(4.0)
    same = fleet_of_units(dear, {0: np.array([[1, 1]])})
    assert same is not None and np.allclose(same.calls_per_s[0][0], np.eye(2))


def test_every_size_is_served_once_and_capacity_holds() -> None:
    asked = problem()
    fleet = asked.search.solve(asked.goal)
    carried = fleet.calls_per_s[ANYBODY][0].T
    assert carried.sum(axis=0) == pytest.approx(offers().table.load.rate_per_s, rel=1e-6)
    rate, _ = offers().table.best(asked.goal.targets)
    with np.errstate(divide="ignore", invalid="ignore"):
        usage = np.where(carried > 0, carried / rate, 0.0).sum(axis=1)
    assert (usage <= fleet.units[ANYBODY][0] * offers().unit.replicas + 1e-6).all()


def test_cost_grows_with_demand_and_with_tighter_targets() -> None:
    asked = problem()
    cost = [asked.search.solve(replace(asked.goal, demand=x)).objective for x in (0.5, 1.0, 2.0, 4.0)]
    assert cost == sorted(cost)
    looser = tuple(replace(t, most_s=t.most_s * 2) for t in asked.goal.targets)
    assert asked.search.solve(replace(asked.goal, targets=looser)).objective <= cost[1] * (1 + 1e-9)


def test_an_infeasible_target_names_the_closest_feasible_value() -> None:
    asked = problem()
    targets = tuple(replace(t, most_s=1e-5) if t.quantity == "tpot_s" else t for t in asked.goal.targets)
    with pytest.raises(
        InfeasibleError, match=r"TPOT p95 <= 0\.01 ms binds; the closest feasible value is [\d.]+ ms"
    ) as caught:
        asked.search.solve(replace(asked.goal, targets=targets))
    value_ms = float(str(caught.value).split("closest feasible value is ")[1].split(" ms")[0])
    nearly = tuple(replace(t, most_s=value_ms * 1.001e-3) if t.quantity == "tpot_s" else t for t in asked.goal.targets)
    assert asked.search.solve(replace(asked.goal, targets=nearly)).objective > 0


def devices(fleet: Fleet) -> list[str]:
    """Accelerators that a fleet rents, in the order of the deployments."""
    return [offers().deployments[row].replica.device.id for row in np.flatnonzero(fleet.units[ANYBODY][0])]


def test_caps_and_budget_hold_and_are_named_when_they_cannot() -> None:
    asked = problem()
    best = asked.search.solve(asked.goal)
    (used, *_) = devices(best)
    capped = asked.search.solve(replace(asked.goal, limits=((f"cap {used}", 0.0),)))
    assert devices(capped) and used not in devices(capped)
    with pytest.raises(InfeasibleError, match=r"budget \(at most 0\.1 USD/h, needs"):
        asked.search.solve(replace(asked.goal, limits=(("budget", 0.1),)))


def test_the_minimal_conflicting_set_is_irreducible() -> None:
    asked = problem()
    best = asked.search.solve(asked.goal)
    price = float(offers().unit.usd_per_h @ best.units[ANYBODY][0])
    (device, *_) = devices(best)
    tight = replace(asked.goal, limits=(("budget", price), (f"cap {device}", 0.0), ("power", 1e9)))
    named = minimal_conflict(asked.search, tight)
    assert "power <= 1e+09 W" not in named and len(named) >= 2
    dropped = dict(constraints_of(tight))
    with pytest.raises(InfeasibleError, match="these cannot hold together") as raised:
        solve_or_explain(asked.search, tight)
    assert all(name in str(raised.value) for name in named)
    for name in named:
        kept = tight
        for other, drop in dropped.items():
            kept = drop(kept) if other not in named or other == name else kept
        assert asked.search.solve(kept).objective > 0


def test_power_and_carbon_are_held_at_full_load() -> None:
    asked = problem()
    best = asked.search.solve(asked.goal)
    _, column = offers().table.best(asked.goal.targets)
    for name in ("power", "carbon"):
        taken = offers().takes(name, column)
        most = 0.9 * float(taken @ best.units[ANYBODY][0])
        try:
            held = asked.search.solve(replace(asked.goal, limits=((name, most),)))
        except InfeasibleError as error:
            assert f"{name} (at most" in str(error)
        else:
            assert float(taken @ held.units[ANYBODY][0]) <= most * (1 + 1e-9)
            assert held.objective >= best.objective
    grams = offers().takes("carbon", column) / offers().takes("power", column)
    assert np.allclose(grams, grams[0])


def test_other_objectives_find_fleets_that_spend_less_of_them() -> None:
    asked = problem()
    fleets = {name: asked.search.solve(replace(asked.goal, objective=name)) for name in ("usd", "j", "gco2e")}
    price = {name: usd_per_h(asked.search, fleet) for name, fleet in fleets.items()}
    assert price["usd"] <= price["j"] + 1e-9
    assert fleets["j"].objective < 1e9 and fleets["gco2e"].objective > 0


def test_a_shadow_price_is_a_real_breakpoint() -> None:
    asked = problem()
    best = asked.search.solve(asked.goal)
    for constraint in constraints(asked.goal):
        price = shadow_price(asked.search, asked.goal, best, constraint, str)
        for side in (price.relaxed, price.tightened):
            if side is None or side.change_per_h is None:
                continue
            moved = asked.search.solve(constraint.moved(side.value * constraint.scale))
            assert moved.objective - best.objective == pytest.approx(side.change_per_h, rel=1e-3, abs=1e-4)
            between = constraint.value + (side.value * constraint.scale - constraint.value) * 0.5
            unchanged = asked.search.solve(constraint.moved(between)).objective
            assert unchanged == pytest.approx(best.objective, rel=1e-5)


@dataclass(frozen=True)
class Sloped:
    """An optimum that costs as much as a convex function of the demand says."""

    objective: float


class Convex:
    """Costs 10 an hour at demand 1, 4 for each unit more up to 1.5 and 9 beyond, 3 for each less down to 0.6."""

    def solve(self, goal: Goal) -> Sloped:
        knots = ([0.0, 0.6, 1.0, 1.5, 9.0], [8.0, 8.8, 10.0, 12.0, 79.5])
        return Sloped(float(np.interp(goal.demand, *knots)))

    def within(self, goal: Goal, most: float) -> bool:
        return self.solve(goal).objective <= most

    def held(self, found: Sloped, goal: Goal) -> Sloped | None:
        return None


def test_an_even_price_is_told_with_the_range_in_which_it_holds() -> None:
    goal, search = Goal("usd", ()), Convex()
    (constraint,) = constraints(goal)
    price = shadow_price(search, goal, search.solve(goal), constraint, str)
    assert price.relaxed and price.tightened
    assert (price.relaxed.per_unit, price.tightened.per_unit) == pytest.approx((3.0, 4.0), rel=1e-6)
    assert price.relaxed.value == pytest.approx(0.6, abs=0.01)
    assert price.tightened.value == pytest.approx(1.5, abs=0.01)
    assert price.tightened.change_per_h == pytest.approx(4.0 * (price.tightened.value - 1.0), rel=0.01)
    assert "$4.00 for each x all the way" in price.sentence

"""What evidence supports: scores shrunk, frontiers of ways, freedom by cross-fitting, targets that hold elsewhere."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from comptroller.errors import InfeasibleError, InputError
from comptroller.planning.ground.way_freedom import WayFreedom
from comptroller.planning.risk.confidence import way_outcomes, with_supported_ways
from comptroller.planning.risk.cross_fit import WayOutcomes, cheapest_of, curves_of, folds_of
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.shrinkage import own_weight, shrunk
from comptroller.planning.solve.way_frontiers import WayTable, shares_at
from joint_problems import posed, recorded_in, workload

CONFIDENCE = 0.8


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeded evidence as a file."""
    return recorded_in(tmp_path_factory.mktemp("support"))


@pytest.fixture(scope="module")
def problem(recorded: Path) -> PlanningProblem:
    return posed(workload(recorded, 50.0))


def drawn_table(seed: int, floors: bool = False) -> WayTable:
    rng = np.random.default_rng(seed)
    weight = rng.dirichlet(np.ones(3))
    floor = np.array([0.3, 0.0, 0.2]) if floors else np.zeros(3)
    return WayTable(rng.uniform(1, 9, (3, 5)) * weight[:, None], rng.uniform(0.3, 0.9, (3, 5)), weight, floor)


@given(st.integers(0, 10_000), st.booleans())
@settings(max_examples=15, deadline=None)
def test_mixes_cost_what_the_linear_program_says(seed: int, floors: bool) -> None:
    table = drawn_table(seed, floors)
    most = float(table.weight @ table.score.max(axis=1))
    aims = np.linspace(0.4, most, 5)
    for aim, share in zip(aims, shares_at(table, WayFreedom.MIX_EACH, aims), strict=True):
        solve = -(table.weight[:, None] * table.score).ravel()[None]
        least = -np.kron(np.eye(3), np.ones(5)) * table.score.ravel()
        found = linprog(
            table.cost.ravel(),
            A_ub=np.concatenate([solve, least]),
            b_ub=np.concatenate([[-aim + 1e-9], -table.floor]),
            A_eq=np.kron(np.eye(3), np.ones(5)),
            b_eq=np.ones(3),
        )
        assert (share * table.cost).sum() == pytest.approx(found.fun, rel=1e-5)
        assert share.sum(axis=1) == pytest.approx(np.ones(3))


@given(st.integers(0, 10_000), st.floats(0.4, 0.7))
@settings(max_examples=15, deadline=None)
def test_one_way_each_is_the_cheapest_of_all_there_are(seed: int, aim: float) -> None:
    table = drawn_table(seed)
    every = [
        (sum(float(table.cost[c, o]) for c, o in enumerate(ways)), ways)
        for ways in product(range(5), repeat=3)
        if sum(float(table.weight[c] * table.score[c, o]) for c, o in enumerate(ways)) >= aim
    ]
    (share,) = shares_at(table, WayFreedom.WAY_EACH, np.array([aim]))
    if every:
        assert (share * table.cost).sum() == pytest.approx(min(every)[0], rel=1e-3)
    (same,) = shares_at(table, WayFreedom.ONE_WAY, np.array([aim]))
    assert (same == same[0]).all() and same.sum() == 3.0 and set(np.unique(same)) == {0.0, 1.0}


def test_what_a_class_shows_counts_for_as_much_as_it_tells_of_other_questions() -> None:
    rng = np.random.default_rng(4)
    task = np.arange(240) % 3
    weight = np.ones(3) / 3
    apart = rng.uniform(-0.4, 0.4, (3, 20))
    alike, unlike = (
        (rng.random((240, 20)) < np.linspace(0.4, 0.6, 20) + of_class[task]).astype(float)
        for of_class in (np.zeros((3, 20)), apart)
    )
    fold = folds_of(task, rng)
    assert own_weight(alike, task, weight, fold) < 0.25
    assert own_weight(unlike, task, weight, fold) > 0.8
    score = np.stack([unlike[task == number].mean(axis=0) for number in range(3)])
    assert shrunk(score, weight, 1.0) is score
    assert weight @ shrunk(score, weight, 0.0) == pytest.approx(weight @ score)


@pytest.mark.parametrize("ways", list(WayFreedom))
def test_a_fleet_keeps_to_its_freedom(problem: PlanningProblem, ways: WayFreedom) -> None:
    goal = replace(problem.goal, quality=(("", 0.6),), ways=ways)
    best = problem.search.solve(goal)
    share = best.share[0]
    assert best.solved >= 0.6 - 1e-9
    if ways.same:
        assert np.allclose(share, share[0], atol=1e-7)
    if ways.whole:
        assert set(np.unique(share)) == {0.0, 1.0}
    assert best.objective >= problem.search.solve(replace(goal, ways=WayFreedom.MIX_EACH)).objective - 1e-6


def test_more_freedom_is_never_dearer_at_one_aim(problem: PlanningProblem) -> None:
    one, mix, each, full = (
        problem.search.solve(replace(problem.goal, quality=(("", 0.62),), ways=ways)).objective for ways in WayFreedom
    )
    assert full <= min(mix, each) + 1e-6 <= max(mix, each) + 1e-6 <= one + 2e-6


def world(seed: int, apart: float) -> tuple[WayOutcomes, np.ndarray, np.ndarray]:
    """Outcomes of 24 ways on 240 questions of three classes, with the true chances and costs of every class.

    apart: how much classes differ in which way is good.
    """
    rng = np.random.default_rng(seed)
    task, weight = np.arange(240) % 3, np.ones(3) / 3
    cost = np.exp(rng.uniform(0.0, 3.5, 24))
    base = 0.45 + 0.12 * np.log(cost)
    chance = np.clip(base + rng.normal(0.0, 0.03, 24) + apart * rng.normal(0.0, 1.0, (3, 24)), 0.02, 0.98)
    score = (rng.random((240, 24)) < chance[task]).astype(float)
    spent = np.tile(cost, (240, 1)) * rng.lognormal(-0.02, 0.2, (240, 1))
    return WayOutcomes(score, spent, task, weight, np.zeros(3)), chance, np.tile(cost, (3, 1))


def own_part(found: WayOutcomes) -> float:
    """What a class says for itself counts for so much."""
    return own_weight(found.score, found.task, found.weight, folds_of(found.task, np.random.default_rng(1)))


def planned(
    found: WayOutcomes, least: float, freedoms: tuple[WayFreedom, ...], confidence: float = CONFIDENCE
) -> tuple[np.ndarray, float]:
    """The shares that a choice on all the evidence comes to, and the share of questions that it tells."""
    own = own_part(found)
    curves = curves_of(found, least, own, np.random.default_rng(0), freedoms)
    taken = cheapest_of(found, curves, confidence, np.concatenate([[least], found.floor]))
    assert taken is not None
    curve, place = taken
    share = shares_at(found.whole_table(own), curve.ways, np.maximum(curve.aims[place : place + 1], least))[0]
    recorded = float(found.weight @ (share * found.whole_scores).sum(axis=1))
    return share, min(float(curve.bound(confidence)[place, 0]), recorded)


TARGET = 0.7


ONE, ALL = (WayFreedom.ONE_WAY,), tuple(WayFreedom)
ROUNDED = 1e-4


@pytest.mark.parametrize(("apart", "saved"), [(0.0, 0.0), (0.15, 0.15)])
def test_the_joint_choice_is_never_worse_elsewhere_than_one_way_for_all(apart: float, saved: float) -> None:
    judged: dict[str, list[tuple[float, float]]] = {"joint": [], "one": [], "as much": []}
    for seed in range(8):
        found, chance, cost = world(seed, apart)
        one, told = planned(found, TARGET, ONE)
        plans = {"one": one, "joint": planned(found, TARGET, ALL)[0], "as much": planned(found, told - ROUNDED, ALL)[0]}
        for name, share in plans.items():
            judged[name].append(((share * cost).sum() / 3, float((share * chance).sum() / 3)))
    usd, solved = {}, {}
    for name, each in judged.items():
        usd[name], solved[name] = np.mean(each, axis=0).tolist()
    assert usd["joint"] <= usd["one"] * (1 - saved) * 1.01
    assert usd["as much"] <= usd["one"] * 1.01
    assert solved["joint"] >= TARGET
    assert np.mean([share >= TARGET for _, share in judged["joint"]]) >= 0.75


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.05, 0.15]), st.sampled_from([0.5, CONFIDENCE]))
@settings(max_examples=10, deadline=None)
def test_asked_for_what_one_way_tells_the_choice_is_that_way_or_costs_less(
    seed: int, apart: float, confidence: float
) -> None:
    found, *_ = world(seed, apart)
    one, told = planned(found, TARGET, ONE, confidence)
    assert np.array_equal(planned(found, told - ROUNDED, ONE, confidence)[0], one)
    curves = curves_of(found, told - ROUNDED, own_part(found), np.random.default_rng(0))
    least = np.concatenate([[told - ROUNDED], found.floor])
    simple, joint = (cheapest_of(found, some, confidence, least) for some in (curves[:1], curves))
    assert simple is not None and joint is not None
    assert joint[0].ways is WayFreedom.ONE_WAY or joint[0].cost[joint[1]] < simple[0].cost[simple[1]]


def test_a_target_beyond_the_evidence_says_what_it_supports_and_how_many_questions_would(recorded: Path) -> None:
    sure = posed(workload(recorded, 70.0, quality={"confidence": 0.95}))
    with pytest.raises(InfeasibleError, match=r"12 questions support [\d.]+% at most; .*questions"):
        with_supported_ways(sure)


def test_the_plan_says_which_freedom_the_evidence_supports(problem: PlanningProblem) -> None:
    found = with_supported_ways(problem)
    assert found.support is not None and found.optimism is not None
    assert found.support.ways in found.support.sentence or "recorded questions alone" in found.support.sentence
    assert found.goal.quality[0][1] >= 0.5 and found.support.ways.startswith(found.goal.ways.label)
    assert {ways.label for ways in WayFreedom} <= {one.ways for one in found.support.tried}
    assert with_supported_ways(problem).support == found.support


def test_calls_of_own_devices_cost_what_full_units_do(problem: PlanningProblem) -> None:
    found = way_outcomes(problem.search, problem.goal)
    assert found is not None and (found.cost > 0).all()
    best = problem.search.solve(replace(problem.goal, quality=(("", 0.6),)))
    mean = np.stack([found.cost[rows].mean(axis=0) for rows in found.rows_by_class(np.ones(len(found.task), bool))])
    share = shares_at(
        WayTable(mean * found.weight[:, None], found.whole_scores, found.weight, found.floor),
        WayFreedom.MIX_EACH,
        np.array([0.6]),
    )[0]
    assert (share * mean * found.weight[:, None]).sum() <= best.objective * (1 + 1e-6)


def test_declared_prices_buy_what_is_recorded_without_dollars(recorded: Path) -> None:
    prices = {"small": {"input": 1.0, "output": 2.0}}
    told = posed(workload(recorded, 50.0, quality={"prices": prices, "routes": ["api"]}))
    alone = next(o for o in told.space.options if o.play.strategy == "once" and o.axes["model"] == frozenset({"small"}))
    calls = alone.play.calls
    assert alone.usd(told.space.questions).sum() == pytest.approx(
        float((calls.input_tokens + 2.0 * calls.output_tokens).sum()) * 1e-6
    )
    with pytest.raises(InputError, match=r"price of 'huge': .* has no such model; it has"):
        posed(workload(recorded, 50.0, quality={"prices": {"huge": {"input": 1.0, "output": 2.0}}}))

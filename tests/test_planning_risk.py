"""What is uncertain about a quality plan: draws that hold its point, savings that a formula knows, confidence."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from rich.console import Console
from scipy.stats import norm

from comptroller.errors import FactError
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.offer.intervals import RelativeInterval
from comptroller.planning.planner import plan
from comptroller.planning.reasons.runners_up import NeighbouringFleets
from comptroller.planning.risk.draws import ALONE, RiskSimulation, ends, outcome
from comptroller.planning.risk.price_drift import drift
from comptroller.planning.risk.uncertainty import demand_chance
from comptroller.planning.risk.worth import AXIS, NestedDraws, losses_of, nested_losses, price_of, saving, width
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.report.plan_page import page
from comptroller.report.solving import measurements, uncertainty
from comptroller.report.terminal import print_plan
from comptroller.work.trace import RequestTrace
from comptroller.work.traces.plain import write
from comptroller.work.uncertainty import UncertaintyRange, WorkloadUncertainty
from comptroller.work.workload import parse
from joint_problems import posed, recorded_in, workload

RANGES = {"prices": {"low": 0.9, "high": 1.3}, "demand": {"low": 0.8, "high": 1.25}}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeded evidence as a file."""
    return recorded_in(tmp_path_factory.mktemp("risk"))


@cache
def planned(recorded: Path) -> Plan:
    return plan(parse(workload(recorded, uncertainty=RANGES)))


def drawn(problem: PlanningProblem) -> tuple[NeighbouringFleets, RiskSimulation]:
    around = NeighbouringFleets.of(problem.search, problem.goal, problem.search.solve(problem.goal))
    return around, RiskSimulation.of(problem, (around.best, *around.rivals))


@settings(deadline=None)
@given(st.floats(-2, 2), st.floats(0.1, 3), st.floats(0.1, 3), st.integers(0, 5))
def test_what_a_measurement_saves_is_the_closed_form_of_two_actions(
    mean: float, known: float, rest: float, seed: int
) -> None:
    """One action loses nothing, the other s + e, both normal: the unit normal loss (Raiffa and Schlaifer, ch. 5)."""
    rng = np.random.default_rng(seed)
    s = norm.ppf((rng.permutation(2_000) + 0.5) / 2_000) * known + mean
    e = norm.ppf((rng.permutation(400) + 0.5) / 400) * rest
    loss = np.stack([np.zeros((2_000, 400)), s[:, None] + e])
    exact = min(0.0, mean) - (mean * norm.cdf(-mean / known) - known * norm.pdf(mean / known))
    assert saving(loss) == pytest.approx(exact, abs=0.01 * known)


@given(arrays.arrays(float, (3, 4, 5), elements=st.floats(-1e6, 1e6)))
def test_knowing_more_never_loses_and_one_alternative_gains_nothing(loss: np.ndarray) -> None:
    assert saving(loss) >= -1e-9 * np.abs(loss).max()
    assert saving(loss[:1]) == pytest.approx(0.0, abs=1e-9 * np.abs(loss).max())


@given(arrays.arrays(float, 9, elements=st.floats(-1e3, 1e3)), st.floats(-1e3, 1e3))
def test_an_interval_holds_its_point(values: np.ndarray, point: float) -> None:
    low, high = ends(values, point)
    assert low <= point <= high


@given(st.floats(0.1, 1.0), st.floats(1.0, 9.0))
def test_declared_bounds_are_the_deciles(low: float, high: float) -> None:
    z = norm.ppf((np.arange(4_000) + 0.5) / 4_000)
    found = np.quantile(RelativeInterval(low, high).of_deviates(z), (0.1, 0.5, 0.9))
    assert found == pytest.approx([low, 1.0, high], rel=0.01)


def test_prices_change_as_their_own_entries_did() -> None:
    changes = drift("on_demand")
    assert changes.of == "on_demand" and (changes.ratios > 0).all() and (changes.days > 0).all()
    assert set(changes.draw(50, np.random.default_rng(0))) <= set(changes.ratios)
    assert drift("reserved").of == "all terms" and len(drift("reserved").ratios) > len(changes.ratios)


@pytest.mark.slow
def test_a_draw_in_which_nothing_differs_is_the_plan(recorded: Path) -> None:
    for more in ({}, {"quality": {"routes": ["own"]}}, {"spare_replicas": 1, "quality": {"routes": ["own"]}}):
        problem = posed(workload(recorded, **more))
        around, found = drawn(problem)
        still, contenders = found.chances.still(), found.chances.contenders
        for number, solution in enumerate((around.best, *around.rivals)):
            same = outcome(contenders, number, still)
            assert same.usd_per_h[0] == pytest.approx(usd_per_h(problem.search, solution), rel=1e-6)
            assert same.solved[0, 0] == pytest.approx(solution.solved, rel=1e-6)


def test_only_what_is_drawn_moves_the_cost(recorded: Path) -> None:
    """Tokens are bought at the recorded price, so demand alone moves the cost of an API, in proportion."""
    problem = posed(workload(recorded, quality={"routes": ["api"]}, uncertainty=RANGES))
    _, found = drawn(problem)
    cost = usd_per_h(problem.search, problem.search.solve(problem.goal))
    assert np.ptp(found.alone("prices")) == np.ptp(found.alone("step times")) == 0.0
    assert ends(found.alone("demand") / cost, 1.0) == pytest.approx((0.8, 1.25), rel=0.03)


@settings(max_examples=20, deadline=None)
@given(st.floats(0.5, 1.0), st.floats(1.0, 2.0))
def test_a_wider_range_of_demand_is_not_narrower(recorded: Path, low: float, high: float) -> None:
    problem = own(recorded)
    narrow, wide = (_with(problem, UncertaintyRange(low=x, high=y)) for x, y in ((low, high), (low * 0.9, high * 1.1)))
    cost = usd_per_h(problem.search, problem.search.solve(problem.goal))
    inner, outer = (ends(each.alone("demand"), cost) for each in (narrow, wide))
    assert outer[0] <= inner[0] <= cost <= inner[1] <= outer[1]


def test_everything_together_is_wider_than_each_alone(recorded: Path) -> None:
    found = _with(own(recorded), UncertaintyRange(low=0.8, high=1.25))
    alone = [width(found.alone(source)) for source in ALONE]
    assert width(found.outcomes[0].usd_per_h) >= max(alone) > 0
    assert all(np.all(found.alone(source) > 0) for source in ALONE)


@cache
def own(recorded: Path) -> PlanningProblem:
    """Everything on own devices."""
    return posed(workload(recorded, quality={"routes": ["own"]}))


def _with(problem: PlanningProblem, demand: UncertaintyRange) -> RiskSimulation:
    declared = problem.workload.model_copy(update={"uncertainty": WorkloadUncertainty(demand=demand)})
    asked = replace(problem, workload=declared)
    return RiskSimulation.of(asked, (asked.search.solve(asked.goal),))


def test_nested_draws_know_what_they_say(recorded: Path) -> None:
    """The outer axis moves only what is measured; twice the questions leave half of the variance."""
    problem = posed(workload(recorded, uncertainty=RANGES))
    around, found = drawn(problem)
    nest = NestedDraws(found.chances, problem.workload.seed)
    assert nest.demand().demand.shape == (AXIS, 1)
    stepped = nest.steps(0).steps
    assert np.ptp(stepped[:, :, 0], axis=1).max() == 0.0 < np.ptp(stepped[:, :, 0], axis=0).min()
    solved = found.chances.contenders.plans[0].solved.start
    means = nest.questions(0).means[:, :, solved]
    apart = found.chances.deviations(2_000, [0])[0, :, solved]
    assert means.mean(axis=1).var() == pytest.approx(apart.var() / 2, rel=0.35)
    price = price_of(found, around, {"": 0.0})
    assert price.usd_per_h > 0
    loss = nested_losses(found.chances.contenders, nest.demand(), price)
    assert loss.shape == (1 + len(around.rivals), AXIS, AXIS)
    assert losses_of(found, price).mean() == pytest.approx(loss.mean(), rel=0.1)


@pytest.mark.slow
def test_the_document_says_what_is_uncertain_and_what_to_measure(recorded: Path) -> None:
    found = planned(recorded)
    assert found.quality is not None and found.quality.risk is not None
    known, total = found.quality.risk, found.totals.usd_per_h
    assert total.low is not None and total.high is not None and total.low <= total.value <= total.high
    assert [source.name for source in known.sources] == list(ALONE)
    assert sum(source.share for source in known.sources) == pytest.approx(1.0, abs=1e-4)
    assert known.chance_held <= 1.0 and known.regret_usd_per_h >= 0 and known.verdict
    saved = [each.saves_usd_per_h or 0.0 for each in known.next]
    assert saved == sorted(saved, reverse=True) and min(saved) >= 0
    assert all(each.usd_per_h[1] <= each.usd_per_h[0] and each.solved[1] <= each.solved[0] for each in known.next)
    assert any("more questions" in each.what for each in known.next)
    assert "declared: 0.8x to 1.25x" in {source.rests_on for source in known.sources}
    assert len(uncertainty(found).rows) == 5 and measurements(found).rows
    told = StringIO()
    print_plan(found, Console(file=told, width=200, highlight=False))
    for text in (page(found), told.getvalue()):
        assert known.next[0].what in text and known.verdict[:18] in text and "optimism" in text


@pytest.mark.slow
def test_the_same_workload_gives_the_same_bytes_and_old_plans_load(recorded: Path, tmp_path: Path) -> None:
    found = planned(recorded)
    assert plan(parse(workload(recorded, uncertainty=RANGES))).to_json() == found.to_json()
    document = json.loads(found.to_json())
    del document["quality"]["risk"], document["quality"]["optimism"]
    file = tmp_path / "old.json"
    file.write_text(json.dumps(document))
    old = load_plan(file)
    assert old.quality is not None and old.quality.risk is None
    assert not uncertainty(old).rows and not measurements(old).rows and page(old)


@pytest.mark.slow
def test_a_tight_budget_makes_it_less_likely_that_all_holds(recorded: Path) -> None:
    bare = planned(recorded)
    usd = bare.totals.usd_per_h.value
    tight = plan(parse(workload(recorded, uncertainty=RANGES, budget={"max": usd * 1.001, "unit": "USD/h"})))
    assert tight.quality and tight.quality.risk and bare.quality and bare.quality.risk
    assert tight.quality.risk.chance_held < bare.quality.risk.chance_held


@pytest.mark.slow
def test_plans_that_do_not_minimise_dollars_are_not_weighed_in_dollars(recorded: Path) -> None:
    found = plan(parse(workload(recorded, objective="j")))
    assert found.quality is not None and found.quality.risk is not None
    assert all(each.saves_usd_per_h is None for each in found.quality.risk.next)
    assert "do not minimise dollars" in found.quality.risk.verdict


def test_demand_of_a_trace_is_that_of_its_windows(recorded: Path, tmp_path: Path) -> None:
    rng, ones = np.random.default_rng(0), np.ones(6_000, np.int64)
    file = tmp_path / "steady.csv"
    write(RequestTrace(np.sort(rng.uniform(0, 6_000, 6_000)), ones * 100, ones * 10, source="steady"), file)
    document = workload(recorded, trace=str(file))
    del document["rate_per_s"]
    chance = demand_chance(parse(document), None)
    found = chance.draw(500, np.random.default_rng(0))
    assert not chance.known and "windows of the trace" in chance.rests_on
    assert found.mean() == pytest.approx(1.0, abs=0.05) and 0 < found.std() < 0.1
    assert demand_chance(parse(workload(recorded)), None).known


@pytest.mark.parametrize(
    ("given_", "says"),
    [
        ({"demand": {"low": 1.1, "high": 1.2}}, r"uncertainty.demand.low: 1.1 is above the plan's own value"),
        ({"prices": {"low": 0.5, "high": 0.9}}, r"uncertainty.prices.high: 0.9 is below"),
        ({"prices": {"low": 0.0, "high": 1.5}}, r"uncertainty.prices.low"),
        ({"prices": {"low": "0.9", "high": 1.5}}, r"uncertainty.prices.low: '0.9' is not allowed.*a number"),
        ({"demand": {"low": 0.9}}, r"uncertainty.demand.high: is missing"),
        ({"price": {"low": 0.9, "high": 1.1}}, r"unknown field, did you mean 'prices'"),
        ({"demand": {"low": 0.9, "high": float("inf")}}, r"uncertainty.demand.high"),
    ],
)
def test_bad_ranges_are_named(recorded: Path, given_: dict[str, Any], says: str) -> None:
    with pytest.raises(FactError, match=says):
        parse(workload(recorded, uncertainty=given_))


def test_ranges_are_part_of_the_digest_and_of_quality_plans_alone(recorded: Path) -> None:
    bare, ranged = (parse(workload(recorded, **more)) for more in ({}, {"uncertainty": RANGES}))
    assert bare.digest != ranged.digest
    with pytest.raises(FactError, match=r"uncertainty.*with quality"):
        parse(
            {"name": "bare", "models": ["llama_3_1_8b"], "rate_per_s": 1.0, "uncertainty": RANGES,
             "lengths": {"input": {"fixed": 10}, "output": {"fixed": 10}}}
        )  # fmt: skip

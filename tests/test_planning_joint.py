"""Plans with a quality target: equal to exhaustive search, within their limits, and clear about what cannot be."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.optimize import linprog

from comptroller.errors import FactError, InfeasibleError, InputError, UnsupportedError
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.planner import plan, rehearse, shipped_calibration
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.description import usd_per_h
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import PlanSearch
from comptroller.work.workload import load, parse
from joint_problems import posed, recorded_in, workload

FEW = RehearsalSettings(draws=3)
EXAMPLE = Path(__file__).parents[1] / "examples" / "quality.toml"


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The seeded evidence as a file."""
    return recorded_in(tmp_path_factory.mktemp("joint"))


def test_the_optimum_is_that_of_exhaustive_search(recorded: Path) -> None:
    document = workload(recorded, 70.0, quality={"models": {"small": "llama_3_1_8b"}})
    problem = posed({**document, "rate_per_s": 60.0, "allow": {**document["allow"], "accelerators": ["h100_sxm"]}})
    search, goal = problem.search, replace(problem.goal, most_use=1.0)
    best = search.solve(goal)
    assert best.units and (search.table.usd * best.share[0]).any()
    assert best.objective == pytest.approx(exhaustive(search, problem), rel=1e-6)


def exhaustive(search: PlanSearch, problem: PlanningProblem) -> float:
    """Every number of units of every deployment, the shares and calls by a linear program for each."""
    space, table = search.space, search.table
    used = {model: search.used(model) for model in space.offers}
    everything = {model: np.ones(len(offers.deployments), bool) for model, offers in space.offers.items()}
    markets = {m: market for m in used if (market := space.market(m, problem.goal, everything[m], used[m]))}
    classes, options = table.score.shape
    least = np.inf
    ranges = [range(5) for market in markets.values() for _ in market.rows]
    assert len(ranges) <= 6
    for units in product(*ranges):
        cost = list((space.weight[:, None] * table.usd).ravel() * space.rate_per_s * 3600.0)
        place, offsets = classes * options, {}
        for model, market in markets.items():
            offsets[model] = place
            place += market.load[0].size
            cost += [0.0] * market.load[0].size
        equal, right, capped, top, at = [], [], [], [], 0
        for number in range(classes):
            row = np.zeros(place)
            row[number * options : (number + 1) * options] = 1.0
            equal.append(row), right.append(1.0)
        for model, market in markets.items():
            _, slices, columns = market.load.shape
            for index, bucket in enumerate(used[model]):
                row = np.zeros(place)
                row[offsets[model] + index * columns :][:columns] = 1.0
                asked = table.calls[model][:, :, bucket] * space.weight[:, None] * space.rate_per_s
                row[: classes * options] = -asked.ravel()
                equal.append(row), right.append(0.0)
            for column in range(columns):
                for load_ in market.load:
                    row = np.zeros(place)
                    row[offsets[model] + column + np.arange(slices) * columns] = load_[:, column]
                    capped.append(row), top.append(float(units[at]))
                at += 1
        row = np.zeros(place)
        row[: classes * options] = -(space.weight[:, None] * table.score).ravel()
        capped.append(row), top.append(-problem.goal.quality[0][1])
        found = linprog(cost, A_ub=capped, b_ub=top, A_eq=equal, b_eq=right)
        price = np.concatenate([market.usd[0] for market in markets.values()]) @ np.array(units)
        if found.success:
            least = min(least, found.fun + price)
    return float(least)


def test_cheaper_never_when_more_must_be_solved(recorded: Path) -> None:
    problem = posed(workload(recorded))
    costs = [
        problem.search.solve(replace(problem.goal, quality=(("", least),))).objective
        for least in (0.2, 0.4, 0.5, 0.6, 0.65)
    ]
    assert costs == sorted(costs)


@pytest.mark.slow
def test_confidence_costs_more_and_is_held(recorded: Path) -> None:
    both = ({}, {"confidence": 0.9})
    bare, sure = (plan(parse(workload(recorded, 50.0, quality=more)), rehearsal=None) for more in both)
    assert sure.quality is not None and bare.quality is not None
    assert sure.quality.chance_met >= 0.9 > bare.quality.chance_met
    assert sure.totals.usd_per_h.value > bare.totals.usd_per_h.value
    with pytest.raises(InfeasibleError, match=r"12 questions support [\d.]+% at most.*questions"):
        plan(parse(workload(recorded, 60.0, quality={"confidence": 0.999, "strategies": ["once"]})))


def test_targets_by_task_hold_besides(recorded: Path) -> None:
    least = 70.0
    problem = posed(workload(recorded, 40.0, quality={"each": {"odd": {"min": least, "unit": "%"}}}))
    best = problem.search.solve(problem.goal)
    row = problem.space.plays.tasks.index("odd")
    assert float((problem.search.table.score * best.share[0])[row].sum()) >= least / 100 - 1e-9
    assert best.solved >= 0.4


@pytest.mark.slow
def test_the_document_adds_up_and_survives_its_file(recorded: Path, tmp_path: Path) -> None:
    found = planned(recorded)
    assert sum(each.share for each in found.classes) == pytest.approx(1.0, rel=1e-4)
    assert found.quality is not None and found.quality.chance_met > 0.3
    bought = sum(offer.usd_per_h for offer in found.offers)
    rented = sum(service.usd_per_h for service in found.services)
    assert found.totals.usd_per_h.value == pytest.approx(bought + rented, rel=1e-4)
    known = {service.id for service in found.services} | {offer.id for offer in found.offers}
    for each in found.classes:
        for shares in each.roles.values():
            assert {share.service for share in shares} <= known
            assert sum(share.share for share in shares) == pytest.approx(1.0, rel=1e-4)
    solved = sum(each.share * each.solved.value for each in found.classes if each.solved)
    assert found.quality.support is not None and solved >= found.quality.support.aim - 1e-4
    assert found.quality.predicted.value <= solved + 0.05
    assert [x.usd_per_h for x in found.frontier] == sorted(x.usd_per_h for x in found.frontier)
    assert all(rival.excess is None or rival.excess >= -1e-9 for rival in found.runners_up)
    file = tmp_path / "plan.json"
    file.write_text(found.to_json())
    assert load_plan(file).to_json() == found.to_json()
    assert plan(parse(workload(recorded)), rehearsal=FEW).to_json() == found.to_json()


@cache
def planned(recorded: Path) -> Plan:
    return plan(parse(workload(recorded)), rehearsal=FEW)


OBJECTIVES = {
    "ttft": {"p": 95.0, "max": 300.0, "unit": "ms"},
    "tpot": {"p": 95.0, "max": 20.0, "unit": "ms"},
    "e2e": {"p": 95.0, "max": 30.0, "unit": "s"},
}


def timely(recorded: Path) -> dict[str, Any]:
    return {**workload(recorded, quality={"routes": ["own"]}, objectives=OBJECTIVES), "rate_per_s": 2.0}


@pytest.mark.slow
def test_latency_is_simulated_with_the_calls_of_the_strategies(recorded: Path) -> None:
    found = plan(parse(timely(recorded)), rehearsal=FEW)
    assert found.verification is not None and found.verification.rounds[-1].holds
    assert {each.quantity for each in found.latency} == {"ttft_s", "tpot_s", "e2e_s"}
    for each in found.latency:
        assert each.status == "simulated" and each.predicted_s.value <= each.most_s
    assert found.totals.usd_per_h.value == pytest.approx(
        found.verification.steady_usd_per_h + found.verification.added_usd_per_h, rel=1e-4
    )


@pytest.mark.slow
def test_the_objectives_hold_on_draws_that_were_not_seen(recorded: Path) -> None:
    problem = posed(timely(recorded))
    best = problem.search.solve(problem.goal)
    proven, held, _ = rehearse(problem, best, shipped_calibration(), FEW)
    unseen = FleetStage(proven, held, shipped_calibration(), replace(FEW, seed=7)).trial(held, proven.goal)
    assert all(each.mean_s <= each.target.most_s for each in unseen.seen)


def test_an_api_without_recorded_latency_cannot_keep_an_objective(recorded: Path) -> None:
    problem = posed(workload(recorded, objectives=OBJECTIVES))
    assert {route for option in problem.space.options for route in option.routes.values()} == {"own"}
    assert "is not recorded" in problem.rejected.example["API latency"]


def test_only_what_may_be_used_is_used(recorded: Path) -> None:
    api = posed(workload(recorded, quality={"routes": ["api"]}))
    best = api.search.solve(api.goal)
    assert not best.units and usd_per_h(api.search, best) == pytest.approx(best.objective)
    own = posed(workload(recorded, quality={"routes": ["own"]}))
    assert own.search.solve(own.goal).units
    assert all("own" in option.routes.values() for option in own.space.options)
    both = posed(workload(recorded))
    least = both.search.solve(both.goal).objective
    for one in (api, own):
        assert one.search.solve(one.goal).objective >= least * (1 - 1e-4)


def test_joules_leave_out_what_is_not_known(recorded: Path) -> None:
    problem = posed(workload(recorded, objective="j"))
    assert {route for option in problem.space.options for route in option.routes.values()} == {"own"}
    assert "no API" in problem.rejected.count


def test_a_vote_in_a_plan_is_its_mean_over_all_choices_of_samples(recorded: Path) -> None:
    """As a replay says it: the order in which samples were recorded decides nothing."""
    space = posed(workload(recorded, quality={"strategies": ["once(greedy=false)", "sample_and_vote"]})).space
    evidence = space.plays.evidence
    assert evidence is not None
    samples = evidence.rows.temperature > 0
    single = [play for play in space.plays.plays if play.strategy == "once(greedy=False)"]
    assert len(single) == 2
    for play in single:
        use = samples & (evidence.rows.arm == play.models[0])
        means = [evidence.rows.score[use & (evidence.rows.question == q)].mean() for q in space.plays.question]
        assert play.score == pytest.approx(means)
    votes = [play for play in space.plays.plays if play.strategy == "sample_and_vote(n=4)"]
    assert any(np.any((play.score > 0.01) & (play.score < 0.99)) for play in votes)


def test_tokens_that_are_not_recorded_are_unknown_and_not_none(recorded: Path, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in recorded.read_text().splitlines()]
    bare = [{name: cell for name, cell in row.items() if not name.endswith("_tokens")} for row in rows]
    (tmp_path / "bare.jsonl").write_text("".join(json.dumps(row) + "\n" for row in bare))
    asked = {"strategies": ["once", "verdict_cascade"], "checker": {"tpr": 1.0, "fpr": 0.0}, "routes": ["api"]}
    found = plan(parse(workload(tmp_path / "bare.jsonl", 50.0, quality=asked)), rehearsal=FEW)
    (tmp_path / "plan.json").write_text(found.to_json())
    again = load_plan(tmp_path / "plan.json")
    assert np.isnan(again.totals.usd_per_million_tokens.value)
    assert all(np.isnan(offer.output_tokens_per_s) for offer in again.offers)
    assert again.totals.usd_per_h.value > 0
    assert any("scores and dollars" in note for note in again.notes)


def test_spares_are_rented_for_every_kind_in_use(recorded: Path) -> None:
    document = workload(recorded, quality={"routes": ["own"]})
    bare, spared = posed(document), posed({**document, "spare_replicas": 1})
    assert spared.search.solve(spared.goal).objective > bare.search.solve(bare.goal).objective


def test_a_target_out_of_reach_names_the_best_that_is_supported(recorded: Path) -> None:
    with pytest.raises(InfeasibleError, match=r"best supported is \d+\.\d%.*by large.*measure"):
        plan(parse(workload(recorded, 99.0, quality={"strategies": ["once"]})))


def test_a_budget_that_is_too_small_says_what_is_needed(recorded: Path) -> None:
    document = {**workload(recorded), "budget": {"max": 0.01, "unit": "USD/h"}}
    with pytest.raises(InfeasibleError, match=r"budget \(at most 0.01 USD/h, needs [\d.]+\)"):
        plan(parse(document))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"solve": {"min": 120}}, FactError, "quality.solve.min"),
        ({"evidence": "nowhere.parquet"}, FactError, "not there"),
        ({"each": {"nope": {"min": 50}}}, InputError, "no task 'nope'.*even, odd"),
        ({"strategies": ["think_harder"]}, InputError, "think_harder"),
        ({"models": {"small": "no_such_model"}}, FactError, "quality.models"),
    ],
)
def test_a_bad_target_is_named(recorded: Path, change: dict[str, Any], error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        posed(workload(recorded, quality=change))


def test_models_that_are_not_recorded_are_named(recorded: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"none of huge is recorded.*small, large"):
        posed({**workload(recorded), "models": ["huge"]})


def test_a_workload_needs_models_or_a_target() -> None:
    with pytest.raises(FactError, match="models"):
        parse({"name": "bare", "rate_per_s": 1.0})


@pytest.mark.slow
def test_the_example_reaches_its_target_for_less_than_any_model_alone() -> None:
    try:
        asked = load(EXAMPLE)
    except FactError as error:
        assert error.field == "evidence"
        pytest.skip(f"the evidence is not here: {error}")
    found = plan(asked, rehearsal=None)
    assert found.quality is not None
    alone = [usd for solved, usd in found.quality.greedy.values() if usd and solved >= found.quality.target]
    assert found.totals.usd_per_h.value < min(alone)

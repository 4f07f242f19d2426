"""The odds of a choice: shared errors, rivals in draws, break-evens planned again, caution with what nobody timed."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.step_factor import StepFactorCalibration
from comptroller.errors import InfeasibleError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.serving import anchors, serving_facts
from comptroller.measure.residuals import points_from_anchors
from comptroller.planning.ground.nouns import Fleet
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.offer.intervals import ReplicaIntervals, is_timed
from comptroller.planning.offer.step_factors import UntimedUpperEnd, space_at, table_at
from comptroller.planning.planner import plan, shipped_calibration
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.reasons.explain import keep_only
from comptroller.planning.reasons.runners_up import keep_without
from comptroller.planning.risk.fleet_odds import FleetOdds, OddsFleet, unit_need
from comptroller.planning.risk.step_errors import SHARES, shared_loadings
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
from comptroller.planning.solve.search import PlanSearch
from comptroller.report.odds import load_sentence, odds_sheet
from comptroller.report.plan_page import page
from comptroller.work.workload import parse

DEVICES = ("h100_sxm", "mi300x", "b200_sxm")


def workload(devices: tuple[str, ...] = DEVICES, **more: Any) -> dict[str, Any]:
    """A 70B model at a rate that takes several devices of each kind; fleets of one kind, so that plans differ in it."""
    allow = {"sites": ["us_neocloud"], "accelerators": list(devices), "engines": ["vllm"], "formats": ["fp8_e4m3"]}
    return {
        "name": "odds",
        "models": ["llama_3_1_70b"],
        "most_kinds": 1,
        "rate_per_s": 25.0,
        "lengths": {
            "input": {"median": 300, "mean": 450, "most": 3000},
            "output": {"median": 80, "mean": 120, "most": 600},
        },
        "objectives": {
            "tpot": {"p": 95.0, "max": 60.0, "unit": "ms"},
            "ttft": {"p": 95.0, "max": 1500.0, "unit": "ms"},
        },
        "allow": allow | more.pop("allow", {}),
        **more,
    }


@cache
def problem(trust: bool = True, devices: tuple[str, ...] = DEVICES) -> PlanningProblem:
    return pose_problem(parse(workload(devices, trust_predicted_speed=trust)), shipped_calibration())


@cache
def planned(trust: bool = True, **allow: Any) -> Plan:
    return plan(parse(workload(trust_predicted_speed=trust, allow=dict(allow))), rehearsal=None)


def fleet(posed: PlanningProblem, axis: str = "", value: str = "") -> Fleet:
    """The cheapest of the steady state, or the cheapest with a value of an axis."""
    return posed.search.solve(posed.goal, keep_only(axis, value)) if axis else posed.search.solve(posed.goal)


def devices_of(plan: Plan) -> set[str]:
    return {pool.accelerator for service in plan.services for pool in service.deployment.pools}


def slower(factor: float, device: str = "mi300x") -> StepFactorCalibration:
    """The shipped calibration with the steps on one device so many times as long."""
    return StepFactorCalibration(shipped_calibration(), lambda replica: factor if replica.device.id == device else 1.0)


# --- tables of other step times


@pytest.mark.parametrize("factor", [0.6, 1.7])
def test_a_table_at_other_step_times_is_that_of_a_calibration_with_them(factor: float) -> None:
    posed = problem()
    ours = table_at(posed.space.offers[0].table, np.full(len(posed.space.offers[0].deployments), factor))
    every = StepFactorCalibration(shipped_calibration(), lambda replica: factor)
    theirs = pose_problem(posed.workload, every).space.offers[0].table
    assert [one.id for one in ours.candidates] == [one.id for one in theirs.candidates]
    for name in ("rate_per_s", "decode_s", "marginal_s"):
        assert getattr(ours, name) == pytest.approx(getattr(theirs, name), rel=1e-9)
    for name, values in ours.latency_s.items():
        assert values == pytest.approx(theirs.latency_s[name], rel=1e-3)


# --- which errors are shared


def test_shares_are_those_that_the_residuals_support() -> None:
    """Twice the restricted log likelihood at the shares, below its best, within 80 % of chi-squared of three."""
    facts = serving_facts()
    points = points_from_anchors(facts.tpot_kernel, anchors(), [anchor.tpot_weight for anchor in anchors()])
    groups: dict[tuple[str, ...], list[float]] = {}
    for who, value in zip(points.identities, points.residual.tolist(), strict=True):
        groups.setdefault((who.engine, who.architecture, who.formats, who.accelerator, who.run), []).append(value)
    median = np.array([np.median(values) for values in groups.values()])
    family = [accelerator(key[3]).family for key in groups]
    levels = (family, [key[0] for key in groups], [key[2] for key in groups])
    same = [np.array([[a == b for b in level] for a in level], float) for level in levels]
    one = np.ones(len(median))

    def deviance(shares: tuple[float, ...]) -> float:
        among = sum(share * matrix for share, matrix in zip(shares, same, strict=True))
        inverse = np.linalg.inv(among + (1 - sum(shares)) * np.eye(len(one)))
        weight = one @ inverse @ one
        rest = median - (one @ inverse @ median) / weight
        freedom = len(one) - 1
        spread = rest @ inverse @ rest / freedom
        return float(-np.linalg.slogdet(inverse)[1] + np.log(weight) + freedom * np.log(spread))

    grid = np.arange(0.0, 0.6, 0.1)
    best = min(deviance((a, b, c)) for a in grid for b in grid for c in grid if a + b + c < 0.95)
    taken = (SHARES["family"], SHARES["engine"], SHARES["formats"])
    assert deviance(taken) - best < 4.64
    assert deviance((2 * taken[0], 2 * taken[1], taken[2])) - best > 4.64
    assert deviance((taken[0], taken[1], 0.0)) - best > 4.64


def replicas() -> list[ModelReplica]:
    return [one.replica for one in problem().space.offers[0].deployments]


def test_deployments_err_alike_by_what_they_share() -> None:
    every = replicas()
    loadings = shared_loadings(every, shipped_calibration())
    together = loadings @ loadings.T
    assert np.diag(together) == pytest.approx(1.0)
    of = {name: [i for i, one in enumerate(every) if one.device.id == name] for name in DEVICES}
    assert together[of["mi300x"][0], of["mi300x"][1]] > 0.7  # a whole family was never timed
    assert together[of["h100_sxm"][0], of["h100_sxm"][1]] == pytest.approx(sum(SHARES.values()))
    assert together[of["h100_sxm"][0], of["b200_sxm"][0]] == pytest.approx(SHARES["engine"] + SHARES["formats"])


# --- rivals in draws


def odds(posed: PlanningProblem, *fleets: Fleet) -> FleetOdds:
    return FleetOdds(posed, [OddsFleet(each, proven=False) for each in fleets])


@pytest.mark.parametrize("device", ["h100_sxm", "b200_sxm", "mi300x"])
def test_what_a_fleet_costs_in_a_draw_is_what_the_steady_state_says_when_solved_again(device: str) -> None:
    """Of the same kinds, exactly; and no fleet of the same device is found to be cheaper by more than a unit."""
    posed = problem()
    chosen = fleet(posed, "accelerator", device)
    (row,) = np.flatnonzero(chosen.units[0][0])
    offers = posed.space.offers[0]
    name, price = offers.deployments[row].axes, float(offers.unit.usd_per_h[row])
    drawn = odds(posed, chosen)
    band = ReplicaIntervals.of(offers.deployments[row].replica, posed.calibration).tpot
    for deviate in (-1.0, 0.0, 0.5, 1.5):
        factor = float(band.of_deviates(np.array(deviate)))
        again = PlanSearch(space_at(posed.space, lambda one, x=factor: x))  # type: ignore[misc]
        costs = float(drawn.usd_per_h(np.full((1, 1), deviate))[0, 0])
        try:
            same = again.solve(posed.goal, lambda axes: not axes or all(axes[a] == {v} for a, v in name.items()))
            best = again.solve(posed.goal, keep_only("accelerator", device))
        except InfeasibleError:
            assert costs == np.inf
            continue
        assert costs == pytest.approx(same.objective, rel=1e-9)
        assert best.objective <= costs * (1 + 1e-9) and (deviate or costs <= best.objective + price)


def test_longer_steps_never_need_fewer_units() -> None:
    posed = problem()
    chosen = fleet(posed)
    (row, *_) = np.flatnonzero(chosen.units[0][0])
    need = unit_need(posed.space.offers[0], posed.goal, row, chosen.calls_per_s[0][0][:, row], np.geomspace(0.5, 4, 40))
    assert (np.diff(need[np.isfinite(need)]) > 0).all() and not np.isfinite(need[-1])


def widened(posed: PlanningProblem, times: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Intervals of all steps so many times as wide in log units."""
    plain = ReplicaIntervals.of

    def wide(replica: ModelReplica, calibration: Any) -> ReplicaIntervals:
        found = plain(replica, calibration)
        tpot = replace(found.tpot, low=found.tpot.low**times, high=found.tpot.high**times)
        return replace(found, tpot=tpot)

    monkeypatch.setattr(ReplicaIntervals, "of", wide)


def test_wider_intervals_bring_the_odds_nearer_to_even(monkeypatch: pytest.MonkeyPatch) -> None:
    posed = problem()
    best, rival = fleet(posed), fleet(posed, "accelerator", "h100_sxm")
    narrow = odds(posed, best, rival).chance_cheaper(1)
    widened(posed, 0.2, monkeypatch)
    narrower = odds(posed, best, rival).chance_cheaper(1)
    assert best.objective < rival.objective
    assert narrower < 0.5 and abs(narrow - 0.5) < 0.5 - narrower


def test_a_rival_on_the_same_device_differs_by_its_own_part_alone() -> None:
    """Of a family that nobody timed nearly all of the error is shared: two of its layouts keep their order in more
    draws than two fleets that are as far apart and share nothing."""
    posed = problem(devices=("mi300x",))
    best = fleet(posed)
    (row,) = np.flatnonzero(best.units[0][0])
    layout = posed.space.offers[0].deployments[row].axes["layout"]
    rival = posed.search.solve(posed.goal, keep_without("layout", layout))
    drawn = odds(posed, best, rival)
    shared = drawn.chance_cheaper(1)
    rng = np.random.default_rng(0)
    apart = drawn.usd_per_h(rng.standard_normal((4096, len(drawn.replicas))))
    assert shared < float((apart[1] < apart[0] * (1 - 1e-6)).mean())
    own = 1.0 - (drawn.loadings @ drawn.loadings.T)[0, 1]
    between = drawn.deviates(4096, rng)
    assert np.var(between[:, 0] - between[:, 1]) == pytest.approx(2 * own, rel=0.1)


def test_knowing_what_decides_is_worth_most() -> None:
    found = planned().odds
    assert found is not None and found.next
    saves = [one.saves_usd_per_h for one in found.next]
    assert saves == sorted(saves, reverse=True) and saves[0] > 0
    assert "mi300x" in found.next[0].what  # the one whose interval is widest
    assert all(rival.chance_cheaper is not None for rival in planned().runners_up if rival.objective_per_h is not None)


# --- break-evens


@pytest.mark.parametrize("side", [0.985, 1.015])
def test_a_break_even_is_where_a_plan_made_again_changes(side: float) -> None:
    found = planned().odds
    assert found is not None and devices_of(planned()) == {"mi300x"}
    (even,) = (one for one in found.break_evens if one.axis == "accelerator")
    assert even.value == "mi300x" and even.factor is not None and even.factor > 1
    asked = parse(workload(trust_predicted_speed=True))
    again = plan(asked, calibration=slower(even.factor * side), rehearsal=None)
    assert ("mi300x" in devices_of(again)) is (side < 1)
    assert f"{even.factor:.2f}x as predicted" in even.sentence


# --- what nobody timed


def test_timed_is_what_the_calibration_has_seen() -> None:
    seen = {one.device.id: is_timed(one, shipped_calibration()) for one in replicas()}
    assert seen == {"h100_sxm": True, "mi300x": False, "b200_sxm": True}


def test_what_nobody_timed_is_taken_at_the_upper_end_and_told() -> None:
    bold, careful = planned(trust=True), planned(trust=False)
    assert devices_of(bold) == {"mi300x"}
    assert careful.totals.usd_per_h.value >= bold.totals.usd_per_h.value
    assert careful.untimed is not None and bold.untimed is None
    saved = careful.totals.usd_per_h.value - bold.totals.usd_per_h.value
    assert careful.untimed.saves_per_h == pytest.approx(saved, abs=1e-3)
    assert f"with mi300x at its predicted speed: ${saved:,.2f}/h less" in careful.untimed.sentence


def test_alone_it_is_planned_slower_within_its_interval() -> None:
    """Where nothing else may be used it wins, at the upper end: the figures are those of slower steps, and say so."""
    only = parse(workload(("mi300x",)))
    found = plan(only, rehearsal=None)
    replica = problem(devices=("mi300x",)).space.offers[0].deployments[0].replica
    factor = UntimedUpperEnd(shipped_calibration())(replica)
    asked = parse(workload(("mi300x",), trust_predicted_speed=True))
    again = plan(asked, calibration=slower(factor), rehearsal=None)
    assert found.totals.usd_per_h.value == again.totals.usd_per_h.value
    for service in found.services:
        assert service.tpot_s.high == pytest.approx(service.tpot_s.value)
        assert service.tpot_s.low is not None and service.tpot_s.low < service.tpot_s.value / factor
    assert any(f"{factor:.2f}x as predicted" in note for note in found.notes)


def test_measured_only_is_never_cheaper_and_rents_what_was_timed() -> None:
    only = planned(trust=True, measured_only=True)
    assert devices_of(only) <= {"h100_sxm", "b200_sxm"}
    assert only.totals.usd_per_h.value >= planned(trust=True).totals.usd_per_h.value
    assert any(fallen.reason == "not measured" for fallen in only.pruned)
    with pytest.raises(InfeasibleError, match=r"not measured.*mi300x"):
        plan(parse(workload(("mi300x",), allow={"measured_only": True})), rehearsal=None)


@pytest.mark.slow
def test_the_bolder_choice_of_a_simulated_plan_is_simulated() -> None:
    """It costs what a plan that trusts predictions finds, or a little more where that tries other kinds too."""
    few = RehearsalSettings(draws=3)
    careful = plan(parse(workload()), rehearsal=few)
    assert careful.untimed is not None and careful.odds is not None
    bold = plan(parse(workload(trust_predicted_speed=True)), rehearsal=few)
    told = careful.totals.usd_per_h.value - careful.untimed.saves_per_h
    assert told >= bold.totals.usd_per_h.value - 1e-6
    assert "not simulated" not in careful.untimed.sentence


# --- what is shown


def test_the_load_and_the_odds_are_shown() -> None:
    found = planned(trust=False)
    assert found.load is not None
    said = load_sentence(found)
    assert said == "planned for 25 req/s, 440 tokens in, 117 out, longest 3,600" or said.startswith(
        "planned for 25 req/s"
    )
    assert f"longest {found.load.longest_tokens:,}" in said and said in page(found)
    rows = {row[0] for row in odds_sheet(found).rows}
    assert {"stands", "bolder choice"} <= rows and any(str(row).startswith("accelerator ") for row in rows)

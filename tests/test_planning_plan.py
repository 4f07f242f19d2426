"""The plan document: consistent with itself, the same bytes twice, and clear about what is wrong."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest

from comptroller.errors import FactError, InfeasibleError, InputError
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.planner import plan
from comptroller.planning.reasons.against import compare
from comptroller.planning.reasons.current_fleet import load_current
from comptroller.planning.solve.problem import pose_problem
from comptroller.work.workload import parse
from comptroller_lab.baseline import BaselineCalibration

WORKLOAD = {
    "name": "small",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 30.0,
    "lengths": {
        "input": {"median": 600, "mean": 900, "most": 6000},
        "output": {"median": 150, "mean": 200, "most": 900},
    },
    "objectives": {"tpot": {"p": 95.0, "max": 40.0, "unit": "ms"}, "ttft": {"p": 95.0, "max": 800.0, "unit": "ms"}},
    "allow": {"sites": ["us_neocloud", "aws_us_east"], "accelerators": ["h100_sxm", "l4", "a100_80_sxm"]},
}


@cache
def planned() -> Plan:
    return plan(parse(WORKLOAD))


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes() -> None:
    assert planned().to_json() == plan(parse(WORKLOAD)).to_json()


@pytest.mark.slow
def test_a_plan_survives_its_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(planned().to_json())
    assert load_plan(file) == planned()


@pytest.mark.slow
def test_services_carry_the_whole_demand_and_add_up() -> None:
    found = planned()
    assert sum(s.rate_per_s for s in found.services) == pytest.approx(30.0, rel=1e-4)
    assert sum(s.usd_per_h for s in found.services) == pytest.approx(found.totals.usd_per_h.value, rel=1e-4)
    assert sum(x.share for x in found.classes[0].roles["solver"]) == pytest.approx(1.0, rel=1e-4)
    assert found.totals.usd_per_request.value == pytest.approx(found.totals.usd_per_h.value / 108_000, rel=1e-4)
    assert all(0 < s.utilisation <= 1.001 for s in found.services)


def test_every_objective_is_predicted_and_met() -> None:
    for latency in planned().latency:
        assert latency.most_s is not None
        assert latency.status == "simulated"
        assert latency.predicted_s.value <= latency.most_s


@pytest.mark.slow
def test_the_steady_answer_and_what_queueing_added_are_told() -> None:
    found = planned().verification
    assert found is not None
    assert found.rounds[-1].holds
    assert not any(x.holds and x.usd_per_h < found.rounds[-1].usd_per_h for x in found.rounds)
    assert found.added_usd_per_h == pytest.approx(found.rounds[-1].usd_per_h - found.steady_usd_per_h, abs=1e-4)
    assert all(x <= y.most_s for x, y in zip(found.rounds[-1].upper_s, planned().latency, strict=True))
    unproven = plan(parse(WORKLOAD), rehearsal=None)
    assert unproven.verification is None and {x.status for x in unproven.latency} == {"unverified"}
    assert unproven.totals.usd_per_h.value == found.steady_usd_per_h


def test_runners_up_cost_no_less_and_say_why() -> None:
    found = planned()
    assert {r.axis for r in found.runners_up} >= {"accelerator", "site"}
    for rival in found.runners_up:
        assert rival.reason
        assert rival.excess is None or rival.excess >= -1e-9


def test_shadow_prices_move_in_the_right_direction() -> None:
    for price in planned().shadow_prices:
        assert price.relaxed is None or price.relaxed.change_per_h is None or price.relaxed.change_per_h <= 0
        assert price.tightened is None or price.tightened.change_per_h is None or price.tightened.change_per_h >= 0


def test_the_frontier_falls() -> None:
    for constraint in {point.constraint for point in planned().frontier}:
        costs = [point.usd_per_h for point in planned().frontier if point.constraint == constraint]
        assert costs == sorted(costs, reverse=True)


def test_todays_fleet_is_compared(tmp_path: Path) -> None:
    file = tmp_path / "current.toml"
    file.write_text(
        '[[services]]\nmodel = "llama_3_1_8b"\naccelerator = "h100_sxm"\nsite = "aws_us_east"\nreplicas = 8\n'
    )
    calibration = BaselineCalibration.shipped()
    problem = pose_problem(parse(WORKLOAD), calibration)
    carried = traffic_of(problem.workload), problem.goal
    result = compare(load_current(file), planned().services, 1.0, carried, calibration)
    assert result.usd_per_h > 1.0 and result.saves_usd_per_h == pytest.approx(result.usd_per_h - 1.0)
    assert result.carries > 1.0
    assert any(line.startswith("remove llama_3_1_8b.h100_sxm") for line in result.changes)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[services]]\nmodel = "llama_3_1_8b"\n', "accelerator"),
        ('[[services]]\nmodel = "x"\naccelerator = "h100_sxm"\nsite = "aws_us_east"\nreplicas = 0\n', "replicas"),
        ("services = []\n", "services"),
    ],
)
def test_a_malformed_fleet_names_the_field(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "current.toml"
    file.write_text(text)
    with pytest.raises(FactError, match=says):
        load_current(file)


def test_a_model_that_cannot_fit_says_by_how_much() -> None:
    allow = {"sites": ["us_neocloud"], "accelerators": ["a100_40_pcie"]}
    big = WORKLOAD | {"models": ["llama_3_1_405b"], "allow": allow}
    with pytest.raises(InfeasibleError, match=r"does not fit.*short by [\d.]+ GB"):
        plan(parse(big))


def test_a_format_that_the_device_cannot_run_says_so() -> None:
    odd = WORKLOAD | {"allow": {"sites": ["us_neocloud"], "accelerators": ["a100_80_sxm"], "formats": ["mxfp8"]}}
    with pytest.raises(InfeasibleError, match="a100_80_sxm"):
        plan(parse(odd))


@pytest.mark.parametrize("damage", ["{", '{"schema_version": 2}', json.dumps({"name": "x"})])
def test_a_file_that_is_no_plan_is_refused(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(damage)
    with pytest.raises(InputError, match=r"plan\.json"):
        load_plan(file)

"""Why not? The best with a choice is no cheaper than the best, says what it loses on, and names what there is."""

from __future__ import annotations

import json
from functools import cache

import pytest
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.errors import InputError, UnknownIdError
from comptroller.planning.reasons.explain import explain, keep_only
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.problem import PlanningProblem, pose_problem
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
    "objectives": {"tpot": {"p": 95.0, "max": 25.0, "unit": "ms"}},
    "allow": {"sites": ["us_neocloud"], "accelerators": ["h100_sxm", "l4", "v100_sxm2_32", "a100_80_sxm"]},
}


@cache
def problem() -> PlanningProblem:
    return pose_problem(parse(WORKLOAD), BaselineCalibration.shipped())


def test_a_choice_costs_what_a_search_held_to_it_finds() -> None:
    for device in ("h100_sxm", "a100_80_sxm"):
        (told,) = explain(problem(), [f"accelerator={device}"])
        found = problem().search.solve(problem().goal, keep_only("accelerator", device))
        assert told.with_per_h == pytest.approx(found.objective, rel=1e-5)
        assert told.excess is not None and told.excess >= 0
        assert (told.loses_on == "") == (told.excess == 0)
        assert device in told.choice


def test_what_is_chosen_loses_on_nothing() -> None:
    best = problem().search.solve(problem().goal, lambda axes: True)
    device = next(d for d in ("h100_sxm", "l4", "a100_80_sxm") if d in describe_fleet(problem().search, best))
    (told,) = explain(problem(), [f"accelerator={device}"])
    assert told.excess == 0 and told.loses_on == ""


def test_what_cannot_hold_an_objective_says_by_how_much() -> None:
    (told,) = explain(problem(), ["accelerator=l4"])
    assert told.with_per_h is None or told.loses_on
    if told.with_per_h is None:
        assert "TPOT p95 <= 25 ms binds" in told.loses_on


def test_a_constraint_that_makes_the_difference_is_named() -> None:
    loose = {**WORKLOAD, "objectives": {"tpot": {"p": 95.0, "max": 45.0, "unit": "ms"}}}
    asked = pose_problem(parse(loose), BaselineCalibration.shipped())
    told = {each.value: each for each in explain(asked, ["accelerator=l4", "accelerator=h100_sxm"])}
    lost = max(told.values(), key=lambda each: each.excess or 0.0)
    assert lost.loses_on.startswith(("TPOT p95 <= 45 ms: without it", "price:"))


def test_what_fell_out_before_the_search_says_why() -> None:
    (told,) = explain(problem(), ["format=nvfp4"])
    assert told.with_per_h is None and "there is" in told.loses_on


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("h100_sxm", InputError, "write axis=value"),
        ("accelerator=", InputError, "write axis=value"),
        ("colour=red", UnknownIdError, "unknown axis 'colour'"),
    ],
)
def test_a_bad_question_is_named(text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        explain(problem(), [text])


def test_the_command_prints_a_table_or_json(tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("explain") / "small.toml"
    file.write_text(
        'name = "small"\nmodels = ["llama_3_1_8b"]\nrate_per_s = 3.0\n[lengths]\n'
        "input = { median = 600, mean = 900, most = 6000 }\noutput = { median = 150, mean = 200, most = 900 }\n"
        '[allow]\nsites = ["us_neocloud"]\naccelerators = ["h100_sxm", "l4"]\n'
    )
    given = ["plan", str(file), "--explain", "accelerator=h100_sxm"]
    shown = CliRunner().invoke(application(given), given)
    assert shown.exit_code == 0 and "Why not?" in shown.output
    as_json = CliRunner().invoke(application(given), [*given, "--json"])
    assert json.loads(as_json.stdout)[0]["axis"] == "accelerator"

"""`comptroller show calibration ENGINE/ACCELERATOR/MODEL/...`: what stands behind a prediction."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.costs.causes import effects
from comptroller.errors import InputError, UnknownIdError
from comptroller.facts.serving import anchors, serving_facts
from comptroller.report.calibration_rows import evidence_sheets, kinship, replica_of_text


def test_every_measured_configuration_of_an_engine_stands_in_one_kinship() -> None:
    replica = replica_of_text("trtllm/b200_sxm/deepseek_r1/tp8/fp8_block")
    same, model, device, other = kinship(replica)
    assert len(same.rows) > 10 and same.dates and same.octaves is not None
    all_of = [a for a in anchors() if a.engine == "trtllm" and a.accelerator == "b200_sxm"]
    model_here = [a for a in model.rows if a.accelerator == "b200_sxm"]
    assert len(same.rows) + len(model_here) + len(device.rows) == len(all_of)
    assert {a.engine for a in other.rows}.isdisjoint({"trtllm"})


def test_own_runs_halve_the_interval_of_a_deployment_never_measured() -> None:
    sheets = evidence_sheets(replica_of_text("vllm/mi300x/llama_3_1_8b/tp1"))
    now, after = sheets[2].rows[0], sheets[2].rows[-1]
    width = [float(row[2]) / float(row[1]) for row in (now, after)]  # type: ignore[arg-type]
    assert width[1] ** 2 <= width[0] * 1.05 and after[3]


def test_the_effects_shown_are_those_of_its_causes() -> None:
    replica = replica_of_text("vllm/mi300x/llama_3_1_8b")
    shown = {(row[0], row[1]) for row in evidence_sheets(replica)[1].rows}
    assert shown == {name for name in effects(replica) if name in serving_facts().table} != set()


@pytest.mark.parametrize(("text", "error"), [("vllm/h100_sxm", InputError), ("vllm/h100/llama_3_1_8b", UnknownIdError)])
def test_what_is_no_deployment_is_refused(text: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"h100"):
        replica_of_text(text)


def test_the_command_prints_the_same_as_json() -> None:
    words = ["show", "calibration", "vllm/h100_sxm/llama_3_1_8b/tp1", "--json"]
    found = CliRunner().invoke(application(words), words)
    assert found.exit_code == 0
    assert len(json.loads(found.stdout)["values"]) == 4

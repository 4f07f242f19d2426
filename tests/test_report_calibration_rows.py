"""`comptroller show calibration ENGINE/ACCELERATOR/MODEL/...`: what stands behind a prediction."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from comptroller.cli import application
from comptroller.costs.causes import effects, strangeness
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.errors import InputError, RecordError, UnknownIdError, UnsupportedError
from comptroller.facts.library import SHIPPED
from comptroller.facts.measured_configurations import configurations_text, measured_configurations
from comptroller.facts.reader import folder
from comptroller.facts.serving import anchors, serving_facts
from comptroller.planning.offer.replica_fit import replica_to_check
from comptroller.report.calibration_rows import evidence_sheets
from comptroller.report.kindred_configurations import kinship
from comptroller.report.replica_names import replica_of_names
from measured_server import LOADS, SERVER, rows, run

KINDS = {
    "a measured server": "trtllm/b200_sxm/deepseek_r1/tp8/fp8_block",
    "AMD, dense": "vllm/mi300x/llama_3_1_70b/tp4",
    "AMD, experts": "sglang/mi300x/deepseek_r1/tp8/fp8_block",
    "published points alone": "vllm/mi250/llama_2_7b",
    "an engine that nobody timed": "llama_cpp/rtx_4090/llama_3_1_8b/tp1/q4_0",
    "another vendor": "vllm/max_1550/llama_2_7b",
    "an old family": "vllm/v100s_pcie_32/llama_2_7b/tp1/fp16",
    "an old build's device": "vllm/a100_40_sxm/llama_2_7b",
}


@pytest.mark.parametrize("text", KINDS.values(), ids=KINDS)
def test_the_measurements_behind_a_deployment_are_counted_once_each(text: str) -> None:
    replica = replica_of_names([text])
    kin, every = kinship(replica), measured_configurations()
    shown = [one for each in kin for one in each.found]
    assert len(shown) == len(set(shown)) and set(shown) <= set(every)
    of_device = sum(one.rows for one in every if one.accelerator == replica.device.timed_as)
    here = [kin[0].found, kin[2].found, kin[3].found, kin[5].found]
    elsewhere = [one for each in (kin[1], kin[4]) for one in each.found if one.accelerator == replica.device.timed_as]
    assert sum(one.rows for found in (*here, elsewhere) for one in found) == of_device > 0
    for each in kin:
        assert bool(each.rows) == (each.octaves is not None) == bool(each.sources)
    assert any(each.dates for each in kin)


def test_published_points_stand_behind_what_nobody_else_measured() -> None:
    (same, *_, vendor) = kinship(replica_of_names(["sglang/mi300x/deepseek_r1/tp8/fp8_block"]))
    assert same.rows > 50 and same.dates.startswith("2025") and vendor.rows > 0
    names = {one.accelerator for one in measured_configurations()}
    assert {"mi250", "mi100", "max_1550", "strix_halo_8060s"} <= names


def test_a_processor_has_no_effects_of_its_vendors_accelerators() -> None:
    settings = EngineSettings.default(SHIPPED.engine("llama_cpp"))
    parts = PrecisionRecipe("q4_0", "q4_0"), ParallelLayout(), settings
    replica = ModelReplica(SHIPPED.model("llama_3_1_8b"), SHIPPED.accelerator("epyc_9654"), *parts)
    assert not any(".vendor." in name for name, _ in effects(replica)) and strangeness(replica) == "vendor"
    assert not any("other accelerators" in each.name for each in kinship(replica))


def test_all_that_the_calibration_was_fitted_to_is_counted() -> None:
    rows = measured_configurations()
    assert sum(one.rows for one in rows) <= serving_facts().rows
    silicon = {(one.engine, one.architecture, one.formats, one.accelerator) for one in rows if "silicon" in one.source}
    assert {(a.engine, a.architecture, a.formats, a.accelerator) for a in anchors()} <= silicon


def test_configurations_come_back_from_their_text(tmp_path: Path) -> None:
    path = tmp_path / "configurations.csv"
    path.write_text(configurations_text(measured_configurations()))
    assert measured_configurations(path) == measured_configurations()
    other = tmp_path / "other.csv"
    other.write_text(path.read_text().replace(",mi100,", ",mi100,many,"))
    with pytest.raises(RecordError, match="bad row"):
        measured_configurations(other)


def test_kernels_and_power_say_whose_they_are() -> None:
    taken = {row[0]: row[1] for row in evidence_sheets(replica_of_names([KINDS["a measured server"]]))[1].rows}
    assert "b200_sxm" in str(taken["kernels: moe fp8_block"]) and "blackwell" in str(taken["energy of a token"])
    taken = {row[0]: row[1] for row in evidence_sheets(replica_of_names([KINDS["AMD, dense"]]))[1].rows}
    assert "kernels: moe bf16" not in taken and "cdna3 was not" in str(taken["energy of a token"])


def test_own_runs_stand_first_and_their_interval_is_what_was_promised(tmp_path: Path) -> None:
    text = "vllm/h100_sxm/llama_3_1_8b/tp1"
    (tmp_path / "own.csv").write_text(rows())
    assert run("fit", "calibration", tmp_path / "own.csv", *SERVER, "--out", tmp_path / "own") == 0
    own = OwnCalibration.of_folder(tmp_path / "own")
    sheets = evidence_sheets(replica_of_names([text]), own)
    assert sheets[0].rows[0][:2] == ("your own runs of this deployment", len(LOADS))
    promised = evidence_sheets(replica_of_names(["vllm/mi300x/llama_3_1_8b/tp1"]))[3].rows[-1]
    now = sheets[3].rows[0]
    assert float(now[2]) / float(now[1]) <= float(promised[2]) / float(promised[1])  # type: ignore[arg-type]
    with pytest.raises(InputError, match="the calibration speaks of nothing in"):
        evidence_sheets(replica_of_names(["vllm/h200_sxm/llama_3_1_8b/tp1"]), own)
    assert run("show", "calibration", text, "--calibration", tmp_path / "own") == 0
    assert run("show", "calibration", "serving", "--calibration", tmp_path / "own") == 2


def test_own_runs_halve_the_interval_of_a_deployment_never_measured() -> None:
    sheets = evidence_sheets(replica_of_names(["vllm/mi300x/llama_3_1_8b/tp1"]))
    now, after = sheets[3].rows[0], sheets[3].rows[-1]
    width = [float(row[2]) / float(row[1]) for row in (now, after)]  # type: ignore[arg-type]
    assert width[1] ** 2 <= width[0] * 1.05 and after[3]


def test_the_effects_shown_are_those_of_its_causes() -> None:
    replica = replica_of_names(["vllm/mi300x/llama_3_1_8b"])
    shown = {(row[0], row[1]) for row in evidence_sheets(replica)[2].rows}
    assert shown == {name for name in effects(replica) if name in serving_facts().table} != set()


@pytest.mark.parametrize(
    ("text", "error", "said"),
    [
        ("vllm/h100_sxm", InputError, "h100"),
        ("vllm/h100/llama_3_1_8b", UnknownIdError, "h100"),
        ("vllm/h100_sxm/llama_3_1_8b/tp3", InputError, "tp divides its 32 heads"),
        ("llama_cpp/ascend_910c/llama_3_1_8b", UnsupportedError, "does not serve on Huawei"),
        ("vllm/h100_sxm/llama_3_1_8b/tp1/bf16/more", InputError, "where a file or a repository has slashes"),
    ],
)
def test_what_is_no_deployment_is_refused(text: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        replica_of_names([text])


@pytest.mark.parametrize("model", ["gpt_oss_120b", "deepseek_r1", "llama_3_1_8b"])
def test_without_a_format_it_is_the_checkpoint_as_the_engine_runs_it(model: str) -> None:
    asked = replica_to_check(SHIPPED.model(model), SHIPPED.accelerator("h100_sxm"), ParallelLayout(8), "vllm")
    assert replica_of_names([f"vllm/h100_sxm/{model}/tp8"]) == asked


def test_a_name_with_slashes_is_one_of_several_words(tmp_path: Path) -> None:
    apart = replica_of_names(["vllm", "h100_sxm", "meta-llama/Llama-3.1-8B-Instruct", "tp2", "fp8_e4m3"])
    known = replica_of_names(["vllm/h100_sxm/llama_3_1_8b/tp2/fp8_e4m3"])
    assert replace(apart, model=known.model) == known and apart.model.id == known.model.id
    shipped = Path(str(folder("accelerators") / "h100_sxm.toml"))
    (tmp_path / "mine.toml").write_text(shipped.read_text())
    assert run("show", "calibration", "vllm", tmp_path / "mine.toml", "llama_3_1_8b") == 0
    assert run("show", "calibration", "vllm", "h100_sxm") == run("show", "engines", "vllm", "sglang") == 2


def test_the_command_prints_the_same_as_json() -> None:
    words = ["show", "calibration", "vllm/h100_sxm/llama_3_1_8b/tp1", "--json"]
    found = CliRunner().invoke(application(words), words)
    assert found.exit_code == 0
    assert len(json.loads(found.stdout)["values"]) == 6

"""A user's own measurements, from the command line to what plans, simulations and the gateway predict."""

from __future__ import annotations

import json
import os
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from comptroller.costs.closed_loop import closed_loop
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.memory import memory
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steady import UniformRequests
from comptroller.errors import FactError, InputError
from comptroller.facts.calibration_document import CalibrationDocument
from comptroller.gateway.config import GatewayConfig, ServiceConfig
from comptroller.gateway.plan_drift import served_plan
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.offer.intervals import ReplicaIntervals
from comptroller.work.workload import load, parse
from measured_server import LOADS, SERVER, SLOWER, rows, run, server, workload

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import calibration_door
from vllm_runs import read_run

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("COMPTROLLER_DATA", ROOT.parent / "shared" / "data"))
RUN = DATA / "serving" / "vllm_run_RTXPRO6000_Llama-3.1-8B.csv"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("door")
    (path / "own.csv").write_text(rows())
    assert run("fit", "calibration", path / "own.csv", *SERVER, "--out", path / "calibration") == 0
    return path


@pytest.fixture(scope="module")
def plans(folder: Path) -> dict[str, Plan]:
    shipped, own = folder / "shipped.json", folder / "own.json"
    assert run("plan", workload(folder), "--out", shipped) == 0
    assert run("plan", workload(folder), "--out", own, "--calibration", folder / "calibration") == 0
    return {"shipped": load_plan(shipped), "own": load_plan(own)}


def latencies(calibration: TimingCalibration, replica: ModelReplica) -> tuple[float, float]:
    requests = UniformRequests(np.array([1000.0]), np.array([256.0]))
    loop = closed_loop(replica_timer(replica, calibration), memory(replica), requests, [16.0])
    return float(loop.tpot_s[0]), float(loop.ttft_s[0])


def test_what_was_measured_is_priced_as_it_was_measured(folder: Path) -> None:
    own, shipped = OwnCalibration.of_folder(folder / "calibration"), FittedCalibration.shipped()
    for ours, theirs in zip(latencies(own, server()), latencies(shipped, server()), strict=True):
        assert ours == pytest.approx(SLOWER * theirs, rel=0.05)


def test_what_was_not_measured_is_priced_as_before(folder: Path) -> None:
    own, shipped = OwnCalibration.of_folder(folder / "calibration"), FittedCalibration.shipped()
    other = server("qwen3_8b")
    assert own.covers(server()) and not own.covers(other)
    assert latencies(own, other) == latencies(shipped, other)
    assert ReplicaIntervals.of(other, own) == ReplicaIntervals.of(other, shipped)


def test_a_band_of_what_was_measured_is_narrower(folder: Path) -> None:
    own, shipped = OwnCalibration.of_folder(folder / "calibration"), FittedCalibration.shipped()
    for replica in (server(), server(tp=2)):
        ours, theirs = ReplicaIntervals.of(replica, own).tpot, ReplicaIntervals.of(replica, shipped).tpot
        assert ours.low < 1 < ours.high
        assert ours.high / ours.low < theirs.high / theirs.low


def test_a_calibration_is_content_with_a_digest_and_comes_back_from_it(folder: Path) -> None:
    document = CalibrationDocument.of_folder(folder / "calibration")
    again = CalibrationDocument.of_content(json.loads(json.dumps(document.content)))
    assert again == document and again.digest == document.digest
    assert OwnCalibration(again).tpot(server()) == OwnCalibration(document).tpot(server())
    assert replace(document, residual=document.residual + " ").digest != document.digest
    with pytest.raises(FactError, match=r"holds serving\.toml"):
        CalibrationDocument.of_content({"serving.toml": ""})


def test_the_command_tells_errors_before_and_after_and_whether_more_would_help(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fit", "calibration", folder / "own.csv", *SERVER, "--out", folder / "again", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    before, after = (document["median_absolute_error"][name] for name in ("before", "after"))
    assert before["tpot"] > 0.2 and before["ttft"] > 0.2 and before["e2e"] > 0.2
    assert after["tpot"] < 0.1 * before["tpot"] + 0.02 and after["e2e"] < 0.1 * before["e2e"] + 0.02
    curve = document["learning_curve"]
    assert [point["rows"] for point in curve] == [1, 3, 6]
    assert curve[-1]["tpot"] == after["tpot"] <= curve[0]["tpot"]
    assert document["advice"] and document["digest"] == CalibrationDocument.of_folder(folder / "again").digest


def test_an_own_calibration_is_refitted_and_its_runs_stay(folder: Path, tmp_path: Path) -> None:
    head, *lines = rows().splitlines()
    parts = [tmp_path / f"{name}.csv" for name in ("first", "second")]
    for part, some in zip(parts, (lines[:4], lines[4:]), strict=True):
        part.write_text("\n".join([head, *some]) + "\n")
    first, both = tmp_path / "first", tmp_path / "both"
    assert run("fit", "calibration", parts[0], *SERVER, "--out", first) == 0
    assert run("fit", "calibration", parts[1], *SERVER, "--calibration", first, "--out", both) == 0
    ours, whole = (OwnCalibration.of_folder(path) for path in (both, folder / "calibration"))
    assert len(ours.own) == len(whole.own) == len(LOADS) > len(OwnCalibration.of_folder(first).own)
    assert latencies(ours, server()) == pytest.approx(latencies(whole, server()), rel=0.05)


def test_with_few_rows_nothing_is_held_out_and_that_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "few.csv").write_text(rows(2))
    assert run("fit", "calibration", tmp_path / "few.csv", *SERVER, "--out", tmp_path / "c") == 0
    said = capsys.readouterr().out
    assert "nothing can be held out of 2 runs" in said and "-> not measured" in said


def test_a_plan_rests_on_the_calibration_and_says_so(folder: Path, plans: dict[str, Plan]) -> None:
    shipped, own = plans["shipped"], plans["own"]
    digest = CalibrationDocument.of_folder(folder / "calibration").digest
    assert own.digests.calibration == digest != shipped.digests.calibration
    assert any("own calibration calibration, measured for this server" in note for note in own.notes)
    assert not any("own calibration" in note for note in shipped.notes)
    assert own.totals.usd_per_h.value >= shipped.totals.usd_per_h.value
    ours, theirs = (plan.services[0].tpot_s for plan in (own, shipped))
    assert (ours.high or 0) / (ours.low or 1) < (theirs.high or 0) / (theirs.low or 1)


def test_a_workload_names_its_calibration_relative_to_itself(folder: Path, plans: dict[str, Plan]) -> None:
    loaded = load(workload(folder, own=True))
    assert loaded.calibration == str(folder / "calibration")
    assert loaded.digest != load(workload(folder)).digest
    assert run("plan", workload(folder, own=True), "--out", folder / "key.json") == 0
    assert load_plan(folder / "key.json") == plans["own"]
    document = tomllib.loads(workload(folder, own=True).read_text()) | {"calibration": "absent"}
    with pytest.raises(FactError, match=r"calibration: 'absent': serving\.toml"):
        parse(document, folder / "w.toml")


def test_fits_is_priced_by_a_calibration_of_what_it_asks_for(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("fits", "llama_3_1_8b", "h100_sxm", "--format", "bf16", "--json")
    found = []
    for more in ((), ("--calibration", folder / "calibration")):
        assert run(*words, *more) == 0
        found.append(json.loads(capsys.readouterr().out)["speed"][0])
    for quantity in ("tpot_s", "ttft_s"):
        assert found[1][quantity] == pytest.approx(SLOWER * found[0][quantity], rel=0.1)


def trace(folder: Path) -> Path:
    lines = [f"{i * 0.25},1000,200" for i in range(120)]
    (folder / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n" + "\n".join(lines) + "\n")
    return folder / "trace.csv"


def simulated(folder: Path, plan: str, capsys: pytest.CaptureFixture[str], *more: object) -> tuple[float, str]:
    """Median TPOT of a simulation, and what was said beside it."""
    calls = folder / "calls.csv"
    words = ("simulate", folder / f"{plan}.json", "--trace", trace(folder), "--calls", calls, *more)
    assert run(*words) == 0
    head, *lines = calls.read_text().splitlines()
    names = head.split(",")
    at = [names.index(name) for name in ("first_s", "last_s", "output_tokens")]
    cells = [line.split(",") for line in lines]
    spans = [(float(row[at[1]]) - float(row[at[0]])) / (float(row[at[2]]) - 1) for row in cells]
    return float(np.median(spans)), capsys.readouterr().err


def test_a_simulation_runs_under_the_calibration(
    folder: Path, plans: dict[str, Plan], capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--calibration", folder / "calibration")
    fast, said = simulated(folder, "shipped", capsys)
    assert "the plan was made under calibration" not in said
    slow, said = simulated(folder, "shipped", capsys, *given)
    assert "the plan was made under calibration" in said
    assert slow == pytest.approx(SLOWER * fast, rel=0.1)
    named, said = simulated(folder, "own", capsys, *given)
    assert "the plan was made under calibration" not in said
    alone, said = simulated(folder, "own", capsys)
    assert "the plan was made under calibration" not in said
    assert alone == named, "the calibration travels in the plan"


def gateway(folder: Path, plan: str, calibration: str = "calibration") -> GatewayConfig:
    services = {"a": ServiceConfig(url="http://127.0.0.1:9")}
    named = str(folder / calibration) if calibration else ""
    return GatewayConfig(services, plan=str(folder / f"{plan}.json"), calibration=named)


def test_the_gateway_judges_a_plan_by_the_calibration(folder: Path, plans: dict[str, Plan]) -> None:
    plain = served_plan(gateway(folder, "shipped", ""))
    assert plain == plans["shipped"]
    judged = served_plan(gateway(folder, "shipped"))
    for ours, theirs in zip(judged.latency, plain.latency, strict=True):
        assert ours.predicted_s.value == pytest.approx(SLOWER * theirs.predicted_s.value, rel=0.1)
        assert ours.predicted_s.low is not None and ours.predicted_s.low < ours.predicted_s.value
    assert served_plan(gateway(folder, "own")) == plans["own"]


def test_the_gateway_refuses_a_calibration_of_nothing_it_serves(folder: Path, tmp_path: Path) -> None:
    plan = json.loads((folder / "shipped.json").read_text())
    plan["services"][0]["deployment"]["model"] = "qwen3_8b"
    plan["facts"] = []
    (tmp_path / "other.json").write_text(json.dumps(plan))
    config = replace_plan(gateway(folder, "shipped"), tmp_path / "other.json")
    with pytest.raises(InputError, match="speaks of nothing in the plan"):
        served_plan(config)
    plan = json.loads((folder / "own.json").read_text())
    plan["digests"]["calibration"] = "0" * 64
    (tmp_path / "third.json").write_text(json.dumps(plan))
    with pytest.raises(InputError, match="plan again with --calibration"):
        served_plan(replace_plan(gateway(folder, "own"), tmp_path / "third.json"))
    with pytest.raises(InputError, match="name the plan, too"):
        GatewayConfig({"a": ServiceConfig(url="http://127.0.0.1:9")}, calibration="c").checked()


def replace_plan(config: GatewayConfig, plan: Path) -> GatewayConfig:
    return GatewayConfig(config.services, plan=str(plan), calibration=config.calibration)


@pytest.mark.parametrize(("text", "problem"), [("rows = 1", "is missing"), ("rows =", "not valid TOML")])
def test_a_folder_that_is_no_calibration_is_refused(folder: Path, tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(FactError, match=r"serving\.toml: No such file"):
        OwnCalibration.of_folder(tmp_path)
    (tmp_path / "serving.toml").write_text(text)
    (tmp_path / "residual.csv").write_text((folder / "calibration" / "residual.csv").read_text())
    with pytest.raises(FactError, match=problem):
        OwnCalibration.of_folder(tmp_path)


def test_the_shipped_calibration_is_not_one_of_ones_own() -> None:
    with pytest.raises(InputError, match="without a run of one's own"):
        OwnCalibration.of_folder(ROOT / "src" / "comptroller" / "facts" / "calibration")


@pytest.mark.skipif(not RUN.is_file(), reason=f"no recorded run at {RUN}")
def test_the_first_half_of_a_recorded_run_predicts_the_second(tmp_path: Path) -> None:
    recorded = read_run(RUN)
    before = calibration_door.errors(recorded, FittedCalibration.shipped())
    after = calibration_door.errors(recorded, calibration_door.learnt(RUN, recorded, 150, tmp_path))
    assert before.each[0] > 0.08 and before.each[2] > 0.12
    assert after.each[0] < 0.025, "time per token of a held-out request"
    assert after.each[1] < 0.04, "time to its first token"
    assert after.each[2] < 0.025, "end to end"

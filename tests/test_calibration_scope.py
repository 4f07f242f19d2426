"""A calibration of another engine, model, accelerator or format than it is used for: refused at every door, or said."""

from __future__ import annotations

import ast
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from inspect import signature
from pathlib import Path

import numpy as np
import pytest

import comptroller
from comptroller.costs.deployment import ParallelLayout
from comptroller.costs.fitted_calibration import FittedCalibration
from comptroller.costs.own_calibration import OwnCalibration
from comptroller.errors import InputError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.digests import facts_digest
from comptroller.gateway.config import GatewayConfig, ServiceConfig
from comptroller.gateway.plan_drift import planned_notes, served_plan
from comptroller.planning.capped_scaling import simulate_capped_scaling
from comptroller.planning.fault_simulation import FaultConditions, simulate_faults
from comptroller.planning.ground.plan_calibration import calibration_of_plan, plan_remarks, under_own_calibration
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.offer.cache_tiers import check_tiers
from comptroller.planning.offer.replica_fit import FitQuery, check_fit, replica_to_check
from comptroller.planning.over_time import OverTimeWish, fleet_over_time
from comptroller.planning.over_time_surroundings import rows_of_plan
from comptroller.planning.planner import plan, plan_in_parts, proven_problem, why_not
from comptroller.planning.pool_simulation import simulate_pools
from comptroller.planning.power_simulation import RowConditions, simulate_power
from comptroller.planning.redundancy_simulation import RedundancyConditions, simulate_redundancy
from comptroller.planning.scaled_simulation import ScalingConditions, scaling_stage, simulate_scaling
from comptroller.planning.shared_phases import SharedPhaseConditions, simulate_shared_phases
from comptroller.planning.simulation import TraceReplaySettings, simulate_plan
from comptroller.planning.spot_simulation import SpotConditions, simulate_spot
from comptroller.planning.tool_gaps import compare_tool_gaps
from comptroller.report.calibration_rows import evidence_sheets
from comptroller.work.trace import RequestTrace, TracePrefixBlocks
from comptroller.work.trace_tasks import TraceTasks
from comptroller.work.workload import Workload, load
from comptroller.work.zone_record import ZoneCapacity, ZoneRecord
from measured_server import SERVER, WORKLOAD, rows, run

PACKAGE = Path(comptroller.__file__).parent

OTHERS = {
    "engine sglang, measured vllm": ('engines = ["vllm"]', 'engines = ["sglang"]'),
    "accelerator h200_sxm, measured h100_sxm": ('["h100_sxm"]', '["h200_sxm"]'),
    "36x4096x151936, measured 32x4096x128256": ('models = ["MODEL"]', 'models = ["qwen3_8b"]'),
    "fp8_e4m3+fp8_e4m3, measured bf16+bf16": ('formats = ["bf16"]', 'formats = ["fp8_e4m3"]'),
    "build own v1, measured own": ('engines = ["vllm"]', 'engines = ["../old_vllm.toml"]'),
}
"""What is not as it was measured, as it is told -> the line of the workload that makes it so."""

FITS = {
    "engine sglang, measured vllm": ("llama_3_1_8b", "h100_sxm", "sglang", "bf16"),
    "accelerator h200_sxm, measured h100_sxm": ("llama_3_1_8b", "h200_sxm", "vllm", "bf16"),
    "36x4096x151936, measured 32x4096x128256": ("qwen3_8b", "h100_sxm", "vllm", "bf16"),
    "fp8_e4m3+fp8_e4m3, measured bf16+bf16": ("llama_3_1_8b", "h100_sxm", "vllm", "fp8_e4m3"),
    "build own v1, measured own": ("llama_3_1_8b", "h100_sxm", "old_vllm.toml", "bf16"),
}


@dataclass(frozen=True)
class AskedDoor:
    """Something that the calibration was not measured for, as a file, a workload, a plan and a question of `fits`."""

    folder: Path
    name: str
    own: OwnCalibration

    @property
    def file(self) -> Path:
        return self.folder / "workload.toml"

    @property
    def workload(self) -> Workload:
        return load(self.file)

    @property
    def plan(self) -> Plan:
        return load_plan(self.folder / "plan.json")

    @property
    def calibration(self) -> Path:
        return self.folder.parent / "calibration"

    @property
    def query(self) -> FitQuery:
        model_id, device, engine, form = FITS[self.name]
        replica = replica_to_check(model(model_id), accelerator(device), ParallelLayout(), engine, (form, ""))
        return FitQuery(replica, 1000, 100)

    @property
    def gateway(self) -> GatewayConfig:
        services = {"a": ServiceConfig(url="http://127.0.0.1:9")}
        return GatewayConfig(services, plan=str(self.folder / "plan.json"), calibration=str(self.calibration))


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, AskedDoor]:
    path = tmp_path_factory.mktemp("scope")
    (path / "own.csv").write_text(rows())
    facts = (PACKAGE / "facts" / "engines" / "vllm.toml").read_text()
    (path / "old_vllm.toml").write_text(
        'program = "vllm"\n' + facts.replace('version = "0.12"', 'version = "0.11.2"', 1)
    )
    assert run("fit", "calibration", path / "own.csv", *SERVER, "--out", path / "calibration") == 0
    found = {}
    for number, (name, (line, other)) in enumerate(OTHERS.items()):
        folder = path / f"other_{number}"
        folder.mkdir()
        text = WORKLOAD.replace(line, other).replace("MODEL", "llama_3_1_8b").replace("CALIBRATION", "")
        (folder / "workload.toml").write_text(text)
        (folder / "named.toml").write_text('calibration = "../calibration"\n' + text)
        (folder / "plan.json").write_text(plan(load(folder / "workload.toml"), quick=True).to_json())
        (folder / "trace.csv").write_text("arrival_s,input_tokens,output_tokens\n0,1000,200\n1,1000,200\n")
        found[name] = AskedDoor(folder, name, OwnCalibration.of_folder(path / "calibration"))
    return found


@pytest.fixture(autouse=True)
def _files_by_name(asked: dict[str, AskedDoor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(next(iter(asked.values())).folder.parent)


def two_requests() -> RequestTrace:
    """Two requests, the second of which waits for a tool and goes on from the first one's prompt."""
    blocks = TracePrefixBlocks(np.array([0, 1, 2]), np.array([1, 1]), 512)
    tasks = TraceTasks.of(np.array([-1, 0]), np.array([0.0, 1.0]))
    arrivals = np.array([0.0, 1.0])
    return RequestTrace(arrivals, np.full(2, 1000), np.full(2, 200), source="two", blocks=blocks, tasks=tasks)


def one_zone() -> ZoneRecord:
    return ZoneRecord("zone", (ZoneCapacity("a", 1, np.array([0.0]), np.array([1.0]), 1e6),))


ROWS = RowConditions(1e6)
SCALED = ScalingConditions(start_up_s=10.0)

FUNCTIONS: dict[str, Callable[[AskedDoor], object]] = {
    "plan": lambda d: plan(d.workload, d.own, quick=True),
    "plan_in_parts": lambda d: list(plan_in_parts(d.workload, d.own)),
    "proven_problem": lambda d: proven_problem(d.workload, calibration=d.own),
    "why_not": lambda d: why_not(d.workload, ["engine=vllm"], d.own),
    "simulate_plan": lambda d: simulate_plan(d.plan, two_requests(), calibration=d.own),
    "simulate_faults": lambda d: simulate_faults(d.plan, two_requests(), FaultConditions(1e6, (1.0,)), d.own),
    "simulate_power": lambda d: simulate_power(d.plan, two_requests(), ["uncapped"], ROWS, d.own),
    "rows_of_plan": lambda d: rows_of_plan(d.plan, ROWS, d.own),
    "simulate_redundancy": lambda d: simulate_redundancy(d.plan, two_requests(), RedundancyConditions((1.0,)), d.own),
    "simulate_scaling": lambda d: simulate_scaling(d.plan, two_requests(), ["fixed"], SCALED, d.own),
    "simulate_capped_scaling": lambda d: simulate_capped_scaling(
        d.plan, two_requests(), (["fixed"], ["uncapped"]), (SCALED, ROWS), d.own
    ),
    "simulate_pools": lambda d: simulate_pools(d.plan, two_requests(), ["none"], None, d.own),
    "simulate_shared_phases": lambda d: simulate_shared_phases(
        d.plan, two_requests(), SharedPhaseConditions((0.5,), 0.4), d.own
    ),
    "scaling_stage": lambda d: scaling_stage(d.plan, SCALED, d.own),
    "simulate_spot": lambda d: simulate_spot(
        d.plan, two_requests(), one_zone(), ["on_demand"], SpotConditions(start_up_s=1.0), d.own
    ),
    "fleet_over_time": lambda d: fleet_over_time(d.plan, two_requests(), OverTimeWish(), SCALED, d.own),
    "compare_tool_gaps": lambda d: compare_tool_gaps(d.plan, two_requests(), TraceReplaySettings(), (), d.own),
    "calibration_of_plan": lambda d: calibration_of_plan(d.plan, d.own),
    "under_own_calibration": lambda d: under_own_calibration(d.plan, d.own, facts_digest()[1]),
    "check_fit": lambda d: check_fit(d.query, d.own),
    "evidence_sheets": lambda d: evidence_sheets(d.query.replica, d.own),
    "check_tiers": lambda d: check_tiers(d.query, 500, ("host_memory",), d.own),
}
"""Functions that take a calibration which may be a user's own."""

COMMANDS: dict[str, Callable[[AskedDoor], tuple[object, ...]]] = {
    "plan": lambda d: ("plan", d.file, "--quick", "--calibration", d.calibration),
    "simulate": lambda d: (
        *("simulate", d.folder / "plan.json", "--trace", d.folder / "trace.csv"),
        *("--calibration", d.calibration),
    ),
    "fits": lambda d: (
        *("fits", *FITS[d.name][:2], "--engine", FITS[d.name][2], "--format", FITS[d.name][3]),
        *("--calibration", d.calibration),
    ),
    "show": lambda d: (
        *("show", "calibration", f"{FITS[d.name][2]}/{FITS[d.name][1]}/{FITS[d.name][0]}/tp1/{FITS[d.name][3]}"),
        *("--calibration", d.calibration),
    ),
    "serve": lambda d: (
        *("serve", "--backend", "echo", "--plan", d.folder / "plan.json", "--books", d.folder / "books.sqlite"),
        *("--port", "0", "--calibration", d.calibration),
    ),
}
"""Commands with `--calibration`."""

REFITS = "fit"
"""The command whose `--calibration` is refitted: runs of another server are kept beside its own."""


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("door", FUNCTIONS)
def test_a_function_refuses_a_calibration_of_something_else(asked: dict[str, AskedDoor], door: str, other: str) -> None:
    with pytest.raises(InputError, match="the calibration speaks of nothing in") as refused:
        FUNCTIONS[door](asked[other])
    assert other in str(refused.value) and "on h100_sxm under vllm" in str(refused.value)


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("door", COMMANDS)
def test_a_command_refuses_a_calibration_of_something_else(
    asked: dict[str, AskedDoor], door: str, other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*COMMANDS[door](asked[other])) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "the calibration speaks of nothing in" in said and other in said and "Traceback" not in said


@pytest.mark.parametrize("other", OTHERS)
def test_a_document_that_names_a_calibration_of_something_else_is_refused(
    asked: dict[str, AskedDoor], other: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="the calibration speaks of nothing in"):
        served_plan(asked[other].gateway)
    assert run("plan", asked[other].folder / "named.toml", "--quick") == 2
    assert other in " ".join(capsys.readouterr().err.split())


def definitions() -> Iterator[tuple[str, ast.AST]]:
    """Functions and classes at the top of the package's modules that speak of a calibration, with the module's name."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if "calibration" in (text := path.read_text(encoding="utf-8")):
            yield from ((module, node) for node in ast.parse(text).body)


def test_every_function_that_takes_a_calibration_or_none_is_a_door_above() -> None:
    """A calibration that may be left out is a user's to give: a new function with one is to be tried above."""
    found = set()
    for module, node in definitions():
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or ".cli." in module:
            continue
        parameters = signature(getattr(import_module(module), node.name)).parameters.values()
        if any("Calibration | None" in str(each.annotation) for each in parameters):
            found.add(node.name)
    assert found <= FUNCTIONS.keys()
    assert len(found) > 10


def test_every_option_and_key_that_names_a_calibration_is_a_door_above() -> None:
    options, keys = set(), set()
    for module, node in definitions():
        if isinstance(node, ast.FunctionDef) and ".cli." in module:
            folders = [each.arg for each in node.args.args if "--calibration" in ast.unparse(each) or named(each)]
            options |= {module.rpartition(".")[2]} if folders else set()
        if isinstance(node, ast.ClassDef):
            fields = [each for each in node.body if isinstance(each, ast.AnnAssign)]
            if any(ast.unparse(each.target) == "calibration" and is_text(each.annotation) for each in fields):
                keys.add(node.name)
    assert {"plan" if name == "_workload_changes" else name for name in options} == {*COMMANDS, REFITS}
    assert keys == {"Workload", "GatewayConfig", "InputDigests"}, "the last is a digest"


def named(argument: ast.arg) -> bool:
    """Whether an argument of a command is an option named --calibration by its own name."""
    annotation = argument.annotation
    return argument.arg == "calibration" and annotation is not None and "typer.Option" in ast.unparse(annotation)


def is_text(annotation: ast.expr) -> bool:
    return "str" in ast.unparse(annotation).split(" | ")


def test_what_a_calibration_speaks_of_in_part_is_used_and_the_rest_is_said(
    asked: dict[str, AskedDoor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    door = asked["accelerator h200_sxm, measured h100_sxm"]
    text = WORKLOAD.replace("MODEL", "llama_3_1_8b").replace("CALIBRATION", "")
    (tmp_path / "measured.toml").write_text(text)
    covered, other = plan(load(tmp_path / "measured.toml"), quick=True), door.plan
    assert plan_remarks(covered, door.own) == [] and plan_remarks(other, FittedCalibration.shipped()) == []
    document = json.loads(covered.to_json())
    document["services"] += json.loads(other.to_json())["services"]
    document["facts"] += [one for one in json.loads(other.to_json())["facts"] if one not in document["facts"]]
    (tmp_path / "both.json").write_text(json.dumps(document))
    both = load_plan(tmp_path / "both.json")
    (remark,) = plan_remarks(both, door.own)
    assert remark.startswith(f"{other.services[0].id}: not what the calibration was measured for")
    assert "the shipped one prices it, with its wider band" in remark
    words = ("--trace", door.folder / "trace.csv", "--calibration", door.calibration)
    assert run("simulate", tmp_path / "both.json", *words) == 0
    assert remark in " ".join(capsys.readouterr().err.split())
    services = {"a": ServiceConfig(url="http://127.0.0.1:9")}
    config = GatewayConfig(services, plan=str(tmp_path / "both.json"), calibration=str(door.calibration))
    assert remark in planned_notes(config)

"""Policies that a workload names: in the plan, in its proof, and refused where their input cannot arrive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from comptroller.errors import InputError, UnknownIdError
from comptroller.planning.planner import plan
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.planning.simulation import simulate_plan
from comptroller.work.demand import recorded_trace
from comptroller.work.trace import RequestTrace
from comptroller.work.workload import Workload, parse

FEW = RehearsalSettings(draws=2)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five minutes of two customers, four requests a second."""
    rng = np.random.default_rng(1)
    times = np.sort(rng.uniform(0, 300, 1200))
    rows = zip(
        times, rng.integers(200, 2000, 1200), rng.integers(20, 200, 1200), rng.choice(["a", "b"], 1200), strict=True
    )
    path = tmp_path_factory.mktemp("policies") / "log.csv"
    path.write_text("when,prompt,reply,customer\n" + "".join(",".join(map(str, row)) + "\n" for row in rows))
    return path


def workload(log: Path, **changes: Any) -> Workload:
    document = {
        "name": "shared",
        "models": ["llama_3_1_8b"],
        "trace": "log.csv",
        "columns": {"arrival": "when", "input": "prompt", "output": "reply", "tenant": "customer", "unit": "s"},
        "policies": {"scheduling": "fair_share"},
        "objectives": {"ttft": {"p": 95, "max": 800, "unit": "ms"}, "tpot": {"p": 95, "max": 60, "unit": "ms"}},
        "allow": {"accelerators": ["l40s"], "sites": ["us_neocloud"], "formats": ["bf16"], "engines": ["vllm"]},
    } | changes
    return parse({name: value for name, value in document.items() if value is not None}, log.with_name("w.toml"))


def test_a_plan_is_proven_with_the_policies_of_its_workload(log: Path) -> None:
    asked = workload(log)
    found = plan(asked, rehearsal=FEW)
    assert [dict(service.deployment.policies)["scheduling"] for service in found.services] == ["fair_share"]
    trace = recorded_trace(asked)
    assert simulate_plan(found, trace).outcome.fleet.tenants == 2
    without = RequestTrace(trace.arrival_s, trace.input_tokens, trace.output_tokens, source="other.csv")
    with pytest.raises(InputError, match=r"fair_share needs the column 'tenant', which other\.csv lacks"):
        simulate_plan(found, without)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"policies": {"scheduling": "priority"}}, InputError, "needs the column 'priority', which log.csv lacks"),
        ({"policies": {"scheduling": "magic"}}, UnknownIdError, "unknown scheduling policy 'magic'; known: fair_share"),
        ({"policies": {"routing": "magic"}}, UnknownIdError, "unknown routing policy 'magic'"),
        (
            {
                "trace": None,
                "columns": None,
                "rate_per_s": 3.0,
                "lengths": {"input": {"fixed": 5}, "output": {"fixed": 5}},
            },
            InputError,
            "needs the column 'tenant', which shared, a workload of questions or without a trace, lacks",
        ),
    ],
)
def test_a_policy_whose_input_cannot_arrive_is_refused_before_any_work(
    log: Path, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        plan(workload(log, **changes), rehearsal=FEW)


def test_what_was_taken_for_granted_of_a_trace_stands_in_the_plan(log: Path) -> None:
    columns = {"arrival": "when", "input": "prompt", "output": "reply", "unit": "s"}
    found = plan(workload(log, columns=columns, policies={}), rehearsal=None)
    assert found.notes.count("not used of log.csv, though it may matter: customer") == 1

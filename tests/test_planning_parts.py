"""A plan in parts: the answer first, reasons as they come, the frontier only where it is asked for."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from functools import cache

import pytest
from rich.console import Console

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.planner import PlanDepth, plan, plan_in_parts
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.report.terminal import PlanPrinter
from comptroller.work.workload import parse

FEW = RehearsalSettings(draws=3)
SMALL = {
    "name": "small",
    "models": ["llama_3_1_8b"],
    "rate_per_s": 6.0,
    "lengths": {"input": {"median": 200, "mean": 300, "most": 2000}, "output": {"median": 10, "mean": 15, "most": 60}},
    "objectives": {"ttft": {"p": 95.0, "max": 800.0, "unit": "ms"}, "tpot": {"p": 95.0, "max": 40.0, "unit": "ms"}},
    "allow": {"sites": ["us_neocloud"], "accelerators": ["l40s", "h100_sxm"], "engines": ["vllm"]},
    "kind_usd_per_h": 0.0,
}
REASONS = ("shadow_prices", "runners_up", "pruned", "frontier")


class PhaseRecord:
    """What a plan told while it was made."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def __call__(self, done: int, total: int) -> None:
        """See `PlanProgress`."""

    def phase(self, what: str) -> None:
        """See `PlanProgress`."""
        self.told.append(what.partition(":")[0])


@cache
def parts(depth: PlanDepth) -> tuple[tuple[Plan, ...], tuple[str, ...]]:
    """The parts of the small plan, and the phases that were told."""
    record = PhaseRecord()
    return tuple(plan_in_parts(parse(SMALL), progress=record, rehearsal=FEW, depth=depth)), tuple(record.told)


def reasons_of(found: Plan) -> list[str]:
    """The kinds of reasons that stand in a plan."""
    return [name for name in REASONS if getattr(found, name)]


def test_the_answer_comes_first_and_its_reasons_follow() -> None:
    (answer, lost, priced, whole), phases = parts(PlanDepth.FRONTIER)
    assert answer.services and answer.verification and reasons_of(answer) == []
    assert reasons_of(lost) == ["runners_up", "pruned"]
    assert reasons_of(priced) == ["shadow_prices", "runners_up", "pruned"]
    assert reasons_of(whole) == sorted(REASONS, key=REASONS.index)
    assert {one.services for one in (lost, priced, whole)} == {answer.services}
    order = list(dict.fromkeys(phases))
    assert order.index("simulating fleets") < order.index("comparing with what lost") < order.index("pricing limits")


def test_quick_leaves_reasons_out_and_changes_no_answer() -> None:
    quick = plan(parse(SMALL), rehearsal=FEW, quick=True)
    assert quick == parts(PlanDepth.FRONTIER)[0][0]
    assert parts(PlanDepth.ANSWER)[0] == (quick,)


def test_the_frontier_is_worked_out_only_where_it_is_asked_for() -> None:
    asked, without = parts(PlanDepth.FRONTIER), parts(PlanDepth.REASONS)
    assert without[0] == asked[0][:-1]
    assert "looking at other objectives" in asked[1] and "looking at other objectives" not in without[1]


def test_what_is_known_is_printed_and_nothing_twice() -> None:
    (answer, *more), _ = parts(PlanDepth.REASONS)
    page = io.StringIO()
    printer = PlanPrinter(Console(file=page, width=140, emoji=False))
    printer.print(answer)
    first = page.getvalue()
    assert answer.services[0].launch in first and "met, simulated" in first
    assert "Runners-up" not in first and "Shadow prices" not in first
    for part in more:
        printer.print(part)
    printer.end()
    whole = page.getvalue()
    assert whole.startswith(first)
    lines = whole.splitlines()
    for title in ("Runners-up", "Simulated fleets", "Shadow prices"):
        assert lines.count(title) == 1
    notes = [line for line in lines if line.startswith("note: ")]
    assert len(notes) == len(set(notes)) and all(f"note: {note}" in notes for note in more[-1].notes)


WITHOUT_NUMBA = """
import sys
sys.modules["numba"] = None
from comptroller.planning.planner import plan
from comptroller.planning.prove.arrivals import RehearsalSettings
from comptroller.serving.jit import COMPILED
from comptroller.work.workload import parse
assert not COMPILED
print(plan(parse({small}), rehearsal=RehearsalSettings(draws=3), quick=True).to_json())
"""


@pytest.mark.slow
def test_without_numba_the_answer_is_the_same_and_is_simulated() -> None:
    code = WITHOUT_NUMBA.format(small=repr(SMALL))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ))
    found = json.loads(run.stdout)
    assert [item["status"] for item in found["latency"]] == ["simulated", "simulated"]
    assert found == json.loads(parts(PlanDepth.FRONTIER)[0][0].to_json())
    assert "numba is not installed" in run.stderr


def test_what_help_imports_is_light() -> None:
    code = "import runpy, sys; sys.argv = ['comptroller', 'plan', '--help']\n" + (
        "try: runpy.run_module('comptroller', run_name='__main__')\n"
        "except SystemExit: print(*sorted({one.split('.')[0] for one in sys.modules}), file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numpy", "scipy", "numba", "highspy"} & set(run.stderr.split())

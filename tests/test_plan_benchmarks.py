"""What the benchmarks of plans rest on: rows that are kept, neighbours in the grid, and what is planned again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import kept_rows  # noqa: E402
import plan_right  # noqa: E402
import right_checks  # noqa: E402
from comptroller.planning.planner import plan  # noqa: E402
from comptroller.work.workload import parse  # noqa: E402
from right_workloads import CHAT, EVERY, GRID, MODELS, NARROW, OBJECTIVES, RATES  # noqa: E402

ALLOW = {"accelerators": ["l40s"], "sites": ["us_neocloud"], "engines": ["vllm"], "formats": ["fp8_e4m3"]}


def small() -> dict[str, Any]:
    """A workload of which plans are quick."""
    return {**EVERY["nothing"].document, "models": ["llama_3_1_8b"], "rate_per_s": 6.0, "allow": ALLOW}


def test_the_grid_has_sixty_workloads_of_five_models_and_all_can_be_read() -> None:
    assert len(GRID) == len(MODELS) * len(RATES) * len(OBJECTIVES) == 60
    assert len(EVERY) == len(GRID) + len(NARROW) + 9
    for changed in EVERY.values():
        assert parse(changed.document, CHAT).kind_usd_per_h == 0.0


def test_a_row_is_made_once_and_again_when_its_work_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "FOLDER", tmp_path)
    made: list[str] = []

    def make(name: str) -> kept_rows.Row:
        made.append(name)
        return {"name": name}

    asked: dict[str, object] = {"one": 1, "two": 2}
    for _ in range(2):
        assert dict(kept_rows.rows_of("plan_right", asked, make, 1)) == {n: {"name": n} for n in asked}
    assert made == ["one", "two"]
    assert dict(kept_rows.rows_of("plan_right", {**asked, "two": 3}, make, 1))["two"] == {"name": "two"}
    assert made == ["one", "two", "two"]


def test_a_plan_that_costs_more_than_its_tighter_neighbour_is_out_of_order() -> None:
    loose, tight, more = (
        next(one for one in GRID if one.place == place)
        for place in ((MODELS[0], 3.0, 0, ""), (MODELS[0], 3.0, 1, ""), (MODELS[0], 8.0, 0, ""))
    )
    rows = {one.name: {"plan_usd_per_h": usd} for one, usd in ((loose, 2.0), (tight, 2.0), (more, 3.0))}
    assert not list(plan_right.disorders(rows))
    rows[tight.name] = {"plan_usd_per_h": 1.5}
    (told,) = plan_right.disorders(rows)
    assert "$2.00" in told and "$1.50" in told
    rows[tight.name] = {"infeasible": "beyond reach"}
    assert not list(plan_right.disorders(rows))


def test_what_a_plan_tells_is_planned_again() -> None:
    document = small()
    made = plan(parse(document, CHAT), rehearsal=None)
    again = right_checks.Replanner(document)
    assert again.usd(steady=True) == made.totals.usd_per_h.value
    (ttft,) = [price for price in made.shadow_prices if price.constraint.startswith("TTFT")]
    moved = again.moved(ttft.constraint, 300.0)
    assert moved is not None and moved["objectives"]["ttft"]["max"] == 300.0
    demand = again.moved("demand", 0.5)
    assert demand == {"rate_per_s": 3.0} and again.moved("budget", 1.0) is None

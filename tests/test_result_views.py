"""Results in Python: a page in a notebook, a data frame, a picture."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest

from comptroller import load_plan, replay, simulate
from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.strategies.spelling import parse
from comptroller.strategies.study import StrategyStudy
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.trace import RequestTrace

GOLDEN = Path(__file__).parent / "golden" / "chat.json"


class FrameOfRows:
    """Stands where pandas or polars would: keeps the rows that it was made of."""

    def __init__(self, rows: list[dict[str, object]]) -> None:
        self.rows = rows


@pytest.fixture(scope="module")
def plan() -> Plan:
    return load_plan(GOLDEN)


@pytest.fixture
def frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pandas, and frames that keep the rows they were made of where polars would be."""
    package = ModuleType("polars")
    package.DataFrame = FrameOfRows  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pandas", None)
    monkeypatch.setitem(sys.modules, "polars", package)


def test_a_plan_in_a_notebook_is_its_page_apart(plan: Plan) -> None:
    page = plan._repr_html_()
    assert page.startswith('<iframe srcdoc="') and "b200_sxm" in page and page.count("<") == 2


@pytest.mark.usefixtures("frames")
def test_a_plan_is_a_row_for_each_pool(plan: Plan) -> None:
    rows = plan.to_frame().rows
    assert sum(row["devices"] for row in rows) == plan.totals.devices
    assert rows[0]["accelerator"] == "b200_sxm" and rows[0]["ttft_s_low"] < rows[0]["ttft_s"] < rows[0]["ttft_s_high"]


@pytest.mark.usefixtures("frames")
def test_a_simulation_is_a_row_for_each_request(plan: Plan) -> None:
    trace = RequestTrace(np.arange(40) * 5.0, np.full(40, 900), np.full(40, 60), source="x")
    simulation = simulate(plan, trace)
    rows = simulation.to_frame().rows
    assert len(rows) == 40 and all(row["arrival_s"] < row["first_s"] <= row["last_s"] for row in rows)
    assert "<iframe" in simulation._repr_html_()


@pytest.fixture(scope="module")
def replayed() -> StrategyStudy:
    return replay(read_evidence("own"), [parse("once")])


def test_a_replay_is_a_row_for_each_setting(replayed: StrategyStudy, frames: None) -> None:
    rows = replayed.to_frame().rows
    assert len(rows) == 4 and {row["strategy"] for row in rows} == {"once"}
    assert all(0 < row["score_low"] < row["score"] < row["score_high"] < 1 for row in rows)
    assert "<iframe" in replayed._repr_html_()


def test_without_a_package_for_frames_it_is_said_which(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match="pip install pandas"):
        plan.to_frame()


def test_a_plan_is_plotted(plan: Plan, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    picture = plan.plot()
    picture.save(tmp_path / "plan.svg")
    assert ElementTree.parse(tmp_path / "plan.svg").getroot().tag.endswith("svg")
    assert picture._repr_svg_() == picture

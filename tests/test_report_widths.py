"""Tables of the terminal at every width: no number, unit or id is cut, nothing is lost."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from comptroller import load_plan
from comptroller.report import plan_tables
from comptroller.report.sheet import ReportSheet, left, right
from comptroller.report.table_layout import table_parts
from comptroller.report.terminal import WIDTH, console, print_plan, print_sheet

PLANS = [Path(__file__).parent / "golden" / f"{name}.json" for name in ("chat", "two_services")]
WIDTHS = st.integers(40, 200)
WORD = st.text("abcdefghij_0123456789.%$", min_size=1, max_size=30)


def page_of(sheet: ReportSheet, width: int) -> str:
    page = io.StringIO()
    print_sheet(sheet, Console(file=page, width=width, highlight=False, emoji=False), titled=False)
    return page.getvalue()


@st.composite
def sheets(draw: st.DrawFn) -> ReportSheet:
    """Tables of words, prose and numbers; a name stands first."""
    kinds = draw(st.lists(st.sampled_from("wpn"), min_size=1, max_size=12))
    columns = [left("name"), *(right(f"n{i}") if kind == "n" else left(f"c{i}") for i, kind in enumerate(kinds))]
    prose = st.lists(WORD, min_size=1, max_size=12).map(" ".join)
    cells = {"w": WORD, "p": prose, "n": st.floats(1e-6, 1e12)}
    row = st.tuples(WORD, *(cells[kind] for kind in kinds))
    return ReportSheet("s", tuple(columns), tuple(draw(st.lists(row, min_size=1, max_size=4))))


@given(sheets(), WIDTHS)
def test_every_word_of_every_cell_is_whole(sheet: ReportSheet, width: int) -> None:
    words = page_of(sheet, width).split()
    for row in sheet.texts():
        for cell in row:
            assert all(word in words for word in cell.split()), cell


@given(sheets(), WIDTHS)
def test_a_part_fits_its_page_and_all_columns_are_shown(sheet: ReportSheet, width: int) -> None:
    parts = table_parts(sheet, width)
    assert not parts or {number for part in parts for number in part.columns} == set(range(len(sheet.columns)))
    assert all(sum(part.widths) + 2 * (len(part.widths) - 1) <= width for part in parts)
    assert all(part.columns[0] == 0 for part in parts)
    if parts:
        assert max(map(len, page_of(sheet, width).splitlines())) <= width


def test_a_wide_page_holds_every_table_in_one_part() -> None:
    sheet = ReportSheet("s", (left("a"), right("b"), left("c")), (("x", 1.0, "word " * 30),))
    assert len(table_parts(sheet, 200)) == 1


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.stem)
@pytest.mark.parametrize("width", (40, 80, 119, 120, 121, 160))
def test_figures_of_a_plan_are_whole_at_any_width(path: Path, width: int) -> None:
    plan = load_plan(path)
    page = io.StringIO()
    print_plan(plan, Console(file=page, width=width, highlight=False, emoji=False))
    words = page.getvalue().split()
    for table in (plan_tables.services(plan), plan_tables.totals(plan), plan_tables.latency(plan)):
        for row in table.texts():
            assert all(word in words for cell in row for word in cell.split())


def test_columns_is_honoured_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert console().width == WIDTH
    monkeypatch.setenv("COLUMNS", "83")
    assert console().width == 83

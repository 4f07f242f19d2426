"""Every fact file can be shown: each quantity with its unit, source and date."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from comptroller.errors import UnknownIdError
from comptroller.facts.reader import folder, ids, parse_toml
from comptroller.report.facts import LISTS, details
from comptroller.report.figures import number, with_prefix
from comptroller.report.sheet import ReportSheet, SheetColumn, cell_text, right
from comptroller.report.terminal import print_sheet

KINDS = [kind for kind in LISTS if kind != "calibration"]


def quantities(value: object) -> int:
    """How many quantities a document holds outside lists of tables."""
    if isinstance(value, dict):
        return int({"value", "unit"} <= value.keys()) or sum(quantities(inner) for inner in value.values())
    return 0


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in ids(kind)])
def test_every_quantity_of_a_file_is_shown_with_its_source(kind: str, name: str) -> None:
    values, *lists = details(kind, name)
    rows = values.records()
    sourced = [row for row in rows if row["unit"] and row["source"] not in {"", "derived"}]
    document = parse_toml(folder(kind) / f"{name}.toml")
    assert len(sourced) == quantities({key: value for key, value in document.items() if key != "sources"})
    assert all(row["date"] and row["url"] for row in sourced)
    tables = [key for key, value in document.items() if isinstance(value, list) and isinstance(value[0], dict)]
    beside = {"formats": ["engines: who holds it, or cannot"], "engines": ["formats: what it holds, or cannot"]}
    assert [sheet.title for sheet in lists] == [*tables, *beside.get(kind, [])]


def test_an_unknown_kind_and_an_unknown_id_list_the_nearest() -> None:
    with pytest.raises(UnknownIdError, match="nearest: engines"):
        details("engine", "vllm")
    with pytest.raises(UnknownIdError, match="nearest: vllm"):
        details("engines", "vlm")


@given(st.floats(1e-9, 1e12))
def test_numbers_are_printed_to_three_digits(value: float) -> None:
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


@given(st.floats(1e-8, 1e11))
def test_a_metric_prefix_leaves_one_to_three_digits_before_the_point(value: float) -> None:
    text, unit = with_prefix(value, "W").split()
    factor = {"nW": 1e-9, "µW": 1e-6, "mW": 1e-3, "W": 1.0, "kW": 1e3, "MW": 1e6, "GW": 1e9}[unit]
    assert 0.99 <= float(text.replace(",", "")) <= 1000
    assert float(text.replace(",", "")) * factor == pytest.approx(value, rel=5.1e-3)


def test_a_sheet_keeps_its_values_in_every_form() -> None:
    sheet = ReportSheet("T", (SheetColumn("name", "name"), right("gb", "GB")), (("a|b", 80.0), ("c [bold]", None)))
    assert sheet.records() == [{"name": "a|b", "gb": 80.0}, {"name": "c [bold]", "gb": None}]
    assert "| a\\|b | 80 |" in sheet.markdown() and cell_text(None) == "–"
    page = io.StringIO()
    print_sheet(sheet, Console(file=page, width=60))
    assert "c [bold]" in page.getvalue() and "80" in page.getvalue()
    assert sheet.without("gb").records() == [{"name": "a|b"}, {"name": "c [bold]"}]

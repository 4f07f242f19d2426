"""Spend by day: a true axis of time, models on one another, the budget as a line; the same as page, SVG and PNG."""

from __future__ import annotations

from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from comptroller.cli import main
from comptroller.report.chart import BarSeries, LineSeries
from comptroller.report.day_stacks import MOST_COLOURS, DayStacks
from comptroller.report.figures import dollars
from dashboard_books import fill

DAYS = st.dates(date(2026, 9, 1), date(2026, 11, 30))
AMOUNTS = st.dictionaries(st.tuples(DAYS, st.sampled_from("abcdefghij")), st.floats(0.01, 1e6), min_size=1, max_size=30)


@given(AMOUNTS)
def test_nothing_is_lost_and_every_day_has_its_place(amounts: dict[tuple[date, str], float]) -> None:
    chart = DayStacks(amounts, "dollars", dollars).chart()
    bars = [each for each in chart.series if isinstance(each, BarSeries)]
    first, last = min(day for day, _ in amounts), max(day for day, _ in amounts)
    assert len(bars) <= MOST_COLOURS + 1 and {len(each.heights) for each in bars} == {(last - first).days + 1}
    for place in range(len(bars[0].heights)):
        day = date.fromordinal(first.toordinal() + place)
        told = sum(amount for (when, _), amount in amounts.items() if when == day)
        assert sum(each.heights[place] for each in bars) == pytest.approx(told)
    for below, above in pairwise(bars):
        tops = [low + height for low, height in zip(below.bases, below.heights, strict=True)]
        assert list(above.bases) == pytest.approx(tops), "stacks stand on one another"
    assert [name for name, _ in chart.readings] == sorted(name for name, _ in chart.readings)


def test_the_budget_of_a_day_is_a_line() -> None:
    amounts = {(date(2026, 10, 1), "a"): 1.0}
    (line,) = (s for s in DayStacks(amounts, "dollars", dollars, limit=5.0).chart().series if isinstance(s, LineSeries))
    assert line.reference and set(line.y) == {5.0} and "$5" in line.name
    assert not DayStacks(amounts, "dollars", dollars).chart().lines


def test_the_report_draws_it_as_page_svg_and_png(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    books = fill(tmp_path / "books.sqlite", days=3)
    page, svg, png = (tmp_path / name for name in ("p.html", "p.svg", "p.png"))
    for files in (["--html", str(page), "--png", str(svg)], ["--png", str(png)]):
        with pytest.raises(SystemExit) as ended:
            main(["books", "report", str(books), *files])
        assert not ended.value.code
    assert png.read_bytes().startswith(b"\x89PNG")
    for text in (page.read_text(), svg.read_text()):
        assert "llama_3_1_70b" in text and "budget $2" in text and "dollars a day" in text

"""Charts: every kind of series drawn as SVG and PNG, what can be read in them, and colours that all eyes tell apart."""

from __future__ import annotations

import re
from importlib import resources
from itertools import combinations

import numpy as np
import pytest

from comptroller.report.chart import (
    MOST_NAMED,
    BarSeries,
    ChartAxis,
    ChartMark,
    ChartNote,
    LineSeries,
    ReportChart,
    frontier_chart,
    stacked_bars,
)
from comptroller.report.drawing import INKS, THEME, ChartPicture, svg
from comptroller.report.page import PageSection, ReportPage
from test_report_page import Reader

pytest.importorskip("matplotlib")

MARKS = tuple(ChartMark(x, x / 8, x / 9, x / 7, f"m{x}", f"<reads {x}>", x < 3) for x in (4, 1, 2))
TIMES = LineSeries("a & b", [0.0, 1.0, 2.0], [1.0, float("nan"), 3.0], words=("one", "–", "three"))
CHARTS = {
    "lines": ReportChart(
        "Over time", ChartAxis("time, s", low=0, high=2), ChartAxis("W"), (TIMES,), moments=("0", "1", "2")
    ),
    "marks": frontier_chart("Cheapest", MARKS, ("$ per hour", "share solved")),
    "bars": ReportChart(
        "By hour", ChartAxis("hour"), ChartAxis("$"), stacked_bars({"x": ([1, 2], 1.0), "y": ([3, 0], 0.5)})
    ),
    "rows": ReportChart(
        *("By name", ChartAxis("$"), ChartAxis("", ticks=((0, "a"), (1, "b")), low=1.5, high=-0.5)),
        (BarSeries("", (3.0, 1.0), sideways=True, labels=("$3", "$1"), readings=(("a", "$3"), ("b", "$1"))),),
    ),
    "reference": ReportChart(
        *("Fit", ChartAxis("dB"), ChartAxis("KL", log=True)),
        (LineSeries("", [1, 2], [0.1, 0.01], reference=True), LineSeries("c", [1, 2], [0.1, 0.02], False, dotted=True)),
        (ChartNote(1, 0.1, "asked", ruled=True),),
    ),
}


@pytest.mark.parametrize("name", CHARTS)
def test_every_chart_is_drawn_the_same_every_time_with_its_axes_named(name: str) -> None:
    chart = CHARTS[name]
    drawn = svg(chart)
    reader = Reader(drawn)
    assert drawn == svg(chart) and not reader.open
    assert {chart.x.label, chart.y.label} <= {*reader.words, ""}
    assert "url(" not in drawn and "http" not in drawn and "nan" not in drawn
    image = ChartPicture([chart, chart], "two $ of them").png()
    assert image == ChartPicture([chart, chart], "two $ of them").png() and image.startswith(b"\x89PNG")


def test_marks_are_read_from_left_to_right_and_the_chosen_are_numbered() -> None:
    chart = CHARTS["marks"]
    reader = Reader(svg(chart))
    points = reader.having("class", "point")
    assert [point["data-head"] for point in points] == ["m1", "m2", "m4"]
    assert [point["data-words"] for point in points] == ["<reads 1>", "<reads 2>", "<reads 4>"]
    assert chart.names == ("m1", "m2", "m4") and {"1", "2", "3"} <= set(reader.words)
    assert [row[0] for row in chart.sheet.rows] == ["m1", "m2", "m4"]


def test_bars_stand_on_one_another_and_each_place_is_read() -> None:
    lower, upper = (bars for bars in CHARTS["bars"].series if isinstance(bars, BarSeries))
    assert upper.bases == lower.heights == (1, 2)
    drawn = Reader(svg(CHARTS["rows"]))
    assert {"$3", "$1", "a", "b"} <= set(drawn.words) and len(drawn.having("class", "point")) == 2


def test_a_moment_is_found_between_the_ends_of_the_axis() -> None:
    (frame,) = (attributes for tag, attributes in Reader(svg(CHARTS["lines"], 3)).tags if tag == "svg")
    assert 0 < float(frame["data-left"] or 0) < float(frame["data-right"] or 0) < 315
    assert (frame["data-panel"], frame["aria-valuemax"]) == ("3", "2")


def test_a_page_leaves_out_what_is_empty_and_escapes_what_it_shows() -> None:
    sections = (PageSection("Nothing", "never shown"), PageSection("<Some>", charts=tuple(CHARTS.values())))
    html = ReportPage("t", "test", footer=("a < b",), sections=sections).html()
    reader = Reader(html)
    assert not reader.open and "never shown" not in html and "&lt;Some&gt;" in html and "a &lt; b" in html
    assert sum(tag == "svg" for tag, _ in reader.tags) == len(CHARTS)


# how colours look to eyes without one kind of cone (Machado, Oliveira and Fernandes 2009, severity 1), linear RGB
EYES = {
    "all cones": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour: str) -> np.ndarray:
    part = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)


def lab(rgb: np.ndarray) -> np.ndarray:
    share = XYZ @ rgb / XYZ.sum(axis=1)
    x, y, z = np.where(share > 0.008856, np.cbrt(share), 7.787 * share + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_series_differ_to_all_eyes_and_stand_out_in_light_and_dark(theme: int) -> None:
    style = (resources.files("comptroller.report") / "assets" / "page.css").read_text(encoding="utf-8")
    variables = [dict(re.findall(r"--(\w+): (#\w{6})", block)) for block in style.split("@media")[:2]][theme]
    inks = [variables[THEME[ink]] for ink in INKS]
    if theme == 0:
        assert inks == list(INKS)
    light, dark = (linear(variables["card"]) @ XYZ[1], [linear(ink) @ XYZ[1] for ink in inks])
    assert all((max(light, ink) + 0.05) / (min(light, ink) + 0.05) >= 3 for ink in dark)
    for eye in EYES.values():
        seen = [lab(np.clip(np.array(eye) @ linear(ink), 0, 1)) for ink in inks]
        assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) >= 30


def test_every_mark_of_a_frontier_has_a_number_and_a_name() -> None:
    near = ChartMark(4.01, 0.5, 0.4, 0.6, "m4 again", "reads", False)
    chart = frontier_chart("Cheapest", (*MARKS, near), ("$ per hour", "share solved"))
    assert chart.names == ("m1", "m2", "m4", "m4 again"), "the chosen first"
    told = [part for mark in chart.marks for part in mark.label.split(", ") if part]
    assert sorted(told) == ["1", "2", "3", "4"] and "3, 4" in {mark.label for mark in chart.marks}
    assert {mark.under for mark in chart.marks if mark.chosen} == {False}
    drawn = ChartPicture((chart,), "Cheapest").svg().decode()
    assert all(f"{number}  {name}" in drawn for number, name in enumerate(chart.names, 1))


def test_of_too_many_marks_only_the_chosen_are_named() -> None:
    many = [ChartMark(1.0 + x, 0.5, 0.4, 0.6, f"m{x}", "reads", x == 7) for x in range(MOST_NAMED + 1)]
    chart = frontier_chart("Cheapest", many, ("$ per hour", "share solved"))
    assert chart.names == ("m7",) and len(chart.marks) == len(many)

"""Laws fitted to evidence as a page and a picture: coverage against samples, or score against cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.report import drawing
from comptroller.report.chart import (
    BandSeries,
    ChartAxis,
    ChartMark,
    LineSeries,
    MarkSeries,
    ReportChart,
    frontier_chart,
    share_axis,
)
from comptroller.report.page import PageSection, ReportPage, table_sections
from comptroller.report.sheet import ReportSheet
from comptroller.work.evidence import EvidenceCounts
from comptroller.work.laws import Known, LawFinding, LawQuery
from comptroller.work.laws import frontier as frontiers
from comptroller.work.laws._resampling import mean_band, names, spread, whole_counts
from comptroller.work.laws.coverage import pass_at_k
from comptroller.work.laws.forecast import LEAST, forecast

MOST_PANELS = 6
"""Charts of a PNG: two rows of three; with twice as many, letters would be too small on a page's width."""

MOST_TOGETHER = 4
"""Arms up to which all coverage is one panel: as many as lines have dashes of their own."""

POINTS = 12
"""Sample counts at which observed coverage is drawn: about four to a tenfold up to a thousand samples."""


def charts(known: Known, asking: LawQuery) -> list[ReportChart]:
    """Coverage against samples for every arm with enough of them; else score against cost, by task."""
    try:
        counts = whole_counts(known)
    except UnsupportedError:
        return _frontiers(known, asking)
    by_arm = ((name, _coverage(counts, arm, asking)) for arm, name in enumerate(names(counts)))
    arms = {name: marks for name, marks in by_arm if marks}
    if 1 < len(arms) <= MOST_TOGETHER:
        return [_coverage_together(arms)]
    return [_coverage_chart(name, marks) for name, marks in arms.items()] or _frontiers(known, asking)


def _coverage_chart(name: str, marks: Sequence[ChartMark]) -> ReportChart:
    """The curve of one arm within its band; beyond what was observed it is dashed."""
    axes = ChartAxis("samples of a question", log=True), share_axis("coverage")
    return ReportChart(name, *axes, (*_curve("", marks, 0), MarkSeries(tuple(marks))))


def _coverage_together(arms: Mapping[str, Sequence[ChartMark]]) -> ReportChart:
    """The curves of several arms in one panel, each within its band; every point is read with the name of its arm."""
    series: list[BandSeries | LineSeries | MarkSeries] = []
    for place, (name, marks) in enumerate(arms.items()):
        series += _curve(name, marks, place)
    named = [replace(m, name=f"{name}, {m.name}", chosen=False) for name, marks in arms.items() for m in marks]
    axes = ChartAxis("samples of a question", log=True), share_axis("coverage")
    return ReportChart("Coverage, and what is forecast of it", *axes, (*series, MarkSeries(tuple(named))))


def _curve(name: str, marks: Sequence[ChartMark], place: int) -> tuple[BandSeries | LineSeries, ...]:
    """What was observed as a line, what is forecast as a dashed one, and the band of both; place: of the colour."""
    order = sorted(marks, key=lambda mark: mark.x)
    x, low, high = ([getattr(mark, end) for mark in order] for end in ("x", "low", "high"))
    seen = [mark for mark in order if mark.chosen]
    beyond = [seen[-1], *(mark for mark in order if not mark.chosen)] if seen else order
    curves: list[BandSeries | LineSeries] = [BandSeries("", x, low, high, ink=place)]
    curves.append(LineSeries(name, [mark.x for mark in seen], [mark.y for mark in seen]))
    if len(beyond) > 1:
        curves.append(LineSeries("", [mark.x for mark in beyond], [mark.y for mark in beyond], reference=True))
    return tuple(curves)


def _coverage(counts: EvidenceCounts, arm: int, asking: LawQuery) -> list[ChartMark]:
    """Observed coverage (chosen) at several counts of samples, and forecasts beyond."""
    n, correct = counts.of(arm)
    if not len(n) or n.min() < LEAST:
        return []
    marks = []
    for k in spread(int(n.min()), POINTS).tolist():
        solved = pass_at_k(n, correct, k)
        low, high = mean_band(solved, asking)
        value = float(solved.mean())
        marks.append(ChartMark(k, value, low, high, f"{k} samples", f"coverage {value:.1%}, observed", True))
    for k in [k for k in asking.at if k > n.min()]:
        try:
            made = forecast(n, correct.astype(np.int64), k, np.random.default_rng(asking.seed), asking)
        except UnsupportedError:
            continue  # the findings say why
        low, high = (made.value if math.isnan(end) else end for end in (made.low, made.high))
        reading = f"coverage {made.value:.1%} forecast, {low:.1%} to {high:.1%}"
        marks.append(ChartMark(k, made.value, low, high, f"{k} samples", reading, False))
    return marks


def _frontiers(known: Known, asking: LawQuery) -> list[ReportChart]:
    """Score against cost, a chart for each task."""
    findings = frontiers.LAW.find(known, asking)
    by_task: dict[str, list[ChartMark]] = {}
    unit = "cost"
    for cost, score in zip(findings[::2], findings[1::2], strict=True):
        name, _, task = cost.subject.partition(", ")
        unit = cost.quantity
        by_task.setdefault(task, []).append(_mark(name, cost, score))
    return [frontier_chart(task or "all questions", marks, (unit, "score")) for task, marks in by_task.items()]


def _mark(name: str, cost: LawFinding, score: LawFinding) -> ChartMark:
    reading = f"{score.value:.1%} at {cost.value:.3g} {cost.quantity}; {score.note}"
    return ChartMark(cost.value, score.value, score.low, score.high, name, reading, score.note.startswith("on the"))


def page(known: Known, asking: LawQuery, sheets: Sequence[ReportSheet], refused: Mapping[str, str]) -> str:
    """A self-contained page: charts, every law's findings, and what the evidence does not support."""
    glance = PageSection(
        "At a glance",
        "Point at a mark, or move with Tab and the arrow keys, to read it. Observed coverage, or the frontier, is "
        "joined; the rest stands apart.",
        charts=tuple(charts(known, asking)),
    )
    return ReportPage(
        title=f"Laws of {known.source}",
        subject="laws of evidence",
        headline=known.source,
        lede=f"{len(known.items):,} questions; intervals {asking.level:.0%}, questions resampled.",
        sections=(glance, *table_sections(sheets)),
        footer=tuple(f"{name}: not supported: {why}" for name, why in refused.items()),
    ).html()


def picture(known: Known, asking: LawQuery) -> drawing.ChartPicture:
    """The charts.

    Raises:
        InputError: there is nothing to draw.
    """
    shown = charts(known, asking)[:MOST_PANELS]
    if not shown:
        raise InputError(f"{known.source}: neither repeated samples nor costs of several models, so nothing to draw")
    return drawing.ChartPicture(shown, known.source)

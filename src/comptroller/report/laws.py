"""Laws fitted to evidence as a page and a picture: coverage against samples, or score against cost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.report import drawing
from comptroller.report.chart import (
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

POINTS = 12
"""Sample counts at which observed coverage is drawn: about four to a tenfold up to a thousand samples."""


def charts(known: Known, asking: LawQuery) -> list[ReportChart]:
    """Coverage against samples for every arm with enough of them; else score against cost, by task."""
    try:
        counts = whole_counts(known)
    except UnsupportedError:
        return _frontiers(known, asking)
    by_arm = ((name, _coverage(counts, arm, asking)) for arm, name in enumerate(names(counts)))
    return [_coverage_chart(name, marks) for name, marks in by_arm if marks] or _frontiers(known, asking)


def _coverage_chart(name: str, marks: Sequence[ChartMark]) -> ReportChart:
    observed = [mark for mark in marks if mark.chosen]
    line = LineSeries("", [mark.x for mark in observed], [mark.y for mark in observed])
    axes = ChartAxis("samples of a question", log=True), share_axis("coverage")
    return ReportChart(name, *axes, (line, MarkSeries(tuple(marks))))


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


def picture(known: Known, asking: LawQuery) -> bytes:
    """A PNG of the charts.

    Raises:
        InputError: matplotlib is not installed, or there is nothing to draw.
    """
    shown = charts(known, asking)[:MOST_PANELS]
    if not shown:
        raise InputError(f"{known.source}: neither repeated samples nor costs of several models, so nothing to draw")
    return drawing.png(shown, known.source)

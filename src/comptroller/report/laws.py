"""Laws fitted to evidence as a page and a picture: coverage against samples, or score against cost."""

from __future__ import annotations

import importlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.report.page import asset, document, section
from comptroller.report.scatter import LINE, MARK, SOFT, ScatterPoint, scatter
from comptroller.report.sheet import ReportSheet
from comptroller.work.evidence import EvidenceCounts
from comptroller.work.laws import Known, LawFinding, LawQuery
from comptroller.work.laws import frontier as frontiers
from comptroller.work.laws._resampling import mean_band, names, spread, whole_counts
from comptroller.work.laws.coverage import pass_at_k
from comptroller.work.laws.forecast import LEAST, forecast

MOST_PANELS = 6
POINTS = 12


@dataclass(frozen=True, slots=True)
class LawChart:
    """Points under a title; what the axis along the bottom is."""

    title: str
    label: str
    points: tuple[ScatterPoint, ...]


def charts(known: Known, asking: LawQuery) -> list[LawChart]:
    """Coverage against samples for every arm with enough of them; else score against cost, by task."""
    found = [chart for chart in _coverages(known, asking) if chart.points]
    return found or _frontiers(known, asking)


def _coverages(known: Known, asking: LawQuery) -> list[LawChart]:
    try:
        counts = whole_counts(known)
    except UnsupportedError:
        return []
    return [LawChart(name, "samples", tuple(_coverage(counts, i, asking))) for i, name in enumerate(names(counts))]


def _coverage(counts: EvidenceCounts, arm: int, asking: LawQuery) -> list[ScatterPoint]:
    n, correct = counts.of(arm)
    if not len(n) or n.min() < LEAST:
        return []
    found = []
    for k in spread(int(n.min()), POINTS).tolist():
        each = pass_at_k(n, correct, k)
        low, high = mean_band(each, asking)
        value = float(each.mean())
        found.append(ScatterPoint(k, value, low, high, f"{k} samples", f"coverage {value:.1%}, observed", True))
    for k in [k for k in asking.at if k > n.min()]:
        try:
            made = forecast(n, correct.astype(np.int64), k, np.random.default_rng(asking.seed), asking)
        except UnsupportedError:
            continue  # the findings say why
        low, high = (made.value if math.isnan(end) else end for end in (made.low, made.high))
        reading = f"coverage {made.value:.1%} forecast, {low:.1%} to {high:.1%}"
        found.append(ScatterPoint(k, made.value, low, high, f"{k} samples", reading, False))
    return found


def _frontiers(known: Known, asking: LawQuery) -> list[LawChart]:
    found = frontiers.LAW.find(known, asking)
    panels: dict[str, list[ScatterPoint]] = {}
    unit = "cost"
    for cost, score in zip(found[::2], found[1::2], strict=True):
        name, _, task = cost.subject.partition(", ")
        unit = cost.quantity
        panels.setdefault(task, []).append(_point(name, cost, score))
    return [LawChart(task or "all questions", unit, tuple(points)) for task, points in panels.items()]


def _point(name: str, cost: LawFinding, score: LawFinding) -> ScatterPoint:
    reading = f"{score.value:.1%} at {cost.value:.3g} {cost.quantity}; {score.note}"
    return ScatterPoint(cost.value, score.value, score.low, score.high, name, reading, score.note.startswith("on the"))


def page(known: Known, asking: LawQuery, sheets: Sequence[ReportSheet], refused: Mapping[str, str]) -> str:
    """A self-contained page: charts, every law's findings, and what the evidence does not support."""
    drawn = "".join(
        f"<figure><figcaption>{escape(chart.title)}</figcaption>{scatter(chart.points, chart.label)}</figure>"
        for chart in charts(known, asking)
    )
    hint = (
        "Point at a mark, or move with Tab and the arrow keys, to read it. Observed coverage, or the frontier, is "
        "joined; the rest stands apart."
    )
    shown = f'<section><h2>At a glance</h2><p class="hint">{hint}</p>{drawn}</section>' if drawn else ""
    tables = "".join(section(sheet.title.partition(":")[0], sheet, sheet.title.partition(": ")[2]) for sheet in sheets)
    reasons = "".join(f"<p>{escape(name)}: not supported: {escape(why)}</p>" for name, why in refused.items())
    body = (
        '<p class="eyebrow"><b>Comptroller</b> laws of evidence</p>'
        f"<h1>{escape(known.source)}</h1>"
        f'<p class="lede">{len(known.items):,} questions; intervals {asking.level:.0%}, questions resampled.</p>'
        f"{shown}{tables}<footer>{reasons}</footer>"
    )
    return document(f"Laws of {known.source}", body, asset("page.js"))


def picture(known: Known, asking: LawQuery) -> bytes:
    """A PNG of the charts.

    Raises:
        InputError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        canvas_of = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    shown = charts(known, asking)[:MOST_PANELS]
    if not shown:
        raise InputError(f"{known.source}: neither repeated samples nor costs of several models, so nothing to draw")
    columns = min(3, len(shown)) if len(shown) != 4 else 2
    rows = -(-len(shown) // columns)
    canvas = canvas_of(figsize=(4.4 * columns, 3.4 * rows), dpi=160, layout="constrained")
    canvas.suptitle(known.source, fontsize=10, fontweight="bold", parse_math=False)
    places = canvas.subplots(rows, columns, squeeze=False).ravel()
    for place in places[len(shown) :]:
        place.set_visible(False)
    for chart, place in zip(shown, places, strict=False):
        _draw(chart, place)
    out = io.BytesIO()
    canvas.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _draw(chart: LawChart, axes: Any) -> None:
    joined = sorted((point for point in chart.points if point.chosen), key=lambda point: point.x)
    axes.plot([point.x for point in joined], [point.y for point in joined], color=LINE, linewidth=1.6)
    ends = [point.x for point in chart.points]
    middle = math.sqrt(min(ends) * max(ends))
    for point in chart.points:
        color = LINE if point.chosen else MARK
        axes.plot([point.x, point.x], [point.low, point.high], color=color, linewidth=1.0, alpha=0.6)
        axes.plot([point.x], [point.y], "o", markersize=5, color=color)
        if chart.label != "samples":
            side, offset = ("right", (-6, 4)) if point.x > middle else ("left", (6, -9))
            if not point.chosen:
                side, offset = "center", (0, -16)
            axes.annotate(
                point.name, (point.x, point.y), offset, textcoords="offset points", ha=side, fontsize=6, color=SOFT
            )
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_ylim(0, 1.04)
    axes.set_title(chart.title, fontsize=9)
    axes.set_xlabel(chart.label, fontsize=8, color=SOFT)
    axes.set_ylabel("coverage" if chart.label == "samples" else "score", fontsize=8, color=SOFT)
    axes.tick_params(colors=SOFT, labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="#e2e0d9", linewidth=0.8)

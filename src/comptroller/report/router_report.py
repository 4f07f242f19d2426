"""Routers side by side: what they recover of the gap between the cheapest and the dearest model, and their curves."""

from __future__ import annotations

from collections.abc import Sequence
from math import isnan

import numpy as np

from comptroller.quantities import round_significant
from comptroller.report import drawing
from comptroller.report.chart import ChartAxis, LineSeries, ReportChart
from comptroller.report.page import PageSection, ReportPage
from comptroller.report.sheet import ReportSheet, left, right
from comptroller.strategies.routing import RoutingComparison, RoutingCurve, hull

HINT = (
    "APGR: area under the share of the gap recovered, over spending from the cheapest model (0) to the dearest (1), "
    "random 0.5. AIQ: mean height of the convex hull of score over spending. CPT: least spending that recovers a share."
)
COLUMNS = (
    left("router"),
    right("apgr", "APGR"),
    right("low", "95 %, from"),
    right("high", "to"),
    right("aiq", "AIQ"),
    right("cpt_50", "CPT(50 %)"),
    right("cpt_80", "CPT(80 %)"),
    right("at_half", "score at half"),
)


def router_sheet(comparison: RoutingComparison) -> ReportSheet:
    """One row for each router, random choice and the oracle; spending that saves against the cheapest is below 0."""
    unit = f" {comparison.unit}" if comparison.unit else " calls"
    title = f"Routers among {' < '.join(comparison.models)}, spending in{unit}"
    return ReportSheet(title, COLUMNS, tuple(_row(curve) for curve in comparison.curves))


def _row(curve: RoutingCurve) -> tuple[str | float | None, ...]:
    x, y = hull(curve.spend, curve.score)
    figures = (curve.apgr, curve.low, curve.high, curve.aiq, curve.cpt(0.5), curve.cpt(0.8), np.interp(0.5, x, y))
    return (curve.name, *(None if isnan(each) else round_significant(float(each), 4) for each in figures))


def page(comparison: RoutingComparison, rests_on: str) -> str:
    """A self-contained page: the curves and the table. rests_on: the questions behind the figures."""
    return ReportPage(
        "Routers",
        "routers",
        headline=" < ".join(comparison.models),
        lede=rests_on,
        sections=(
            PageSection("Score over spending", charts=(chart(comparison.curves),)),
            PageSection("Routers", HINT, sheets=(router_sheet(comparison),)),
        ),
    ).html()


def chart(curves: Sequence[RoutingCurve]) -> ReportChart:
    """The hulls, from the cheapest model for all (left) to the dearest (right)."""
    return ReportChart(
        "Score of each router, on the convex hull of its settings",
        ChartAxis("spending: 0 cheapest model for all, 1 the dearest"),
        ChartAxis("score", lambda score: f"{score:.1%}"),
        tuple(_line(curve) for curve in curves),
    )


def _line(curve: RoutingCurve) -> LineSeries:
    """The hull between the two ends."""
    x, y = hull(curve.spend, curve.score)
    at = np.unique(np.clip(np.concatenate([x, [0.0, 1.0]]), 0, 1))
    return LineSeries(curve.name, at.tolist(), np.interp(at, x, y).tolist())


def picture(comparison: RoutingComparison, title: str) -> drawing.ChartPicture:
    """The curves."""
    return drawing.ChartPicture((chart(comparison.curves),), title)

"""Routers side by side: what they recover of the gap between the cheapest and the dearest model, and their curves."""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from html import escape
from math import isnan

import numpy as np

from comptroller.errors import InputError
from comptroller.quantities import round_significant
from comptroller.report.page import asset, document, section
from comptroller.report.scatter import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from comptroller.report.sheet import ReportSheet, SheetColumn, right
from comptroller.strategies.routing import RoutingComparison, RoutingCurve, hull

HINT = (
    "APGR: area under the share of the gap recovered, over spending from the cheapest model (0) to the dearest (1), "
    "random 0.5. AIQ: mean height of the convex hull of score over spending. CPT: least spending that recovers a share."
)
COLORS = ("#1f5fbf", "#b4540a", "#3d7d3a", "#8a3ab9", "#5b6068", "#c2a000", "#111111")
COLUMNS = (
    SheetColumn("router", "router"),
    right("apgr", "APGR"),
    right("low", "95 %, from"),
    right("high", "to"),
    right("aiq", "AIQ"),
    right("cpt_50", "CPT(50 %)"),
    right("cpt_80", "CPT(80 %)"),
    right("at_half", "score at half"),
)


def router_sheet(found: RoutingComparison) -> ReportSheet:
    """One row for each router, random choice and the oracle; spending that saves against the cheapest is below 0."""
    unit = f" {found.unit}" if found.unit else " calls"
    title = f"Routers among {' < '.join(found.models)}, spending in{unit}"
    return ReportSheet(title, COLUMNS, tuple(_row(curve) for curve in found.curves))


def _row(curve: RoutingCurve) -> tuple[str | float | None, ...]:
    x, y = hull(curve.spend, curve.score)
    figures = (curve.apgr, curve.low, curve.high, curve.aiq, curve.cpt(0.5), curve.cpt(0.8), np.interp(0.5, x, y))
    return (curve.name, *(None if isnan(each) else round_significant(float(each), 4) for each in figures))


def page(found: RoutingComparison, told: str) -> str:
    """A self-contained page: the curves and the table. told: on what the figures rest."""
    body = (
        '<p class="eyebrow"><b>Comptroller</b> routers</p>'
        f"<h1>{escape(' < '.join(found.models))}</h1>"
        f'<p class="lede">{escape(told)}</p>'
        f"<section><h2>Score over spending</h2>{lines(found.curves)}</section>"
        f"{section('Routers', router_sheet(found), HINT)}"
    )
    return document("Routers", body, asset("page.js"))


def lines(curves: Sequence[RoutingCurve]) -> str:
    """The hulls as an `<svg>`, from the cheapest model for all (left) to the dearest (right)."""
    low, high = _range(curves)

    def place(spend: float, score: float) -> str:
        x = LEFT + spend * (WIDTH - LEFT - RIGHT)
        return f"{x:.1f} {HEIGHT - BOTTOM - (score - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    parts = []
    for step in np.linspace(low, high, 5):
        y = place(0, step).split()[1]
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8}" y="{y}" text-anchor="end">{step:.1%}</text>')
    for number, curve in enumerate(curves):
        color = COLORS[number % len(COLORS)]
        path = "L".join(place(*pair) for pair in _inside(curve))
        parts.append(f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="2"/>')
        down = HEIGHT - BOTTOM - 18 * (len(curves) - number)
        parts.append(
            f'<text x="{WIDTH - RIGHT}" y="{down}" fill="{color}" text-anchor="end">{escape(curve.name)}</text>'
        )
    middle = (LEFT + WIDTH - RIGHT) / 2
    label = "spending, from the cheapest model for all to the dearest for all"
    parts.append(f'<text class="label" x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{label}</text>')
    size = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}"'
    return f'<svg class="chart" {size} role="img" aria-label="{label}">{"".join(parts)}</svg>'


def _inside(curve: RoutingCurve) -> list[tuple[float, float]]:
    """The hull between the two ends."""
    x, y = hull(curve.spend, curve.score)
    at = np.unique(np.clip(np.concatenate([x, [0.0, 1.0]]), 0, 1))
    return list(zip(at.tolist(), np.interp(at, x, y).tolist(), strict=True))


def _range(curves: Sequence[RoutingCurve]) -> tuple[float, float]:
    scores = [score for curve in curves for _, score in _inside(curve)]
    room = 0.05 * (max(scores) - min(scores)) + 1e-6
    return min(scores) - room, max(scores) + room


def picture(found: RoutingComparison, title: str) -> bytes:
    """A PNG of the curves.

    Raises:
        InputError: matplotlib is not installed.
    """
    try:
        canvas_of = importlib.import_module("matplotlib.figure").Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    canvas = canvas_of(figsize=(8.0, 4.6), dpi=160, layout="constrained")
    axes = canvas.subplots()
    for number, curve in enumerate(found.curves):
        x, y = zip(*_inside(curve), strict=True)
        axes.plot(x, y, color=COLORS[number % len(COLORS)], linewidth=1.6, label=curve.name)
    axes.set_title(title, fontsize=9, parse_math=False)
    axes.set_xlabel("spending: 0 the cheapest model for all, 1 the dearest")
    axes.set_ylabel("score")
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    canvas.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()

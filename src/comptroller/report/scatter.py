"""Points of cost (logarithmic, unless it may be 0) against a share, with intervals: inline SVG, and a PNG."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from textwrap import wrap

from comptroller.errors import InputError
from comptroller.report.figures import number

WIDTH, HEIGHT = 860.0, 420.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 20.0, 20.0, 44.0
LINE, MARK, SOFT = "#1f5fbf", "#b4540a", "#5b6068"


@dataclass(frozen=True, slots=True)
class ScatterPoint:
    """A mark: its place, its interval upwards and downwards, its name and what it says; chosen ones are joined."""

    x: float
    y: float
    low: float
    high: float
    name: str
    reading: str
    chosen: bool


def ticks(points: Sequence[ScatterPoint]) -> list[float]:
    """Round values (1, 2, 5) over the range of the points; powers of ten where the range is wide.

    >>> ticks([ScatterPoint(x, 0, 0, 0, "", "", False) for x in (0.02, 0.3)])
    [0.02, 0.05, 0.1, 0.2]
    """
    low, high = min(point.x for point in points), max(point.x for point in points)
    if low <= 0:
        return [high * step / 5 for step in range(6)]
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if len(powers) > 4 else (1, 2, 5)
    found = [float(f"{step * 10.0**power:.6g}") for power in powers for step in steps]
    return [value for value in found if low * 0.999 <= value <= high * 1.001] or [low, high]


def scatter(points: Sequence[ScatterPoint], label: str) -> str:
    """An `<svg>`; every point can be focused and carries its reading in words."""
    least, most = min(p.x for p in points), max(p.x for p in points)
    bent = math.log if least > 0 else float
    ends = (least / 1.2, most * 1.2) if least > 0 else (-0.03 * (most or 1), 1.03 * (most or 1))
    low, high = map(bent, ends)

    def x(value: float) -> float:
        return LEFT + (bent(value) - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    def y(share: float) -> float:
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    parts = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        kind = "axis" if share == 0 else "grid"
        parts.append(
            f'<line class="{kind}" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y(share):.1f}" y2="{y(share):.1f}"/>'
            f'<text class="tick" x="{LEFT - 8:g}" y="{y(share) + 4:.1f}" text-anchor="end">{share:.0%}</text>'
        )
    for tick in ticks(points):
        place = f'x="{x(tick):.1f}" y="{HEIGHT - BOTTOM + 18:g}" text-anchor="middle"'
        parts.append(f'<text class="tick" {place}>{escape(number(tick))}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text class="label" x="{middle:g}" y="{HEIGHT - 6:g}" text-anchor="middle">{escape(label)}</text>')
    joined = sorted((point for point in points if point.chosen), key=lambda point: point.x)
    if len(joined) > 1:
        path = "L".join(f"{x(point.x):.1f} {y(point.y):.1f}" for point in joined)
        parts.append(f'<path class="line" d="M{path}"/>')
    for point in sorted(points, key=lambda point: point.x):
        head, words, at = escape(point.name), escape(point.reading), x(point.x)
        parts.append(
            f'<g class="point{" picked" if point.chosen else ""}" tabindex="0" role="img" '
            f'aria-label="{head}: {words}" data-head="{head}" data-fleet="{words}">'
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="{y(point.low):.1f}" y2="{y(point.high):.1f}"/>'
            f'<circle class="dot" cx="{at:.1f}" cy="{y(point.y):.1f}" r="{6 if point.chosen else 4}"/></g>'
        )
    name = escape(f"Share solved against {label}; {len(points)} points, listed below")
    box = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}"'
    return f'<svg class="chart" {box} role="group" aria-label="{name}">{"".join(parts)}</svg>'


def drawing(points: Sequence[ScatterPoint], label: str, title: str) -> bytes:
    """A PNG of the same.

    Raises:
        InputError: matplotlib is not installed, or there is nothing to draw.
    """
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    if not points:
        raise InputError("a picture needs settings that are both scored and priced; there are none")
    canvas = Canvas(figsize=(8.0, 4.6), dpi=160, layout="constrained")
    canvas.suptitle("\n".join(wrap(title, 96)), fontsize=9, fontweight="bold", parse_math=False)
    axes = canvas.subplots()
    joined = sorted((point for point in points if point.chosen), key=lambda point: point.x)
    axes.plot([point.x for point in joined], [point.y for point in joined], color=LINE, linewidth=1.6)
    for point in points:
        color = MARK if point.chosen else SOFT
        axes.plot([point.x, point.x], [point.low, point.high], color=color, linewidth=0.8, alpha=0.6)
        axes.plot([point.x], [point.y], "o", markersize=6 if point.chosen else 4, color=color)
    for count, point in enumerate(joined, 1):
        # the line rises to the right, so the room for a number is above and to the left
        axes.annotate(str(count), (point.x, point.y), (-5, 7), textcoords="offset points", ha="right", fontsize=8)
        axes.plot([], [], " ", label=f"{count}  {point.name}")
    if joined:
        named = axes.legend(loc="best", fontsize=7, handlelength=0, handletextpad=0, frameon=False)
        for text in named.get_texts():
            text.set_parse_math(False)
    axes.set_xscale("log" if min(point.x for point in points) > 0 else "linear")
    axes.set_xticks(ticks(points), [number(tick) for tick in ticks(points)])
    axes.minorticks_off()
    axes.set_ylim(0, min(1.05, 1.15 * max(point.high for point in points) + 0.01))
    axes.set_xlabel(label, color=SOFT)
    axes.set_ylabel("share solved", color=SOFT)
    axes.spines[["top", "right"]].set_visible(False)
    data = io.BytesIO()
    canvas.savefig(data, format="png", metadata={"Software": None})
    return data.getvalue()

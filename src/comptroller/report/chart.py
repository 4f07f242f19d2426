"""The frontier of cost against latency as inline SVG: one chart per objective, steps between solved points."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from comptroller.planning.ground.plan_document import FrontierPoint, Plan
from comptroller.report.figures import dollars, seconds
from comptroller.report.plan_tables import objective_name

WIDTH, HEIGHT = 560.0, 320.0
LEFT, RIGHT, TOP, BOTTOM = 56.0, 20.0, 28.0, 44.0
TICKS = (1, 2, 5)


@dataclass(frozen=True, slots=True)
class FrontierPanel:
    """One objective: the points of its frontier, sorted by latency, and the one that was chosen."""

    name: str
    points: tuple[FrontierPoint, ...]
    asked_s: float

    @property
    def chosen(self) -> int | None:
        """Number of the point at the objective as asked, if it is among them."""
        near = (i for i, p in enumerate(self.points) if math.isclose(p.value, self.asked_s, rel_tol=1e-4))
        return next(near, None)


def panels(plan: Plan) -> tuple[FrontierPanel, ...]:
    """The frontier of a plan by objective; objectives without at least two feasible points are left out."""
    found = []
    for entry in plan.latency:
        name = objective_name(entry)
        points = sorted((p for p in plan.frontier if p.constraint == name), key=lambda p: p.value)
        if len(points) > 1 and entry.most_s is not None:
            found.append(FrontierPanel(name, tuple(points), entry.most_s))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class FrontierScale:
    """Seconds (logarithmic) and dollars per hour (from zero) to pixels."""

    low_s: float
    high_s: float
    most_usd: float

    @classmethod
    def of(cls, panel: FrontierPanel, most_usd: float) -> FrontierScale:
        """The scale that holds a panel's points, with cost up to `most_usd`."""
        return cls(panel.points[0].value / 1.12, panel.points[-1].value * 1.12, most_usd)

    def x(self, value_s: float) -> float:
        """Pixels from the left."""
        share = math.log(value_s / self.low_s) / math.log(self.high_s / self.low_s)
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def y(self, usd: float) -> float:
        """Pixels from the top."""
        return HEIGHT - BOTTOM - usd / self.most_usd * (HEIGHT - TOP - BOTTOM)


def nice_ceiling(value: float) -> float:
    """The next multiple of a quarter, a half, one or two and a half of the value's power of ten: ten steps at most.

    >>> nice_ceiling(23.9), nice_ceiling(7.17)
    (25.0, 8.0)
    """
    power = 10.0 ** math.floor(math.log10(value))
    step = next(s for s in (0.25, 0.5, 1.0, 2.5) if value / (power * s) <= 10) * power
    return math.ceil(value / step - 1e-9) * step


def cost_ticks(most: float) -> list[float]:
    """Four to six round values from zero up."""
    power = 10.0 ** math.floor(math.log10(most))
    step = next(s * power for s in (0.2, 0.25, 0.5, 1.0, 2.0, 2.5) if most / (s * power) <= 6)
    return [step * i for i in range(int(most / step + 1e-9) + 1)]


def latency_ticks(low_s: float, high_s: float) -> list[float]:
    """Round values (1, 2, 5) within a range.

    >>> latency_ticks(0.03, 0.3)
    [0.05, 0.1, 0.2]
    """
    powers = range(math.floor(math.log10(low_s)), math.ceil(math.log10(high_s)) + 1)
    ticks = (float(f"{tick * 10.0**power:.6g}") for power in powers for tick in TICKS)
    return [tick for tick in ticks if low_s <= tick <= high_s]


def most_cost(shown: Sequence[FrontierPanel]) -> float:
    """The top of the cost axis that all panels share."""
    return nice_ceiling(max(point.usd_per_h for panel in shown for point in panel.points))


def chart(panel: FrontierPanel, most_usd: float) -> str:
    """One panel as an `<svg>`; every point can be focused and carries its reading in words."""
    scale = FrontierScale.of(panel, most_usd)
    parts = [*_grid(panel, scale), _line(panel, scale), *_chosen_marker(panel, scale), *_points(panel, scale)]
    label = escape(f"Cheapest cost per hour against {panel.name}; {len(panel.points)} points, listed below")
    body = "".join(parts)
    size = f'viewBox="0 0 {WIDTH:g} {HEIGHT:g}"'
    return f'<svg class="chart" {size} role="group" aria-label="{label}">{body}</svg>'


def _grid(panel: FrontierPanel, scale: FrontierScale) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for usd in cost_ticks(scale.most_usd):
        y = scale.y(usd)
        kind = "axis" if usd == 0 else "grid"
        parts.append(f'<line class="{kind}" x1="{LEFT:g}" x2="{right:g}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">${usd:g}</text>')
    for tick in latency_ticks(scale.low_s, scale.high_s):
        x = scale.x(tick)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom:g}" y2="{bottom + 5:g}"/>')
        words = escape(seconds(tick))
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 18:g}" text-anchor="middle">{words}</text>')
    middle = (LEFT + right) / 2
    parts.append(
        f'<text class="label" x="{middle:g}" y="{HEIGHT - 6:g}" text-anchor="middle">'
        f"{escape(panel.name)} objective</text>"
    )
    parts.append(f'<text class="label" x="{LEFT - 8:g}" y="14" text-anchor="end">$/h</text>')
    return parts


def _line(panel: FrontierPanel, scale: FrontierScale) -> str:
    """Cost stays until the next solved point: between points the true frontier lies on or below the line."""
    first, *others = panel.points
    path = [f"M{scale.x(first.value):.1f} {scale.y(first.usd_per_h):.1f}"]
    path += [f"H{scale.x(p.value):.1f}V{scale.y(p.usd_per_h):.1f}" for p in others]
    return f'<path class="line" d="{"".join(path)}"/>'


def _chosen_marker(panel: FrontierPanel, scale: FrontierScale) -> list[str]:
    if panel.chosen is None:
        return []
    point = panel.points[panel.chosen]
    x, y = scale.x(point.value), scale.y(point.usd_per_h)
    at_end = x > (LEFT + WIDTH - RIGHT) * 0.6
    anchor, shift = ("end", -9.0) if at_end else ("start", 9.0)
    return [
        f'<line class="asked" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP:g}" y2="{HEIGHT - BOTTOM:g}"/>',
        f'<text class="chosen" x="{x + shift:.1f}" y="{y - 12:.1f}" text-anchor="{anchor}">'
        f"chosen: {dollars(point.usd_per_h)}/h</text>",
    ]


def _points(panel: FrontierPanel, scale: FrontierScale) -> list[str]:
    xs = [scale.x(point.value) for point in panel.points]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(xs)), WIDTH - RIGHT]
    parts = []
    for number, (point, x) in enumerate(zip(panel.points, xs, strict=True)):
        picked = number == panel.chosen
        head, fleet = escape(reading(panel, point, picked)), escape(point.fleet)
        left, width = edges[number], edges[number + 1] - edges[number]
        y = scale.y(point.usd_per_h)
        parts.append(
            f'<g class="point{" picked" if picked else ""}" tabindex="0" role="img" '
            f'aria-label="{head}. {fleet}" data-head="{head}" data-fleet="{fleet}">'
            f'<rect class="hit" x="{left:.1f}" y="{TOP:g}" width="{width:.1f}" '
            f'height="{HEIGHT - TOP - BOTTOM:g}"/>'
            f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{6.5 if picked else 4.5:g}"/></g>'
        )
    return parts


def reading(panel: FrontierPanel, point: FrontierPoint, picked: bool) -> str:
    """A point in words."""
    words = f"{panel.name} ≤ {seconds(point.value)}: {dollars(point.usd_per_h)}/h"
    return f"{words}, chosen" if picked else words

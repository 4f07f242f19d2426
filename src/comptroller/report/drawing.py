"""Charts drawn by matplotlib (extra `plot`): as SVG inside a page, in the page's colours, and as PNG files."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.util import find_spec
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from comptroller.errors import InputError
from comptroller.report.chart import (
    BandSeries,
    BarSeries,
    ChartAxis,
    ChartNote,
    ChartSeries,
    LineSeries,
    MarkSeries,
    ReportChart,
    round_values,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

LINE, MARK, SOFT, RULE, CARD = "#1f5fbf", "#b4540a", "#5b6068", "#e2e0d9", "#ffffff"
INKS = (LINE, MARK, "#606048", "#000000", "#c078a8", "#601860", "#7800f0")
"""Colours of series: at least 30 apart in CIELAB, also to eyes that lack one kind of cone, and 3:1 on white.

Found by a search over a grid of colours from the first two on; an eighth would come closer than 30."""

DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (5, 1.5, 1, 1.5)))
"""Lines differ by dashes too, for print in grey; a fifth pattern is hard to tell from these at this width."""

THEME = {LINE: "accent", MARK: "mark", SOFT: "soft", RULE: "rule", CARD: "card"} | {
    ink: f"ink{place}" for place, ink in enumerate(INKS[2:], 3)
}
"""The variable of the page's style sheet that stands for a colour, so that charts follow light and dark."""

SVG_IN = (4.375, 2.9)
"""420 CSS pixels wide: with 9 pt letters 12 px high there, and still 9.8 px where a window is 390 px wide."""

PNG_IN = (5.2, 3.8)
"""Inches of a panel in a file, for letters of 9 pt: three in a row are 15.6 inches, the width of a large screen."""
DPI = 160
"""Dots per inch of a PNG: 832 a panel, sharp at the width of a page; twice as many make files four times as large."""

FREE_NAMES, NAME_IN = 4, 0.19
"""Names under a chart that leave it high enough, and inches that a panel grows by for each row beyond."""

SHORT_NAME = 24
"""Letters of a name of which two stand side by side in a panel."""

HIT_PT = 7.0
"""Radius of what reacts to pointing at a mark: 19 px across, above the mark's 8; twice it would cover neighbours."""


def has_matplotlib() -> bool:
    """Whether there is matplotlib."""
    return find_spec("matplotlib") is not None


@dataclass(frozen=True, slots=True, eq=False)
class ChartPicture:
    """Charts side by side under a title, at most three in a row, as a file of either kind; the same bytes every time.

    Both raise InputError where matplotlib is not installed.
    """

    charts: Sequence[ReportChart]
    title: str

    def png(self) -> bytes:
        """The picture in dots."""
        return _file_bytes(self._canvas(), "png")

    def svg(self) -> bytes:
        """The picture in lines, with text as text."""
        return _file_bytes(self._canvas(), "svg")

    def _canvas(self) -> Any:
        columns = 2 if len(self.charts) == 4 else min(3, len(self.charts))
        rows = -(-len(self.charts) // columns)
        width = PNG_IN[0] * columns
        lines = max((_legend_rows(chart.names) for chart in self.charts), default=0)
        canvas = _figure((width, (PNG_IN[1] + NAME_IN * max(0, lines - FREE_NAMES)) * rows), DPI)
        # 13 bold letters of this size to the inch
        canvas.suptitle("\n".join(wrap(self.title, int(13 * width))), fontsize=10, fontweight="bold", parse_math=False)
        places = canvas.subfigures(rows, columns, squeeze=False).ravel()
        for chart, place in zip(self.charts, places, strict=False):
            axes = _draw(chart, place, chart.names)
            if chart.title != self.title:
                axes.set_title(chart.title, fontsize=9, parse_math=False)
        return canvas


def svg(chart: ReportChart, place: int = 0) -> str:
    """A chart as an inline `<svg>`: marks can be focused and read, and lines that share moments have a hair line.

    Raises:
        InputError: matplotlib is not installed.
    """
    canvas = _figure(SVG_IN, 72)
    canvas.patch.set_visible(False)
    axes = _draw(chart, canvas, ())
    drawn = _file_bytes(canvas, "svg").decode("utf-8")
    body = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    body = re.sub(r'<g id="[^"]*"', "<g", re.sub(r"<!--.*?-->\n?", "", body, flags=re.DOTALL))
    body = body.replace("xlink:href", "href")
    body = re.sub("|".join(THEME), lambda found: f"var(--{THEME[found[0]]})", body)
    width, height = (72 * inches for inches in SVG_IN)
    role = 'role="group"'
    if chart.moments:
        left, right = (axes.transData.transform((x, 0))[0] for x in axes.get_xlim())
        role = (
            f'data-panel="{place}" data-left="{left:.2f}" data-right="{right:.2f}" tabindex="0" role="slider" '
            f'aria-valuemin="0" aria-valuenow="0" aria-valuemax="{len(chart.moments) - 1}"'
        )
    label = f"{chart.title}: {chart.y.label} against {chart.x.label}"
    if chart.marks:
        label += f"; {len(chart.marks)} points, listed below"
    over = "".join(_overlay(chart, axes, height))
    return (
        f'<svg class="chart" viewBox="0 0 {width:g} {height:g}" {role} aria-label="{escape(label)}">{body}{over}</svg>'
    )


def _figure(size: tuple[float, float], dpi: float) -> Any:
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("a picture needs matplotlib: pip install 'comptroller[plot]'") from error
    return Figure(figsize=size, dpi=dpi, layout="constrained")


def _file_bytes(canvas: Any, kind: str) -> bytes:
    """The bytes of a figure, the same every time."""
    from matplotlib import rc_context

    out = io.BytesIO()
    made_by = ("Software",) if kind == "png" else ("Creator", "Date", "Format", "Type")
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": "comptroller"}):
        canvas.savefig(out, format=kind, metadata=dict.fromkeys(made_by))
    return out.getvalue()


def _draw(chart: ReportChart, place: FigureBase, names: Sequence[str]) -> Axes:
    """A chart in a figure of its own, its legend outside the axes."""
    axes = place.subplots()
    axes.patch.set_visible(False)
    lines = 0
    for series in chart.series:
        DRAWERS[type(series)](series, axes, lines)
        lines += isinstance(series, LineSeries) and not series.reference
    _scale(axes, chart.x, chart.y)
    for mark in chart.marks:
        _beside(axes, (mark.x, mark.y), mark.label, {"fontsize": 9, "color": SOFT}, -15 if mark.under else 7)
    for note in chart.notes:
        _note(note, axes)
    for number, name in enumerate(names, 1):
        axes.plot([], [], " ", label="\n".join(wrap(f"{number}  {name}", 80)))
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) > 1:
        legend_columns = _name_columns(names) if names else _label_columns(labels)
        legend = place.legend(
            handles, labels, loc="outside lower left", ncols=legend_columns, fontsize=9, frameon=False
        )
        for text in legend.get_texts():
            text.set(color=SOFT, parse_math=False)
    for artist in axes.findobj(lambda artist: hasattr(artist, "set_clip_on")):
        artist.set_clip_on(False)
    return axes


def _name_columns(names: Sequence[str]) -> int:
    """Columns of a legend of names: two where they are short enough."""
    return 2 if len(names) > FREE_NAMES and max(map(len, names)) <= SHORT_NAME else 1


def _label_columns(labels: Sequence[str]) -> int:
    longest = max(map(len, labels))
    return 1 if longest > 24 else 2 if longest > 10 else 3


def _legend_rows(names: Sequence[str]) -> int:
    return -(-len(names) // _name_columns(names))


def _scale(axes: Axes, x: ChartAxis, y: ChartAxis) -> None:
    """The ends, ticks (five at most, as many words fit side by side) and labels of both axes; a grid of heights."""
    from matplotlib.ticker import MaxNLocator, NullLocator

    axes.margins(0.04)
    for axis, part, ends in ((x, axes.xaxis, axes.set_xlim), (y, axes.yaxis, axes.set_ylim)):
        part.set_label_text(axis.label, color=SOFT, fontsize=9, parse_math=False)
        if axis.log:
            part.axes.set(**{f"{part.axis_name}scale": "log"})
        ends(axis.low, axis.high)
        ticks = axis.ticks
        if ticks is None and axis.log:
            ticks = tuple((value, axis.words(value)) for value in round_values(*part.get_view_interval()))
        if ticks is None:
            part.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10], integer=axis.count))
            part.set_major_formatter(_words_of(axis))
        else:
            part.set_ticks([value for value, _ in ticks], [words for _, words in ticks], parse_math=False)
        part.set_minor_locator(NullLocator())
    axes.tick_params(colors=SOFT, labelsize=9, length=0)
    # the lowest height and the first value along the bottom would touch without
    axes.tick_params(axis="x", pad=6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(SOFT)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=RULE, linewidth=0.8)


def _words_of(axis: ChartAxis) -> Callable[[float, float], str]:
    return lambda value, _: axis.words(value)


def _line(line: LineSeries, axes: Axes, number: int) -> None:
    style: dict[str, Any] = {"color": INKS[number % len(INKS)], "linewidth": 1.6}
    style["linestyle"] = DASHES[number % len(DASHES)] if line.joined else "none"
    if line.reference:
        style |= {"color": SOFT, "linewidth": 0.9, "linestyle": DASHES[1]}
    if line.dotted:
        style |= {"marker": "o", "markersize": 3.5 if line.joined else 2}
    if line.stepped:
        style["drawstyle"] = "steps-post"
    axes.plot(line.x, line.y, label=line.name or None, **style)


def _marks(series: MarkSeries, axes: Axes, _: int) -> None:
    for mark in series.marks:
        color = MARK if mark.chosen else SOFT
        if mark.high > mark.low:
            axes.plot([mark.x] * 2, [mark.low, mark.high], color=color, linewidth=1.0, alpha=0.6)
        size = 6.5 if mark.chosen else 5
        axes.plot([mark.x], [mark.y], "o", markersize=size, color=color, markerfacecolor=color if mark.chosen else CARD)


def _bars(bars: BarSeries, axes: Axes, _: int) -> None:
    """Bars that leave a sixth of their place free, with whiskers over those that have an interval."""
    draw = axes.barh if bars.sideways else axes.bar
    # a bar of no height that says nothing would be drawn as a line where it is an outline
    kept = [at for at, height in enumerate(bars.heights) if height or (bars.labels and bars.labels[at])]
    heights, bases = [bars.heights[at] for at in kept], [bars.bases[at] if bars.bases else 0.0 for at in kept]
    ink = INKS[bars.ink % len(INKS)]
    look: dict[str, Any] = {"color": ink, "alpha": bars.shade, "linewidth": 0}
    if bars.hollow:
        look = {"facecolor": "none", "edgecolor": ink, "linewidth": 1.2, "linestyle": DASHES[1]}
    look["left" if bars.sideways else "bottom"] = bases
    drawn = draw(kept, heights, 0.84, label=bars.name or None, **look)
    if bars.labels:
        words = axes.bar_label(
            drawn, [bars.labels[at] for at in kept], padding=4, fontsize=9, color=SOFT, parse_math=False
        )
        for label, at in zip(words, kept, strict=True):
            _clear_whisker(label, bars, at)
    for place, (low, high) in enumerate(bars.spans):
        if low < high:
            along, across = [low, high], [place] * 2
            if bars.sideways:
                axes.plot(along, across, color=SOFT, linewidth=1.4, marker="|")
            else:
                axes.plot(across, along, color=SOFT, linewidth=1.4, marker="_")


def _clear_whisker(label: Any, bars: BarSeries, place: int) -> None:
    """Moves the words at the end of a bar beyond its whisker."""
    high = bars.spans[place][1] if bars.spans else 0.0
    if high > bars.heights[place]:
        label.xy = (high, label.xy[1]) if bars.sideways else (label.xy[0], high)


def _band(band: BandSeries, axes: Axes, _: int) -> None:
    ink = INKS[band.ink % len(INKS)]
    axes.fill_between(band.x, band.low, band.high, color=ink, alpha=0.16, linewidth=0, label=band.name or None)


def _note(note: ChartNote, axes: Axes) -> None:
    if note.ruled:
        axes.axvline(note.x, color=MARK, linestyle=(0, (3, 4)), linewidth=1)
    ink = {"color": MARK, "fontweight": "bold"} if note.ruled else {"color": SOFT}
    _beside(axes, (note.x, note.y), note.text, {"fontsize": 9, **ink})


def _beside(axes: Axes, at: tuple[float, float], text: str, style: Mapping[str, Any], up_pt: float = 7) -> None:
    """Words above a place, or below it, on the side of it where there is more room."""
    share = axes.transAxes.inverted().transform(axes.transData.transform(at))[0]
    side, shift = ("right", -6) if share > 0.6 else ("left", 6)
    axes.annotate(text, at, (shift, up_pt), textcoords="offset points", ha=side, parse_math=False, **style)


DRAWERS: Mapping[type[ChartSeries], Callable[[Any, Axes, int], None]] = {
    LineSeries: _line,
    MarkSeries: _marks,
    BarSeries: _bars,
    BandSeries: _band,
}


def _overlay(chart: ReportChart, axes: Axes, height: float) -> list[str]:
    """What the page's script reads out: a circle over every mark, a column over every bar, a hair line for moments."""

    def at(x: float, y: float) -> tuple[float, float]:
        right, up = axes.transData.transform((x, y))
        return float(right), height - float(up)

    (left, top), (right, bottom) = (axes.transAxes.transform(corner) for corner in ((0, 1), (1, 0)))
    parts = []
    for mark in chart.marks:
        x, y = at(mark.x, mark.y)
        circle = f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="{HIT_PT:g}"/>'
        parts.append(_point(mark.name, mark.reading, circle, mark.chosen))
    for bars in chart.series:
        if not isinstance(bars, BarSeries):
            continue
        for place, (name, reading) in enumerate(bars.readings):
            sides = [at(*((0, place + side) if bars.sideways else (place + side, 0))) for side in (-0.5, 0.5)]
            if bars.sideways:
                low, high = sorted(up for _, up in sides)
                box = f'x="{left:.1f}" y="{low:.1f}" width="{right - left:.1f}" height="{high - low:.1f}"'
            else:
                low, high = (across for across, _ in sides)
                box = f'x="{low:.1f}" y="{height - top:.1f}" width="{high - low:.1f}" height="{top - bottom:.1f}"'
            parts.append(_point(name, reading, f'<rect class="dot" {box}/>', False))
    if chart.moments:
        ends = f'x1="{left:.1f}" x2="{left:.1f}" y1="{height - top:.1f}" y2="{height - bottom:.1f}"'
        parts.append(f'<line class="hair" visibility="hidden" {ends}/>')
    return parts


def _point(name: str, reading: str, shape: str, chosen: bool) -> str:
    head, words = escape(name), escape(reading)
    return (
        f'<g class="point{" picked" if chosen else ""}" tabindex="0" role="img" aria-label="{head}. {words}" '
        f'data-head="{head}" data-words="{words}">{shape}</g>'
    )

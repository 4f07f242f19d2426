"""What a chart shows, before it is drawn: axes with units, series, marks with a reading in words, and notes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from comptroller.report.figures import number
from comptroller.report.sheet import ReportSheet, left

MOST_DECADES = 4
"""Decades up to which a logarithmic axis is ticked at 1, 2 and 5, beyond at powers of ten: more labels would touch."""


MOST_NAMED = 24
"""Marks up to which each has a number and a name under the chart, in two columns of a picture; at twice as many the
numbers of neighbours touch."""


NEAR = 0.05
"""Share of a chart's width, and twice that of its height, within which the numbers of marks would lie on each other: a
number of two figures is 5 % as wide as a panel and 10 % as high."""


@dataclass(frozen=True, slots=True)
class ChartAxis:
    """An axis: its label with the unit, its ends (from the data where None), and how its values are printed.

    ticks: values and their words; where None, round values, only whole ones of a count.
    """

    label: str
    words: Callable[[float], str] = number
    low: float | None = None
    high: float | None = None
    log: bool = False
    count: bool = False
    ticks: tuple[tuple[float, str], ...] | None = None


@dataclass(frozen=True, slots=True)
class LineSeries:
    """Points that are joined (by steps, if stepped), dotted, or both; a reference line is thin and dashed.

    words: every value as it is read out where the chart is read by moments.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    joined: bool = True
    dotted: bool = False
    stepped: bool = False
    reference: bool = False
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChartMark:
    """A point that is read out: its place, its interval, its name and what it says; `label` is drawn beside it, above
    or under."""

    x: float
    y: float
    low: float
    high: float
    name: str
    reading: str
    chosen: bool
    label: str = ""
    under: bool = False


@dataclass(frozen=True, slots=True)
class MarkSeries:
    """Marks with intervals; chosen ones are filled."""

    marks: tuple[ChartMark, ...]


@dataclass(frozen=True, slots=True)
class BarSeries:
    """Bars at whole numbers, upright or sideways, each from its base on; `shade` is how dark they are, up to 1.

    labels: words at the end of each. readings: a name and words for each place, read out over the whole height.
    ink: place of its colour, 0 the accent, 1 that of what was chosen; hollow: drawn as an outline, of what is known
    less well. spans: low and high of each, drawn as a whisker; NaN where it has none.
    """

    name: str
    heights: tuple[float, ...]
    bases: tuple[float, ...] = ()
    shade: float = 1.0
    sideways: bool = False
    labels: tuple[str, ...] = ()
    readings: tuple[tuple[str, str], ...] = ()
    ink: int = 0
    hollow: bool = False
    spans: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class BandSeries:
    """The space between two lines, such as an interval along a curve. ink: place of its colour, that of its line."""

    name: str
    x: Sequence[float]
    low: Sequence[float]
    high: Sequence[float]
    ink: int = 0


ChartSeries = LineSeries | MarkSeries | BarSeries | BandSeries


class ChartNote(NamedTuple):
    """Words beside a place in the chart, with a rule through it across the chart if asked for."""

    x: float
    y: float
    text: str
    ruled: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class ReportChart:
    """One panel: a title, two axes, series in the order of drawing, and notes.

    names: what the labels 1, 2, ... of marks stand for. moments: the words of every x, where all lines share it and
    a reader moves along them.
    """

    title: str
    x: ChartAxis
    y: ChartAxis
    series: tuple[ChartSeries, ...]
    notes: tuple[ChartNote, ...] = ()
    names: tuple[str, ...] = ()
    moments: tuple[str, ...] = ()

    @property
    def lines(self) -> list[LineSeries]:
        """The series that are lines."""
        return [each for each in self.series if isinstance(each, LineSeries)]

    @property
    def marks(self) -> list[ChartMark]:
        """All marks from left to right."""
        found = [mark for each in self.series if isinstance(each, MarkSeries) for mark in each.marks]
        return sorted(found, key=lambda mark: mark.x)

    @property
    def readings(self) -> list[tuple[str, str]]:
        """The name of every mark and bar that is read out, and what it says."""
        bars = [each for series in self.series if isinstance(series, BarSeries) for each in series.readings]
        return [*((mark.name, mark.reading) for mark in self.marks), *bars]

    @property
    def sheet(self) -> ReportSheet:
        """What is read out as a table."""
        columns = (left("name", self.x.label or "name"), left("reading", "what it is"))
        return ReportSheet(self.title, columns, tuple(self.readings))


def round_values(low: float, high: float) -> list[float]:
    """Round values (1, 2, 5 times a power of ten) within a range above 0; powers of ten alone where it is wide.

    >>> round_values(0.03, 0.3), round_values(1, 1e6)[:3]
    ([0.05, 0.1, 0.2], [1.0, 10.0, 100.0])
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1,) if math.log10(high / low) > MOST_DECADES else (1, 2, 5)
    values = (float(f"{step * 10.0**power:.6g}") for power in powers for step in steps)
    return [value for value in values if low * 0.999 <= value <= high * 1.001] or [low, high]


def stacked_bars(parts: Mapping[str, tuple[Sequence[float], float]]) -> tuple[BarSeries, ...]:
    """Bars on one another, from heights and shades by name; parts without any height are left out."""
    bars, base = list[BarSeries](), [0.0] * max((len(heights) for heights, _ in parts.values()), default=0)
    for name, (heights, shade) in parts.items():
        if any(heights):
            bars.append(BarSeries(name, tuple(heights), tuple(base), shade))
            base = [low + height for low, height in zip(base, heights, strict=True)]
    return tuple(bars)


def share_axis(label: str, marks: Iterable[ChartMark] = ()) -> ChartAxis:
    """An axis of shares, from 0 to what holds every interval."""
    high = max((mark.high for mark in marks if math.isfinite(mark.high)), default=1.0)
    return ChartAxis(label, lambda share: f"{share:.0%}", 0.0, min(1.04, 1.15 * high + 0.01))


def frontier_chart(title: str, marks: Sequence[ChartMark], axes: tuple[str, str]) -> ReportChart:
    """Cost (logarithmic, unless it may be 0) against a share: the chosen marks joined, the rest apart, all numbered for
    their names; of the rest none where all would be more than a reader finds."""
    chosen = sorted((mark for mark in marks if mark.chosen), key=lambda mark: mark.x)
    line = LineSeries("", [mark.x for mark in chosen], [mark.y for mark in chosen])
    apart = sorted((mark for mark in marks if not mark.chosen), key=lambda mark: (mark.x, mark.name))
    named = [*chosen, *apart] if len(marks) <= MOST_NAMED else chosen
    log = min(mark.x for mark in marks) > 0
    numbered = _with_numbers(named, log)
    return ReportChart(
        title,
        ChartAxis(axes[0], low=None if log else 0.0, log=log),
        share_axis(axes[1], marks),
        (line, MarkSeries((*(() if len(numbered) == len(marks) else apart), *numbered))),
        names=tuple(mark.name for mark in named),
    )


def _with_numbers(marks: Sequence[ChartMark], log: bool) -> list[ChartMark]:
    """Marks with their numbers, those of the chosen above; marks that all but touch share the numbers of the first."""
    places = [((math.log(mark.x) if log else mark.x), mark.y) for mark in marks]
    wide, high = (max(side) - min(side) or 1.0 for side in zip(*places, strict=True))
    labels: dict[int, list[int]] = {}
    for at, (x, y) in enumerate(places):
        alike = (
            first
            for first in labels
            if marks[first].chosen == marks[at].chosen
            and abs(places[first][0] - x) < NEAR * wide
            and abs(places[first][1] - y) < 2 * NEAR * high
        )
        labels.setdefault(next(alike, at), []).append(at + 1)
    return [
        replace(mark, label=", ".join(map(str, labels.get(at, ()))), under=not mark.chosen)
        for at, mark in enumerate(marks)
    ]

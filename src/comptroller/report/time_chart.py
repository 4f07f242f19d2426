"""Charts over time: lines, bands and events on one clock, read out moment by moment."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from comptroller.report.chart import BandSeries, ChartAxis, ChartNote, ChartSeries, LineSeries, ReportChart
from comptroller.report.figures import number
from comptroller.report.simulation_tables import moment

Floats = npt.NDArray[np.float64]

STEPS_S = tuple(step * unit for unit in (1e-3, 1e-2, 0.1, 1, 60, 3600, 86400) for step in (1, 2, 5, 10, 15, 30))
"""Round steps of a clock."""

MOST_TICKS = 5
"""Times along the bottom: labels such as `2:30:00` would touch if there were twice as many."""

HEADROOM = 1.05
"""Of the axis over the highest value, so that a line at the top is seen."""


@dataclass(frozen=True, eq=False)
class TimePanel:
    """What is drawn of a quantity over time. unit: the label of its axis, and how a value is read out.

    lines: values at each moment, by name.  bands: low and high, by the name of the line that they lie about.
    limits: constant lines, by name.  stepped: values hold until the next moment.
    """

    title: str
    unit: tuple[str, Callable[[float], str]]
    lines: Mapping[str, Floats]
    bands: Mapping[str, tuple[Floats, Floats]] = field(default_factory=dict)
    limits: Mapping[str, float] = field(default_factory=dict)
    stepped: bool = False

    @property
    def most(self) -> float:
        """The highest value of all, 1 where there is none above 0."""
        tops = [*self.lines.values(), *(high for _, high in self.bands.values())]
        drawn = [float(np.max(values[np.isfinite(values)], initial=0.0)) for values in tops]
        return max([*drawn, *self.limits.values()], default=0.0) or 1.0


def time_chart(panel: TimePanel, clock_s: Sequence[float], events: Sequence[tuple[float, str]] = ()) -> ReportChart:
    """A panel on a clock that begins with its first moment. events: moments with words, each a rule across the chart.

    >>> from comptroller.report.figures import seconds
    >>> panel = TimePanel("TTFT", ("TTFT", seconds), {"p95": np.array([0.5, 1.0])})
    >>> chart = time_chart(panel, [0.0, 60.0])
    >>> chart.moments, chart.lines[0].words
    (('0 s', '60 s'), ('500 ms', '1 s'))
    """
    label, words = panel.unit
    first, last = clock_s[0], clock_s[-1]
    top = HEADROOM * panel.most
    series: list[ChartSeries] = []
    for place, name in enumerate(panel.lines):
        if name in panel.bands:
            low, high = panel.bands[name]
            series.append(BandSeries("", clock_s, low.tolist(), high.tolist(), ink=place))
    for name, values in panel.lines.items():
        told = tuple("–" if math.isnan(value) else words(value) for value in values)
        series.append(LineSeries(name, clock_s, values.tolist(), stepped=panel.stepped, words=told))
    for name, limit in panel.limits.items():
        told = (words(limit),) * len(clock_s)
        series.append(LineSeries(f"{name} {words(limit)}", clock_s, [limit] * len(clock_s), reference=True, words=told))
    return ReportChart(
        panel.title,
        ChartAxis("time", low=first, high=last, ticks=clock_ticks(first, last)),
        ChartAxis(label, lambda value: words(value) if value else "0", 0.0, top, count=words is number),
        tuple(series),
        notes=tuple(ChartNote(at_s, top, text, ruled=True) for at_s, text in events),
        moments=tuple(moment(at_s) for at_s in clock_s),
    )


def clock_ticks(first_s: float, last_s: float) -> tuple[tuple[float, str], ...]:
    """Round moments of a span and their words.

    >>> [words for _, words in clock_ticks(0, 600)]
    ['0 s', '2:00', '4:00', '6:00', '8:00', '10:00']
    """
    step = next((each for each in STEPS_S if (last_s - first_s) / each <= MOST_TICKS), STEPS_S[-1])
    places = np.arange(np.ceil(first_s / step), np.floor(last_s / step) + 1) * step
    return tuple((at_s, moment(at_s)) for at_s in places.tolist())

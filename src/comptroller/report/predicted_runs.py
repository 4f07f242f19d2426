"""Measured runs beside what was predicted of them, before a calibration and after it, on runs held out."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from comptroller.measure.calibration_accuracy import CalibrationAccuracy, PredictedRun
from comptroller.report.chart import ChartAxis, LineSeries, ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import number
from comptroller.report.page import PageSection, ReportPage

LATENCIES = ("Time per token", "Time to the first token")
MS = 1e3

WIDE = 10.0
"""Largest over least latency from which axes are logarithmic: linear ones would crowd the least into a tenth."""


def charts(found: CalibrationAccuracy) -> tuple[ReportChart, ...]:
    """Predicted against measured, for each latency that was measured; on the line both are equal."""
    return tuple(chart for place in range(len(LATENCIES)) if (chart := _chart(found.runs, place)) is not None)


def _chart(runs: Sequence[PredictedRun], place: int) -> ReportChart | None:
    kinds: dict[str, list[tuple[float, ...] | None]] = {
        "shipped calibration": [run.before_s for run in runs],
        "fitted, held out": [run.after_s for run in runs],
    }
    series = []
    for name, predicted in kinds.items():
        pairs = [
            (MS * run.measured_s[place], MS * told[place])
            for run, told in zip(runs, predicted, strict=True)
            if told is not None and isfinite(run.measured_s[place]) and isfinite(told[place])
        ]
        if pairs:
            seen, told_ms = zip(*pairs, strict=True)
            series.append(LineSeries(name, seen, told_ms, joined=False, dotted=True))
    if not series:
        return None
    values = [value for line in series for value in (*line.x, *line.y)]
    log = max(values) > WIDE * min(values)
    ends = (0.8 * min(values) if log else 0.0, 1.1 * max(values))
    equal = LineSeries("equal", ends, ends, reference=True)
    x, y = (ChartAxis(f"{side}, ms", number, *ends, log=log) for side in ("measured", "predicted"))
    return ReportChart(LATENCIES[place], x, y, (equal, *series))


def picture(found: CalibrationAccuracy, subject: str) -> ChartPicture:
    """Both latencies side by side, as a file."""
    return ChartPicture(charts(found), subject)


def page(found: CalibrationAccuracy, subject: str) -> str:
    """The charts as a page."""
    section = PageSection(
        "Predicted against measured",
        "Every run, predicted by the shipped calibration and by the fit to the others; on the line both are equal.",
        charts=charts(found),
    )
    return ReportPage(subject, "calibration", headline=subject, lede=found.advice(), sections=(section,)).html()

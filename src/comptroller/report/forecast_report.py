"""Forecasts of a load: a table of scores on held-out time, a picture of their bands, a page of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from comptroller.quantities import short
from comptroller.report.chart import ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import number
from comptroller.report.page import PageSection, ReportPage, table_sections
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.report.time_chart import TimePanel, time_chart
from comptroller.work.forecast_scores import HELD_OUT, ForecastFindings, ForecastScore, SeriesForecast

MOST_DRAWN = 6
"""Series that are drawn: two rows of three."""

SCORES: SheetColumns[ForecastScore] = (
    left("series"),
    left("forecast"),
    right("crps", "CRPS"),
    right("relative", "of persistence", lambda one: f"{one.relative:.2f}"),
    right("pinball_median", "pinball, median"),
    right("pinball_high", "pinball, highest"),
    right("covered", "within the interval", lambda one: f"{one.covered:.0%} of {one.nominal:.0%}"),
)


def forecast_sheets(findings: ForecastFindings) -> list[ReportSheet]:
    """Every score, each forecast over all series, and what was refused."""
    one = findings.found[0]
    title = (
        f"Forecasts of the next {one.frame.horizon} steps of {one.series.step_s:g} s, on the last {HELD_OUT:.0%} of "
        "each series"
    )
    sheets = [ReportSheet.of(title, SCORES, findings.scores)]
    if len({score.series for score in findings.scores}) > 1:
        sheets.append(_over_all(findings.scores))
    columns = (left("series"), left("forecast"), left("why"))
    return [*sheets, ReportSheet("Refused", columns, findings.refused)] if findings.refused else sheets


def _over_all(scores: list[ForecastScore]) -> ReportSheet:
    """The geometric mean of each forecast's CRPS over that of persistence, over the series that it could forecast."""
    rows = []
    for name in dict.fromkeys(score.forecast for score in scores):
        mine = [score for score in scores if score.forecast == name]
        ratio = float(np.exp(np.mean(np.log([score.relative for score in mine]))))
        better = sum(score.relative < 1 for score in mine)
        rows.append((name, len(mine), ratio, better, float(np.mean([score.covered for score in mine]))))
    columns = (
        left("forecast"), right("series"), right("relative", "CRPS, of persistence"),
        right("better", "series better than it"), right("covered", "within the interval"),
    )  # fmt: skip
    told = [(name, count, f"{ratio:.2f}", better, f"{held:.0%}") for name, count, ratio, better, held in rows]
    order = sorted(range(len(rows)), key=lambda at: rows[at][2])
    return ReportSheet("Over all series, geometric mean", columns, tuple(told[at] for at in order))


def forecast_record(findings: ForecastFindings, source: str) -> dict[str, Any]:
    """Every score, raw."""
    one = findings.found[0]
    return {
        "source": source,
        "step_s": one.series.step_s,
        "horizon": one.frame.horizon,
        "held_out": HELD_OUT,
        "levels": one.frame.levels,
        "scores": [
            {key: short(value) if isinstance(value, float) else value for key, value in score._asdict().items()}
            for score in findings.scores
        ],
        "refused": [dict(zip(("series", "forecast", "why"), row, strict=True)) for row in findings.refused],
    }


def forecast_charts(findings: ForecastFindings) -> tuple[ReportChart, ...]:
    """Of each series what came, and the best forecast one horizon after the other, with its interval."""
    best: dict[str, SeriesForecast] = {}
    names: dict[str, str] = {}
    for score in findings.scores:
        names.setdefault(score.series, score.forecast)
    for one in findings.found:
        if names[one.series.name] == one.name and len(best) < MOST_DRAWN:
            best[one.series.name] = one
    return tuple(_chart(one) for one in best.values())


def _chart(one: SeriesForecast) -> ReportChart:
    middle = int(np.argmin(np.abs(np.array(one.frame.levels) - 0.5)))
    picked, after = [], -1
    for place, origin in enumerate(one.origins):
        if origin >= after:
            picked.append(place)
            after = origin + one.frame.horizon
    first, last = int(one.origins[0]), int(one.origins[picked[-1]]) + one.frame.horizon
    shown = np.full((3, last - first), np.nan)
    for place in picked:
        start = int(one.origins[place]) - first
        shown[:, start : start + one.frame.horizon] = one.quantiles[place][:, [0, middle, -1]].T
    clock = ((first + np.arange(last - first)) * one.series.step_s).tolist()
    lines = {"came": one.series.values[first:last], one.name: shown[1]}
    panel = TimePanel(
        f"{one.series.name}: {one.name}", ("load", number), lines, {one.name: (np.maximum(shown[0], 0.0), shown[2])}
    )
    return time_chart(panel, clock)


def forecast_picture(findings: ForecastFindings) -> ChartPicture:
    """The charts as a file."""
    one = findings.found[0]
    return ChartPicture(forecast_charts(findings), f"Held-out time, {one.frame.horizon} steps ahead, 90 % intervals")


def forecast_page(findings: ForecastFindings, source: str) -> str:
    """The charts and the tables as a page."""
    hint = "The best forecast of each series, told anew after each horizon."
    charts = PageSection("Held-out time", hint, charts=forecast_charts(findings))
    return ReportPage(
        title=f"Forecasts of {source}",
        subject="forecasts",
        headline=source,
        lede="Fitted to the first part of each series, judged on the rest: CRPS and pinball loss in its own units.",
        sections=(charts, *table_sections(forecast_sheets(findings))),
    ).html()

"""A measured engine beside its predictions, before calibration and after: a table, a picture, a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from comptroller.measure.serving_comparison import LoadComparison, median_errors
from comptroller.report.chart import ChartAxis, LineSeries, ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.page import PageSection, ReportPage
from comptroller.report.sheet import ReportSheet, SheetColumn, right

MS = 1e3

LINES = (("measured", "measured"), ("before", "predicted before"), ("after", "predicted after"))
"""What is drawn of a load, and its name in the legend."""


def sheet(loads: Sequence[LoadComparison], subject: str) -> ReportSheet:
    """One row a load; errors are predicted over measured less 1, in per cent."""
    columns: tuple[SheetColumn[LoadComparison], ...] = (
        right("clients", "clients", lambda load: load.clients),
        right("input_tokens", "prompt", lambda load: load.input_tokens),
        right("output_tokens", "output", lambda load: load.output_tokens),
        *_columns("tpot", "TPOT", 0),
        *_columns("ttft", "TTFT", 1),
    )
    return ReportSheet.of(f"{subject}: latencies in ms, errors in %", columns, loads)


def _columns(key: str, name: str, place: int) -> tuple[SheetColumn[LoadComparison], ...]:
    def error(after: int) -> Callable[[LoadComparison], float]:
        return lambda load: 100 * load.errors[2 * place + after]

    return (
        right(f"{key}_ms", name, lambda load: load.measured[place] * MS),
        right(f"{key}_before_ms", "before", lambda load: load.before[place] * MS),
        right(f"{key}_after_ms", "after", lambda load: load.after[place] * MS),
        right(f"{key}_error_before", "error before", error(0)),
        right(f"{key}_error_after", "error after", error(1)),
    )


def verdict(loads: Sequence[LoadComparison]) -> str:
    """The median errors in a sentence."""
    before, after, first_before, first_after = median_errors(loads)
    return (
        f"median error of the time per token {before:.1%} before and {after:.1%} after, "
        f"of the first token {first_before:.1%} before and {first_after:.1%} after"
    )


def charts(loads: Sequence[LoadComparison]) -> tuple[ReportChart, ...]:
    """Time per token and time to the first token by the number of clients."""
    clients = [load.clients for load in loads]
    return tuple(
        ReportChart(
            name,
            ChartAxis("clients", count=True),
            ChartAxis(f"{name}, ms", low=0.0),
            tuple(
                LineSeries(says, clients, [getattr(load, who)[place] * MS for load in loads], dotted=True)
                for who, says in (
                    ("measured", "measured"),
                    ("before", "predicted before"),
                    ("after", "predicted after"),
                )
            ),
        )
        for place, name in enumerate(("time per token", "time to the first token"))
    )


def picture(loads: Sequence[LoadComparison], subject: str) -> ChartPicture:
    """Both charts."""
    return ChartPicture(charts(loads), f"{subject}: predicted before calibration and after it, and measured")


def page(loads: Sequence[LoadComparison], subject: str, about: str) -> str:
    """A self-contained page: both charts and the table."""
    sections = (
        PageSection("Predicted and measured", verdict(loads), charts=charts(loads), sheets=(sheet(loads, subject),)),
    )
    return ReportPage("Measured", subject, lede=about, sections=sections).html()

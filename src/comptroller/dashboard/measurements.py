"""Panels of what happens: latencies and queues, and what the plan predicted beside what its requests took."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan

import numpy as np

from comptroller.books.latency import CallLatencies, last_calls, last_latencies, percentiles_s
from comptroller.dashboard.panels import Choice, DashboardSources, PanelContent
from comptroller.gateway.plan_drift import MonitoredPrediction, PlanDriftMonitor, digest_of, from_books
from comptroller.gateway.service import UpstreamService
from comptroller.planning.ground.plan_document import Plan
from comptroller.report.chart import BarSeries, ChartAxis, LineSeries, ReportChart
from comptroller.report.figures import dollars, seconds, with_prefix
from comptroller.report.page import PageTile
from comptroller.report.sheet import Cell, ReportSheet, left, right

PERCENTS = (50.0, 95.0, 99.0)
SHARES = (1, 5, *range(10, 91, 5), 92, 94, 95, 96, 97, 98, 99)
"""Percents at which a spread is drawn."""

MOST_LINES = 4
"""Services with a line each: more dashes than `drawing.DASHES` has are not told apart."""

MOST_SHARE = 3.0
"""Of a prediction, at which a bar ends, with the true share at its end: beside one of six the others were dots."""


def latency_panel(sources: DashboardSources, _: Choice) -> PanelContent:
    """Percentiles of the last calls by service, their spread, and what is in flight and waits now."""
    assert sources.ledger is not None
    found = last_latencies(sources.ledger)
    live = tuple(_queue_tiles(list(sources.gateway.services.values()))) if sources.gateway else ()
    if not found.service:
        return PanelContent(live, texts=("No call has ended yet.",))
    charts = tuple(filter(None, (_spread(found, name) for name in ("ttft_s", "e2e_s"))))
    text = f"Of the last {len(found.service):,} calls that ended by themselves."
    return PanelContent(live, charts, (text,), sheets=(percentile_sheet(found),))


def _queue_tiles(services: list[UpstreamService]) -> Iterator[PageTile]:
    for service in services:
        queue = service.queue
        yield PageTile(service.id, f"{queue.busy} in flight", f"{queue.waiting} wait in the queue")


def percentile_sheet(found: CallLatencies) -> ReportSheet:
    """p50, p95 and p99 of every latency by service."""
    kinds = (("queue_s", "queue"), ("ttft_s", "first token"), ("tpot_s", "per token"), ("e2e_s", "whole"))
    lines = list[tuple[Cell, ...]]()
    for service in found.services:
        mine = found.of(service)
        for name, words in kinds:
            at = percentiles_s(getattr(mine, name), PERCENTS)
            shown = ("–" if isnan(value) else seconds(value) for value in at.values())
            lines.append((service, words, len(mine.service), *shown))
    heads = (left("service"), left("latency"), right("calls"), *(right(f"p{percent:g}") for percent in PERCENTS))
    return ReportSheet("Latency", heads, tuple(lines))


NAMES = {"ttft_s": "time to the first token", "e2e_s": "time of a whole call"}


def _spread(found: CallLatencies, quantity: str) -> ReportChart | None:
    """Share of the calls against a latency, a line for each service."""
    lines = []
    for service in found.services[:MOST_LINES]:
        values = getattr(found.of(service), quantity)
        known = values[np.isfinite(values) & (values > 0)]
        if known.size > 1:
            lines.append(LineSeries(service, np.percentile(known, SHARES).tolist(), [share / 100 for share in SHARES]))
    if not lines:
        return None
    low, high = min(line.x[0] for line in lines), max(line.x[-1] for line in lines)
    return ReportChart(
        f"{NAMES[quantity][0].upper()}{NAMES[quantity][1:]}",
        ChartAxis(NAMES[quantity], seconds, low / 1.15, max(high, low * 1.5) * 1.15, log=True),
        ChartAxis("share of calls", lambda share: f"{share:.0%}", 0.0, 1.04),
        tuple(lines),
    )


def drift_panel(sources: DashboardSources, _: Choice) -> PanelContent:
    """What the plan predicted per request, with its interval, beside what its requests took."""
    plan = sources.plan
    assert plan is not None
    monitor = monitor_of(sources, plan)
    if monitor is None or not monitor.requests:
        return PanelContent(
            texts=("No request of this plan was booked: those count that were asked of comptroller/auto.",)
        )
    chart = drift_chart(monitor)
    text = f"Over {monitor.requests:,} requests of the plan."
    notes = tuple(f"drift: {line}" for line in monitor.drifted())
    return PanelContent(
        charts=(chart,) if chart else (), texts=(text,), notes=notes, sheets=(drift_sheet(plan.name, monitor),)
    )


def monitor_of(sources: DashboardSources, plan: Plan) -> PlanDriftMonitor | None:
    """What happened: as the gateway saw it, else by those of the last calls in the books that are of the plan."""
    live = sources.gateway.happened if sources.gateway else None
    if live is not None and live.requests:
        return live
    if sources.ledger is None:
        return None
    digest = digest_of(plan)
    return from_books(plan, [call for call in reversed(last_calls(sources.ledger)) if call["plan"] == digest])


def drift_chart(monitor: PlanDriftMonitor) -> ReportChart | None:
    """Every figure that happened as a share of its prediction, with the predicted interval; drifted ones apart."""
    told = [(item, monitor.figure(item)) for item in monitor.predictions]
    told = [(item, value) for item, value in told if not isnan(value) and item.figure.value > 0]
    if not told:
        return None
    shares = [value / item.figure.value for item, value in told]
    spans = [_span(item) for item, _ in told]
    out = [not low <= share <= high for share, (low, high) in zip(shares, spans, strict=True)]
    readings = tuple((figure_name(item), _reading(item, value)) for item, value in told)
    labels = [f"{share:.0%}" for share in shares]
    count, places = len(told), max(len(told), 4)

    def bars(name: str, which: bool, ink: int) -> BarSeries:
        kept = [bad is which for bad in out]
        return BarSeries(
            name,
            tuple(min(share, MOST_SHARE) if keep else 0.0 for share, keep in zip(shares, kept, strict=True)),
            sideways=True,
            labels=tuple(label if keep else "" for label, keep in zip(labels, kept, strict=True)),
            readings=readings if not which else (),
            ink=ink,
            spans=tuple(
                (span[0], min(span[1], MOST_SHARE)) if keep else (0.0, 0.0)
                for span, keep in zip(spans, kept, strict=True)
            ),
        )

    return ReportChart(
        "Happened, as a share of what was predicted",
        ChartAxis(
            "share of the prediction; whiskers are its 80 % interval",
            lambda share: f"{share:.0%}",
            0.0,
            1.25 * min(max(1.0, *shares, *(high for _, high in spans)), MOST_SHARE),
        ),
        ChartAxis("", low=places - 0.5, high=-0.5, ticks=tuple((i, figure_name(told[i][0])) for i in range(count))),
        (
            bars("within", False, 0),
            *((bars("outside its interval", True, 1),) if any(out) else ()),
            LineSeries("", [1.0, 1.0], [-0.5, places - 0.5], reference=True),
        ),
    )


def _span(item: MonitoredPrediction) -> tuple[float, float]:
    figure = item.figure
    if figure.low is None or figure.high is None:
        return 0.0, float("inf")
    return figure.low / figure.value, figure.high / figure.value


def figure_name(item: MonitoredPrediction) -> str:
    """A figure of the plan in words."""
    names = {"usd": "dollars", "j": "joules", "ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "end to end"}
    name = names.get(item.name, item.name)
    return name if item.quantile is None else f"{name} p{item.quantile * 100:g}"


def _reading(item: MonitoredPrediction, value: float) -> str:
    def words(amount: float) -> str:
        if item.name == "usd":
            return dollars(amount)
        return seconds(amount) if item.name.endswith("_s") else with_prefix(amount, "J")

    figure = item.figure
    between = "" if figure.low is None or figure.high is None else f" ({words(figure.low)} to {words(figure.high)})"
    return f"{words(value)}, predicted {words(figure.value)}{between}"


def drift_sheet(name: str, drift: PlanDriftMonitor) -> ReportSheet:
    """Predictions and what came of them."""
    columns = (left("figure", "per request"), right("low"), right("predicted"), right("high"), right("happened"))
    lines = [
        (
            item.name if item.quantile is None else f"{item.name} p{item.quantile * 100:g}",
            item.figure.low,
            item.figure.value,
            item.figure.high,
            None if isnan(value := drift.figure(item)) else value,
        )
        for item in drift.predictions
    ]
    return ReportSheet(f"Plan {name}: {drift.requests} requests", columns, tuple(lines))

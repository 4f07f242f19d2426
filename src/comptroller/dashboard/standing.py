"""Panels of the plan: what was chosen, its intervals, reasons and odds; the frontier with the running point."""

from __future__ import annotations

from dataclasses import replace
from math import isnan

from comptroller.dashboard.measurements import monitor_of
from comptroller.dashboard.panels import Choice, DashboardSources, PanelContent
from comptroller.planning.ground.plan_document import Plan
from comptroller.report import decision, odds, plan_tables, solving
from comptroller.report.chart import ChartMark, MarkSeries, ReportChart, frontier_chart
from comptroller.report.figures import dollars, interval, seconds, with_prefix
from comptroller.report.page import PageTile
from comptroller.report.plan_page import latency_charts


def plan_panel(sources: DashboardSources, _: Choice) -> PanelContent:
    """The choice, what it was chosen against, how near its limits it runs, and how sure it is."""
    plan = sources.plan
    assert plan is not None
    charts = (decision.accelerator_chart(plan), decision.use_of_limits(plan))
    texts = (plan_tables.headline(plan), plan.odds.sentence if plan.odds else solving.verdict(plan))
    return PanelContent(
        _tiles(plan),
        tuple(chart for chart in charts if chart),
        tuple(filter(None, (*texts, decision.beyond_sentence(plan)))),
        sheets=(plan_tables.services(plan), plan_tables.latency(plan)),
    )


def reasons_panel(sources: DashboardSources, _: Choice) -> PanelContent:
    """Why this plan: what lost, what limits cost, the odds of the choice."""
    plan = sources.plan
    assert plan is not None
    tables = (plan_tables.runners_up(plan), plan_tables.shadow_prices(plan), odds.odds_sheet(plan))
    return PanelContent(sheets=tuple(table for table in tables if table.rows))


def _tiles(plan: Plan) -> tuple[PageTile, ...]:
    total = plan.totals
    stands = () if plan.odds is None else (PageTile("Stands", f"{plan.odds.stands:.0%}", "of draws of step times"),)
    return (
        PageTile("Cost", f"{dollars(total.usd_per_h.value)}/h", interval(total.usd_per_h, "$")),
        PageTile("Per request", dollars(total.usd_per_request.value), interval(total.usd_per_request, "$")),
        PageTile("Power at the meter", with_prefix(total.w.value, "W"), interval(total.w, "W")),
        PageTile("Emissions", f"{with_prefix(total.gco2e_per_h.value, 'g')}/h", "CO2e"),
        *stands,
    )


def frontier_panel(sources: DashboardSources, _: Choice) -> PanelContent:
    """What money buys: cost against quality, or against each latency objective, with what runs now as a mark."""
    plan = sources.plan
    assert plan is not None
    monitor = monitor_of(sources, plan)
    seen = {} if monitor is None else {item.name: monitor.figure(item) for item in monitor.predictions}
    if plan.quality is not None:
        marks = solving.marks(plan)
        usd_per_h = seen.get("usd", float("nan")) * plan.totals.requests_per_s * 3600.0
        chart = frontier_chart("Share solved against cost", marks, ("dollars per hour", "share solved"))
        share = plan.quality.predicted.value
        reading = f"{dollars(usd_per_h)}/h at the planned rate, where {share:.1%} are predicted to be solved"
        return PanelContent(
            charts=(_with_running(chart, usd_per_h, share, reading),), texts=(plan.quality.next_dollar,)
        )
    charts = []
    rent = plan.totals.usd_per_h.value
    for chart in latency_charts(plan):
        entry = next(one for one in plan.latency if chart.title.endswith(plan_tables.objective_name(one)))
        at_s = seen.get(entry.quantity, float("nan"))
        reading = f"{seconds(at_s)} measured, {dollars(rent)}/h of rent"
        charts.append(_with_running(chart, at_s, rent, reading))
    return PanelContent(charts=tuple(charts))


def _with_running(chart: ReportChart, x: float, y: float, reading: str) -> ReportChart:
    """The chart with what runs now as a mark; as it is where nothing was measured."""
    if isnan(x) or x <= 0:
        return chart
    mark = ChartMark(x, y, y, y, "running", reading, True, "running", True)
    low = chart.x.low if chart.x.low is None else min(chart.x.low, x / 1.2)
    high = chart.x.high if chart.x.high is None else max(chart.x.high, x * 1.2)
    axis = replace(chart.x, low=low, high=high)
    return replace(chart, x=axis, series=(*chart.series, MarkSeries((mark,))))

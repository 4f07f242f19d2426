"""A picture of time of a fleet that is scaled, policy by policy: replicas, what waits, latencies, dollars."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.planning.scaled_simulation import ScaledSimulation
from comptroller.report.chart import ReportChart
from comptroller.report.drawing import ChartPicture
from comptroller.report.fleet_timeline import FleetTimeline, timeline_charts, timeline_of_scaled
from comptroller.report.page import PageSection, ReportPage, table_sections
from comptroller.report.scaling_tables import scaling_sheet
from comptroller.report.sheet import ReportSheet

HINT = "Point at a chart, or move with Tab and the arrow keys, to read all lines of a moment."


def scaling_charts(simulations: Sequence[ScaledSimulation]) -> tuple[ReportChart, ...]:
    """Arrivals, replicas paid for, calls waiting, time to first token, share within objectives, dollars so far."""
    return timeline_charts([timeline_of_scaled(one) for one in simulations])


def scaling_picture(simulations: Sequence[ScaledSimulation]) -> ChartPicture:
    """The charts as a file."""
    first = simulations[0]
    return ChartPicture(scaling_charts(simulations), f"{first.plan.name}: {scaling_sheet(simulations).title}")


def scaling_page(simulations: Sequence[ScaledSimulation]) -> str:
    """The charts and the table as a page."""
    words = f"{len(simulations[0].trace):,} requests under {len(simulations)} scaling policies"
    return timeline_page(
        "scaling", words, [timeline_of_scaled(one) for one in simulations], (scaling_sheet(simulations),)
    )


def timeline_page(subject: str, headline: str, lines: Sequence[FleetTimeline], sheets: Sequence[ReportSheet]) -> str:
    """Charts of fleets over one clock, and tables, as a page; the first table's title is its lede."""
    name, charts = lines[0].plan.name, timeline_charts(lines)
    drawn = max(len(chart.lines) for chart in charts)
    hint = HINT + (f" The first {drawn} are drawn." if len(lines) > drawn else "")
    return ReportPage(
        title=f"{name}: {subject}",
        subject=f"{subject} of {name}",
        headline=headline,
        lede=sheets[0].title,
        sections=(PageSection("Over time", hint, charts=charts), *table_sections(tuple(sheets))),
    ).html()

"""A plan of training as a page: days and dollars by number of devices, then every table."""

from __future__ import annotations

from comptroller.quantities import DAY_S
from comptroller.report import drawing
from comptroller.report.chart import ChartAxis, ChartMark, MarkSeries, ReportChart
from comptroller.report.figures import dollars, number
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.training_tables import duration, error_sentence, goal, headline, layout_sentence, sheets
from comptroller.training.plan_document import TrainingPlan


def training_page(plan: TrainingPlan) -> str:
    """The page as text."""
    tables = sheets(plan)
    charts = (counts_chart(plan),) if len(plan.by_count) > 1 else ()
    answer = PageSection("Answer", layout_sentence(plan), charts=charts, sheets=tables[:1])
    sections = (answer, *(PageSection(sheet.title, sheets=(sheet,)) for sheet in tables[1:]))
    return ReportPage(
        title=f"{plan.name}: {headline(plan)}",
        subject=f"training plan for {plan.name}",
        headline=headline(plan),
        lede=goal(plan),
        tiles=_tiles(plan),
        sections=tuple(section for section in sections if section.filled),
        footer=(error_sentence(plan), *plan.notes, *plan.refused),
    ).html()


def training_picture(plan: TrainingPlan) -> bytes:
    """A PNG of days against dollars by number of devices."""
    return drawing.png((counts_chart(plan),), f"{plan.name}: {headline(plan)}")


def counts_chart(plan: TrainingPlan) -> ReportChart:
    """Days against dollars, a mark for each number of devices."""
    marks = tuple(
        ChartMark(
            run.wall_s.value / DAY_S,
            run.usd.value,
            run.usd.low or run.usd.value,
            run.usd.high or run.usd.value,
            f"{run.devices:,} devices",
            f"{duration(run.wall_s.value)}, {dollars(run.usd.value)}, MFU {number(100 * run.mfu)} %",
            run.devices == plan.run.devices,
            f"{run.devices:,}",
        )
        for run in plan.by_count
    )
    return ReportChart(
        "Days and dollars by number of devices",
        ChartAxis("days"),
        ChartAxis("dollars of the run"),
        (MarkSeries(marks),),
    )


def _tiles(plan: TrainingPlan) -> tuple[PageTile, ...]:
    run = plan.run
    return (
        PageTile("time", duration(run.wall_s.value), f"{run.steps:,} steps of {number(run.step_s.value)} s"),
        PageTile("cost", dollars(run.usd.value), f"{dollars(run.usd_per_h)}/h"),
        PageTile("MFU", f"{run.mfu:.1%}", f"HFU {run.hfu:.1%}"),
        PageTile("energy", f"{number(run.j.value / 3.6e9)} MWh", f"{number(run.gco2e.value / 1e6)} tCO2e"),
    )

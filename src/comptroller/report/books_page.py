"""The books as a page: spend by day and by group as charts, and all tables."""

from __future__ import annotations

from collections.abc import Sequence

from comptroller.books.query import LedgerTotals
from comptroller.report.chart import BarSeries, ChartAxis, ReportChart
from comptroller.report.figures import dollars, with_prefix
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.sheet import ReportSheet

MOST = 12
"""Bars by group, the dearest first: as many names as the height of a chart holds; the table has all."""

PLACES = 7
"""Bars that a chart has room for at least, so that few are not drawn as blocks: the days of a week."""

LETTERS = 24
"""Of a group's name beside its bar, half the width of a chart; the table has the whole name."""


def page(
    title: str,
    whole: LedgerTotals,
    days: Sequence[LedgerTotals],
    groups: Sequence[LedgerTotals],
    sheets: Sequence[ReportSheet],
) -> str:
    """The page as text.

    days, groups: totals by day in order, and by what was asked.
    """
    charts = tuple(make(part) for make, part in ((_by_day, days), (_by_group, groups[:MOST])) if part)
    tables = tuple(PageSection(sheet.title, sheets=(sheet,)) for sheet in sheets)
    sections = (PageSection("Spend by day and by group", charts=charts), *tables)
    return ReportPage(title, "books", headline=title, tiles=_tiles(whole), sections=sections).html()


def _tiles(whole: LedgerTotals) -> tuple[PageTile, ...]:
    between = f"{with_prefix(whole['low_j'], 'J')} to {with_prefix(whole['high_j'], 'J')}"
    thinking = f"{with_prefix(whole['reasoning_tokens'], '')} of them thinking"
    per_request = dollars(whole.usd / max(whole.requests, 1))
    return (
        PageTile("Spend", dollars(whole.usd), f"{int(whole['unpriced']):,} calls of unknown cost"),
        PageTile("Requests", f"{whole.requests:,}", f"{int(whole['calls']):,} calls"),
        PageTile("Per request", per_request, f"{whole.scored:,} requests scored"),
        PageTile("Tokens out", with_prefix(whole["output_tokens"], ""), thinking),
        PageTile("Energy", with_prefix(whole["j"], "J"), between),
        PageTile("Emissions", with_prefix(whole["gco2e"], "g"), "CO2e at the site's hour or yearly mean"),
    )


def _by_day(days: Sequence[LedgerTotals]) -> ReportChart:
    """Upright bars; the first and the last day are named, each is read out."""
    names = [item.group[0] for item in days]
    readings = tuple((name, dollars(item.usd)) for name, item in zip(names, days, strict=True))
    ends = tuple((place, names[place]) for place in dict.fromkeys((0, len(days) - 1)))
    return ReportChart(
        "Spend by day",
        ChartAxis("day", low=-0.5, high=max(len(days), PLACES) - 0.5, ticks=ends),
        ChartAxis("dollars a day", dollars, low=0.0),
        (BarSeries("", tuple(item.usd for item in days), readings=readings),),
    )


def _by_group(groups: Sequence[LedgerTotals]) -> ReportChart:
    """Sideways bars, each with its name and amount."""
    names = (" · ".join(item.group)[:LETTERS] or "–" for item in groups)
    spent = tuple(max(0.0, item.usd) for item in groups)
    amounts = tuple(dollars(item.usd) for item in groups)
    return ReportChart(
        "Spend by group",
        # a third of the width is left for the amount beside the longest bar
        ChartAxis("dollars", low=0.0, high=1.35 * max(spent) or 1.0, ticks=()),
        ChartAxis("", low=max(len(groups), PLACES) - 0.5, high=-0.5, ticks=tuple(enumerate(names))),
        (BarSeries("", spent, sideways=True, labels=amounts),),
    )

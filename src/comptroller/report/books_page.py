"""The books as a page: spend by day and by group as charts, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from comptroller.books.query import LedgerTotals
from comptroller.report.chart import BarSeries, ChartAxis, ReportChart
from comptroller.report.figures import dollars, with_prefix
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.sheet import ReportSheet

MOST = 12
"""Bars by group, the dearest first: as many names as the height of a chart holds; the table has all."""

PLACES = 7
"""Bars that a chart has room for at least, so that few are not drawn as blocks: the days of a week."""

MOST_TICKS = 5
"""Days that are named on the axis at most: as many dates as stand side by side below a chart."""

LETTERS = 24
"""Of a group's name beside its bar, half the width of a chart; the table has the whole name."""


@dataclass(frozen=True, slots=True)
class BooksSpending:
    """What a page draws: the whole, totals by day in order and by what was asked; the currency, the zone of days."""

    whole: LedgerTotals
    days: Sequence[LedgerTotals]
    groups: Sequence[LedgerTotals]
    currency: str = "USD"
    zone: str = "UTC"

    def money(self, amount: float) -> str:
        """An amount in words."""
        return dollars(amount) if self.currency == "USD" else f"{dollars(amount).lstrip('$')} {self.currency}"


def page(title: str, spent: BooksSpending, sheets: Sequence[ReportSheet]) -> str:
    """The page as text."""
    charts = [_by_day(spent)] if spent.days else []
    charts += [_by_group(spent)] if spent.groups else []
    tables = tuple(PageSection(sheet.title, sheets=(sheet,)) for sheet in sheets)
    sections = (PageSection("Spend by day and by group", charts=tuple(charts)), *tables)
    return ReportPage(title, "books", headline=title, tiles=_tiles(spent), sections=sections).html()


def _tiles(spent: BooksSpending) -> tuple[PageTile, ...]:
    whole = spent.whole
    between = f"{with_prefix(whole['low_j'], 'J')} to {with_prefix(whole['high_j'], 'J')}"
    thinking = f"{with_prefix(whole['reasoning_tokens'], '')} of them thinking"
    per_request = spent.money(whole.usd / max(whole.requests, 1))
    return (
        PageTile("Spend", spent.money(whole.usd), f"{int(whole['unpriced']):,} calls of unknown cost"),
        PageTile("Requests", f"{whole.requests:,}", f"{int(whole['calls']):,} calls"),
        PageTile("Per request", per_request, f"{whole.scored:,} requests scored"),
        PageTile("Tokens out", with_prefix(whole["output_tokens"], ""), thinking),
        PageTile("Energy", with_prefix(whole["j"], "J"), between),
        PageTile("Emissions", with_prefix(whole["gco2e"], "g"), "CO2e at the site's hour or yearly mean"),
    )


def _by_day(spent: BooksSpending) -> ReportChart:
    """Upright bars on an axis of time: a day on which nothing was spent has its place. Each is read out."""
    found = {date.fromisoformat(item.group[0]): item.usd for item in spent.days}
    first, last = min(found), max(found)
    days = [first + timedelta(place) for place in range((last - first).days + 1)]
    amounts = tuple(found.get(day, 0.0) for day in days)
    readings = tuple((day.isoformat(), spent.money(amount)) for day, amount in zip(days, amounts, strict=True))
    step = max(1, -(-len(days) // MOST_TICKS))
    ticks = tuple((place, days[place].isoformat()) for place in range(0, len(days), step))
    return ReportChart(
        "Spend by day",
        ChartAxis(f"day, {spent.zone}", low=-0.5, high=max(len(days), PLACES) - 0.5, ticks=ticks),
        ChartAxis(f"{'dollars' if spent.currency == 'USD' else spent.currency} a day", spent.money, low=0.0),
        (BarSeries("", amounts, readings=readings),),
    )


def _by_group(spent: BooksSpending) -> ReportChart:
    """Sideways bars, each with its name and amount."""
    groups = spent.groups[:MOST]
    names = (" · ".join(item.group)[:LETTERS] or "–" for item in groups)
    spends = tuple(max(0.0, item.usd) for item in groups)
    amounts = tuple(spent.money(item.usd) for item in groups)
    return ReportChart(
        "Spend by group",
        # a third of the width is left for the amount beside the longest bar
        ChartAxis(
            "dollars" if spent.currency == "USD" else spent.currency, low=0.0, high=1.35 * max(spends) or 1.0, ticks=()
        ),
        ChartAxis("", low=max(len(groups), PLACES) - 0.5, high=-0.5, ticks=tuple(enumerate(names))),
        (BarSeries("", spends, sideways=True, labels=amounts),),
    )

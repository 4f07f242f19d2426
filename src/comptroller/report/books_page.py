"""The books as a page: spend by day and by group as charts, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from comptroller.books.query import LedgerTotals
from comptroller.report.chart import BarSeries, ChartAxis, ReportChart
from comptroller.report.day_stacks import PLACES, DayStacks
from comptroller.report.drawing import ChartPicture
from comptroller.report.figures import dollars, with_prefix
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.sheet import ReportSheet

MOST = 12
"""Bars by group, the dearest first: as many names as the height of a chart holds; the table has all."""

LETTERS = 24
"""Of a group's name beside its bar, half the width of a chart; the table has the whole name."""


@dataclass(frozen=True, slots=True)
class BooksSpending:
    """What a page draws: the whole, totals by day and model and by what was asked; the currency, the zone of days.

    limit: what may be spent on a day, in the currency; None where nothing says.
    """

    whole: LedgerTotals
    days: Sequence[LedgerTotals]
    groups: Sequence[LedgerTotals]
    currency: str = "USD"
    zone: str = "UTC"
    limit: float | None = None

    @property
    def unit(self) -> str:
        """What the axes of money say."""
        return "dollars" if self.currency == "USD" else self.currency

    def money(self, amount: float) -> str:
        """An amount in words."""
        return dollars(amount) if self.currency == "USD" else f"{dollars(amount).lstrip('$')} {self.currency}"


def charts(spent: BooksSpending) -> tuple[ReportChart, ...]:
    """Spend by day and by group."""
    by_day = (_by_day(spent),) if spent.days else ()
    return (*by_day, *((_by_group(spent),) if spent.groups else ()))


def picture(title: str, spent: BooksSpending) -> ChartPicture:
    """The charts as a file."""
    return ChartPicture(charts(spent), title)


def page(title: str, spent: BooksSpending, sheets: Sequence[ReportSheet]) -> str:
    """The page as text."""
    tables = tuple(PageSection(sheet.title, sheets=(sheet,)) for sheet in sheets)
    sections = (PageSection("Spend by day and by group", charts=charts(spent)), *tables)
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
    """Every model's part of each day on one another, under the budget of a day."""
    amounts = {(date.fromisoformat(item.group[0]), item.group[1]): max(0.0, item.usd) for item in spent.days}
    return DayStacks(amounts, spent.unit, spent.money, spent.zone, spent.limit).chart()


def _by_group(spent: BooksSpending) -> ReportChart:
    """Sideways bars, each with its name and amount."""
    groups = spent.groups[:MOST]
    names = (" · ".join(item.group)[:LETTERS] or "–" for item in groups)
    spends = tuple(max(0.0, item.usd) for item in groups)
    amounts = tuple(spent.money(item.usd) for item in groups)
    return ReportChart(
        "Spend by group",
        # a third of the width is left for the amount beside the longest bar
        ChartAxis(spent.unit, low=0.0, high=1.35 * max(spends) or 1.0, ticks=()),
        ChartAxis("", low=max(len(groups), PLACES) - 0.5, high=-0.5, ticks=tuple(enumerate(names))),
        (BarSeries("", spends, sideways=True, labels=amounts),),
    )

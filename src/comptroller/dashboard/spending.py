"""Panels of the books: spend by day and by group, budgets, cost of what was solved, waste."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from math import nan
from typing import NamedTuple

from sqlalchemy import select

from comptroller.books import schema
from comptroller.books.daily import NAMES
from comptroller.books.grouping import TAG, grouped_totals
from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, LedgerScope, LedgerTotals, totals
from comptroller.dashboard.panels import Choice, DashboardSources, PanelContent, PanelSelect
from comptroller.report import books as sheets
from comptroller.report.chart import BarSeries, ChartAxis, ChartMark, LineSeries, ReportChart, frontier_chart
from comptroller.report.day_stacks import DayStacks
from comptroller.report.figures import dollars, with_prefix
from comptroller.report.page import PageTile

GROUPS = (("model", "by model"), ("key", "by key"), ("project", "by project"), ("strategy", "by strategy"))
PERIODS = (("30", "last 30 days"), ("7", "last 7 days"), ("90", "last 90 days"), ("all", "all days"))

MOST_BARS = 12
"""Groups with a bar, the largest first: as many names as the height of a chart holds; the table has more."""

MOST_ROWS = 20
"""Groups in the table; `comptroller books report` has all."""

MOST_TAGS = 6
"""Names of tags that are offered as groups."""


class SpendMeasure(NamedTuple):
    """What is counted: its name in the books, its label, how much of it is one unit shown, and how it is printed."""

    name: str
    label: str
    scale: float
    unit: str

    def words(self, value: float) -> str:
        """An amount in words."""
        return dollars(value) if self.unit == "$" else with_prefix(value, self.unit)

    def of(self, item: LedgerTotals) -> float:
        """The amount of a group."""
        return max(float(item[self.name]) * self.scale, 0.0)


MEASURES = {
    "usd": SpendMeasure("pusd", "dollars", 1e-12, "$"),
    "output": SpendMeasure("output_tokens", "tokens out", 1.0, ""),
    "input": SpendMeasure("input_tokens", "tokens in", 1.0, ""),
    "j": SpendMeasure("j", "joules", 1.0, "J"),
    "gco2e": SpendMeasure("gco2e", "gCO2e", 1.0, "g"),
}


def spend_selects(sources: DashboardSources) -> tuple[PanelSelect, ...]:
    """What is counted, by what, over which days."""
    assert sources.ledger is not None
    tags = tuple((f"{TAG}{name}", f"by tag {name}") for name in _tag_names(sources.ledger))
    return (
        PanelSelect("measure", "Count", tuple((name, item.label) for name, item in MEASURES.items())),
        PanelSelect("by", "Group", (*GROUPS, *tags)),
        PanelSelect("days", "Period", PERIODS),
    )


def _tag_names(ledger: CallLedger) -> list[str]:
    """Names of tags that calls were booked with."""
    with schema.refusals("tags"), ledger.engine.connect() as connection:
        told = connection.execute(select(schema.account.c.tags).distinct()).scalars().all()
    names = {tag.partition("=")[0] for tags in told for tag in tags.split(";") if tag}
    return sorted(names)[:MOST_TAGS]


def scope_of(days: str) -> LedgerScope:
    """The rows of the last so many days, today included."""
    if days == "all":
        return EVERYTHING
    return LedgerScope(since=datetime.now(UTC).date() - timedelta(int(days) - 1))


def spend_panel(sources: DashboardSources, chosen: Choice) -> PanelContent:
    """Tiles of the whole, a stack of groups by day on a true axis of time, bars and a table of groups."""
    assert sources.ledger is not None
    ledger, scope, by = sources.ledger, scope_of(chosen["days"]), chosen["by"]
    measure = MEASURES[chosen["measure"]]
    daily = grouped_totals(ledger, ("day", by), scope)
    if not daily:
        return PanelContent(texts=("No call was booked in this period.",))
    groups = sorted(_sums_by(daily, lambda group: group[1:]), key=lambda item: -measure.of(item))
    (whole,) = _sums_by(daily, lambda group: ())
    table = sheets.spend(groups[:MOST_ROWS], (by.removeprefix(TAG),))
    limit = sheets.usd_of_a_day(ledger.balances()) if measure.unit == "$" else None
    charts = (_by_day(daily, measure, limit), _by_group(groups, measure))
    return PanelContent(_tiles(whole), charts, sheets=(sheets.with_amounts(table),))


def _sums_by(found: Sequence[LedgerTotals], part: Callable[[tuple[str, ...]], tuple[str, ...]]) -> list[LedgerTotals]:
    """Sums of groups that share a part of their names: the books are asked once for all that a panel shows.

    Requests of the whole are counted by their first call, so that one with several models counts once.
    """
    by_part: dict[tuple[str, ...], list[LedgerTotals]] = {}
    for item in found:
        by_part.setdefault(part(item.group), []).append(item)
    sums = []
    for group, items in by_part.items():
        amounts = {name: sum(item[name] for item in items) for name in NAMES}
        requests = sum(item.requests for item in items) if group else int(amounts["requests"])
        solved = sum(item.solved for item in items if item.scored)
        scored = sum(item.scored for item in items)
        sums.append(LedgerTotals(group, amounts, requests, solved if scored else nan, scored))
    return sums


def _tiles(whole: LedgerTotals) -> tuple[PageTile, ...]:
    requests = max(whole.requests, 1)
    return (
        PageTile("Spend", dollars(whole.usd), f"{int(whole['unpriced']):,} calls of unknown cost"),
        PageTile("Requests", f"{whole.requests:,}", f"{int(whole['calls']):,} calls"),
        PageTile("Per request", dollars(whole.usd / requests), f"{whole.scored:,} requests scored"),
        PageTile("Tokens out", with_prefix(whole["output_tokens"], ""), f"{with_prefix(whole['input_tokens'], '')} in"),
        PageTile("Energy", with_prefix(whole["j"], "J"), f"{with_prefix(whole['j'] / requests, 'J')} per request"),
        PageTile("Emissions", with_prefix(whole["gco2e"], "g"), "CO2e"),
    )


def _by_day(daily: Sequence[LedgerTotals], measure: SpendMeasure, limit_usd: float | None) -> ReportChart:
    """Stacked bars, a place for every day between the first and the last."""
    amounts = {(date.fromisoformat(item.group[0]), item.group[1]): measure.of(item) for item in daily}
    return DayStacks(amounts, measure.label, measure.words, limit=limit_usd).chart()


def _by_group(groups: Sequence[LedgerTotals], measure: SpendMeasure) -> ReportChart:
    """Sideways bars of the largest."""
    shown = groups[:MOST_BARS]
    names = [item.group[0] or "none" for item in shown]
    values = tuple(measure.of(item) for item in shown)
    words = tuple(measure.words(value) for value in values)
    ticks = tuple((place, name[:24]) for place, name in enumerate(names))
    return ReportChart(
        f"{measure.label} in all",
        ChartAxis(measure.label, measure.words, 0.0, 1.35 * max(values, default=0.0) or 1.0),
        ChartAxis("", low=max(len(shown), 4) - 0.5, high=-0.5, ticks=ticks),
        (BarSeries("", values, sideways=True, labels=words, readings=tuple(zip(names, words, strict=True))),),
    )


def budgets_panel(sources: DashboardSources, _: Choice) -> PanelContent:
    """Every budget with how much of it is spent and held, the fullest first."""
    assert sources.ledger is not None
    found = [b for b in sources.ledger.balances() if b.budget.limit_pusd > 0]
    used = sorted(found, key=lambda b: -(b.spent_pusd + b.held_pusd) / b.budget.limit_pusd)[:12]
    if not used:
        return PanelContent(texts=("No budget is set: comptroller books budgets BOOKS --set 'all per day 5.00'.",))
    shares = tuple((b.spent_pusd + b.held_pusd) / b.budget.limit_pusd for b in used)
    labels = tuple(f"{share:.0%}" for share in shares)
    readings = tuple(
        (
            str(b.budget),
            f"{dollars(b.spent_pusd / 1e12)} spent and {dollars(b.held_pusd / 1e12)} held of "
            f"{dollars(b.budget.limit_pusd / 1e12)} in {b.span or 'all'}",
        )
        for b in used
    )
    places = max(len(used), 4)
    chart = ReportChart(
        "Use of every budget",
        ChartAxis("share of the limit", lambda share: f"{share:.0%}", 0.0, 1.3 * max(1.0, *shares)),
        ChartAxis("", low=places - 0.5, high=-0.5, ticks=tuple((i, str(b.budget)[:24]) for i, b in enumerate(used))),
        (
            BarSeries("", shares, sideways=True, labels=labels, readings=readings),
            LineSeries("", [1.0, 1.0], [-0.5, places - 0.5], reference=True),
        ),
    )
    full = tuple(f"{name}: {text}" for (name, text), share in zip(readings, shares, strict=True) if share >= 0.8)
    return PanelContent(charts=(chart,), notes=full, sheets=(sheets.balances(used),))


def waste_panel(sources: DashboardSources, chosen: Choice) -> PanelContent:
    """What bought nothing."""
    assert sources.ledger is not None
    both = totals(sources.ledger, ["finish", "role"], scope_of(chosen["days"]))
    table = sheets.waste(_sums_by(both, lambda group: group[:1]), _sums_by(both, lambda group: group[1:]))
    lines = [(str(row[0]), float(row[2] or 0.0)) for row in table.rows]
    lost = [(what, usd) for what, usd in lines if usd > 0]
    text = (
        ""
        if lost
        else "Nothing was wasted in this period: no call failed, was cut off, tried again or idled at a cost."
    )
    return PanelContent(texts=(text,), sheets=(table,) if lost else ())


def success_panel(sources: DashboardSources, chosen: Choice) -> PanelContent:
    """Dollars per request against the share solved, by strategy and model; the cheapest at each share are joined."""
    assert sources.ledger is not None
    found = totals(sources.ledger, ["strategy", "model"], scope_of(chosen["days"]))
    scored = [item for item in found if item.scored and item.requests]
    if not scored:
        return PanelContent(
            texts=("No request was scored yet: scores come from checkers, and from comptroller's own evaluations.",)
        )
    points = [(item.usd / item.requests, item.solved / item.scored, item) for item in scored]
    marks = tuple(
        ChartMark(
            *(usd, share, share, share),
            " · ".join(filter(None, item.group)),
            f"{share:.1%} of {item.scored:,} scored requests solved at {dollars(usd)} each",
            not any(u <= usd and s >= share and (u, s) != (usd, share) for u, s, _ in points),
        )
        for usd, share, item in points
    )
    chart = frontier_chart("Share solved against dollars per request", marks, ("dollars per request", "share solved"))
    return PanelContent(charts=(chart,), sheets=(sheets.success(scored, ("strategy", "model")),))


def period_select(_: DashboardSources) -> tuple[PanelSelect, ...]:
    """The days that count."""
    return (PanelSelect("days", "Period", PERIODS),)

"""The day of a plan: its hours as a table and as a picture, where the saving comes from, what waits."""

from __future__ import annotations

from dataclasses import replace

from comptroller.planning.ground.day_document import (
    DayPlan,
    DeadlineAlternative,
    DeferrableWorkDocument,
    FreedomStep,
    HourDocument,
    HourTrial,
)
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.report.chart import BarSeries, ChartAxis, ReportChart, stacked_bars
from comptroller.report.figures import dollars, number, with_prefix
from comptroller.report.sheet import UNKNOWN, ReportSheet, SheetColumns, left, right

API = "API"

SHADES = {"owned": 1.0, "reserved": 1.0, "on_demand": 0.6, "spot": 0.3, API: 0.12}
"""How dark the bars of a term are, from what stays to what may go, and last what is bought."""

LEAST = 0.005
"""Shares of an hour's questions below this are not shown: they would be printed as 0 %."""


def rented_devices(hour: HourDocument) -> str:
    """What an hour rents: devices by accelerator and term."""
    count: dict[tuple[str, str], int] = {}
    for replicas in hour.rented:
        key = (replicas.accelerator, replicas.term.replace("_", "-"))
        count[key] = count.get(key, 0) + replicas.devices
    return " + ".join(f"{devices} {name} {term}" for (name, term), devices in count.items()) or "–"


def _text_or_dash(value: float | None, unit: str) -> str:
    return UNKNOWN if value is None else with_prefix(value, unit)


def sizing_text(tried: HourTrial | None) -> str:
    """How many times its demand an hour is sized for, and whether that was shown to hold."""
    if tried is None:
        return UNKNOWN
    return f"{tried.sized_for:.2f}x" + ("" if tried.holds else ", not shown")


HOURS: SheetColumns[HourDocument] = (
    right("hour", None, lambda one: f"{one.hour:02d}"),
    right("load_per_s", "req/s", lambda one: number(one.load_per_s)),
    left("rented", None, rented_devices),
    right("done", "deferred", lambda one: number(sum(one.done.values()))),
    right("bought", "APIs", lambda one: f"{dollars(sum(x.usd for x in one.bought))}/h" if one.bought else UNKNOWN),
    right("solved", None, lambda one: "" if one.solved is None else f"{one.solved:.1%}"),
    right("tried", "sized for", lambda one: sizing_text(one.tried)),
    right("usd", "$/h", lambda one: dollars(one.usd)),
    right("w", "power", lambda one: _text_or_dash(one.w, "W")),
    right("gco2e", "CO2e", lambda one: _text_or_dash(one.gco2e, "g")),
)


def hours(plan: Plan) -> ReportSheet:
    """One row per hour: load, what is rented at which term, work that waited, dollars, watts and grams."""
    day = plan.hours
    sheet = ReportSheet.of("Hours of the day", HOURS, day.hours if day else ())
    sheet = sheet.without_empty("bought", "solved", "tried", "w", "gco2e")
    return sheet if day and day.works else sheet.without("done")


def strategies(plan: Plan) -> ReportSheet:
    """What is done with the questions: every way's share over the day, and in the hours that use it least and most."""
    columns = (
        left("way", "strategy and who plays it, over the day"),
        right("mean", "of all"),
        right("least"),
        right("most"),
    )
    with_questions = [one for one in (plan.hours.hours if plan.hours else ()) if one.strategies]
    asked = {one.hour: one.load_per_s * 3600.0 + sum(one.done.values()) for one in with_questions}
    rows = []
    for way in dict.fromkeys(way for one in with_questions for way in one.strategies):
        by_hour = {one.hour: one.strategies.get(way, 0.0) for one in with_questions}
        mean = sum(share * asked[h] for h, share in by_hour.items()) / sum(asked.values())
        ends = (min(by_hour, key=lambda h: by_hour[h]), max(by_hour, key=lambda h: by_hour[h]))
        if by_hour[ends[1]] >= LEAST:
            shown = (f"{by_hour[h]:.0%} at {h:02d}" for h in ends)
            rows.append((mean, (way, f"{mean:.1%}", *shown)))
    ranked = sorted(rows, key=lambda row: -row[0])
    return ReportSheet("Strategies by the hour", columns, tuple(row for _, row in ranked))


def steps(plan: Plan) -> ReportSheet:
    """What each freedom saves on the one before."""
    freedoms = plan.hours.steps if plan.hours else ()
    first = freedoms[0].objective_per_day if freedoms else 1.0
    columns: SheetColumns[FreedomStep] = (
        left("step", "the day", lambda step: step.name),
        right("usd_per_day", "$/day", lambda step: dollars(step.usd_per_day)),
        right("gco2e_per_day", "CO2e/day", lambda step: _text_or_dash(step.gco2e_per_day, "g")),
        right(
            "saved",
            None,
            lambda x: UNKNOWN if x.objective_per_day == first else f"{1 - x.objective_per_day / first:.1%}",
        ),
    )
    return ReportSheet.of("Where the day's saving comes from", columns, freedoms).without_empty("gco2e_per_day")


def works(plan: Plan) -> ReportSheet:
    """Work that may wait: how much of it is done, how long it waits, what its deadline is worth."""
    columns: SheetColumns[DeferrableWorkDocument] = (
        left("work", None, lambda work: work.name),
        right("requests_per_day", "req/day", lambda work: number(work.requests_per_day)),
        right("chosen", "done", lambda work: f"{work.chosen:.0%}"),
        right("moved", None, lambda work: f"{work.moved:.0%}"),
        right("mean_wait_h", "mean wait", lambda work: f"{work.mean_wait_h:.1f} of {work.deadline_h} h"),
        left("worth", "what an hour of its deadline is worth", lambda work: worth(work, plan.objective)),
    )
    return ReportSheet.of("Work that may wait", columns, plan.hours.works if plan.hours else ())


def worth(work: DeferrableWorkDocument, objective: str) -> str:
    """What an hour more and an hour less change, in a sentence."""
    if work.saves is not None:
        return f"spares {work.saves * work.chosen:.0%} of the interactive work; done as far as it pays"
    parts = [_change(other, objective) for other in (work.later, work.earlier) if other is not None]
    return "; ".join(parts) or "any hour of the day will do"


def _change(other: DeadlineAlternative, objective: str) -> str:
    if other.change_per_day is None:
        return f"within {other.hours} h it cannot be done"
    if other.change_per_day == 0:
        return f"{other.hours} h: the same"
    word = "saves" if other.change_per_day < 0 else "costs"
    return f"{other.hours} h {word} {amount(abs(other.change_per_day), objective)} a day"


def charts(day: DayPlan) -> tuple[ReportChart, ...]:
    """Stacked bars of dollars by term and for APIs for every hour, and the load, each from zero."""
    spent = {term.replace("_", "-"): (_spent_by_hour(day, term), shade) for term, shade in SHADES.items()}
    bars = stacked_bars(spent)
    says = tuple((f"{one.hour:02d} h: {dollars(one.usd)}/h", _spending_text(one)) for one in day.hours)
    clock = ChartAxis("hour of the day", low=-0.5, high=23.5, ticks=tuple((h, f"{h} h") for h in range(0, 24, 6)))
    top = replace(bars[-1], readings=says) if bars else None
    load = BarSeries("", tuple(one.load_per_s for one in day.hours), shade=SHADES["on_demand"])
    return (
        ReportChart(
            "Dollars per hour by term",
            clock,
            ChartAxis("$ per hour", lambda usd: f"${usd:,g}", 0.0),
            (*bars[:-1], top) if top else (),
        ),
        ReportChart(
            f"Load, at most {number(max(one.load_per_s for one in day.hours))} requests per second",
            clock,
            ChartAxis("requests/s", low=0.0),
            (replace(load, readings=tuple((f"{o.hour:02d} h", f"{number(o.load_per_s)} req/s") for o in day.hours)),),
        ),
    )


def _spent_by_hour(day: DayPlan, term: str) -> list[float]:
    bought = (sum(purchase.usd for purchase in one.bought) if term == API else 0.0 for one in day.hours)
    rented = (sum(each.usd for each in one.rented if each.term == term) for one in day.hours)
    return [sum(both) for both in zip(rented, bought, strict=True)]


def _spending_text(hour: HourDocument) -> str:
    """The dollars of an hour by term, and its devices."""
    usd = {term: sum(replicas.usd for replicas in hour.rented if replicas.term == term) for term in SHADES}
    usd[API] += sum(purchase.usd for purchase in hour.bought)
    parts = [f"{term.replace('_', '-')} {dollars(amount_)}/h" for term, amount_ in usd.items() if amount_ > 0]
    return "; ".join((*parts, rented_devices(hour)))

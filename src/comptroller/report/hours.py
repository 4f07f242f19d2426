"""The day of a plan: its hours as a table and as a picture, where the saving comes from, what waits."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from comptroller.planning.ground.day_document import (
    DeadlineAlternative,
    DeferrableWorkDocument,
    HourDocument,
    HourTrial,
)
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.report.chart import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, cost_ticks, nice_ceiling
from comptroller.report.figures import dollars, number, with_prefix
from comptroller.report.sheet import ReportSheet, SheetColumn, right

API = "API"

SHADES = {"owned": 1.0, "reserved": 1.0, "on_demand": 0.6, "spot": 0.3, API: 0.12}
"""How dark the bars of a term are, from what stays to what may go, and last what is bought."""

LEAST = 0.005
"""Shares of an hour's questions below this are not shown."""


def hours(plan: Plan) -> ReportSheet:
    """One row per hour: load, what is rented at which term, work that waited, dollars, watts and grams."""
    day = plan.hours
    columns = (
        right("hour", "hour"),
        right("load_per_s", "req/s"),
        SheetColumn("rented", "rented"),
        right("done", "deferred"),
        right("bought", "APIs"),
        right("solved", "solved"),
        right("tried", "sized for"),
        right("usd", "$/h"),
        right("w", "power"),
        right("gco2e", "CO2e"),
    )
    rows = tuple(
        (
            f"{one.hour:02d}",
            number(one.load_per_s),
            rented_devices(one),
            number(sum(one.done.values())),
            f"{dollars(sum(each.usd for each in one.bought))}/h" if one.bought else "–",
            "" if one.solved is None else f"{one.solved:.1%}",
            sizing_text(one.tried),
            dollars(one.usd),
            _text_or_dash(one.w, "W"),
            _text_or_dash(one.gco2e, "g"),
        )
        for one in (day.hours if day else ())
    )
    sheet = ReportSheet("Hours of the day", columns, rows)
    unused = {
        "done": not (day and day.works),
        "bought": not (day and any(one.bought for one in day.hours)),
        "solved": not (day and any(one.solved is not None for one in day.hours)),
        "tried": not (day and any(one.tried for one in day.hours)),
        "w": bool(day and all(one.w is None for one in day.hours)),
        "gco2e": bool(day and all(one.gco2e is None for one in day.hours)),
    }
    return sheet.without(*(name for name, gone in unused.items() if gone))


def strategies(plan: Plan) -> ReportSheet:
    """What is done with the questions: every way's share over the day, and in the hours that use it least and most."""
    columns = (
        SheetColumn("way", "strategy and who plays it, over the day"),
        right("mean", "of all"),
        right("least", "least"),
        right("most", "most"),
    )
    told = [one for one in (plan.hours.hours if plan.hours else ()) if one.strategies]
    asked = {one.hour: one.load_per_s * 3600.0 + sum(one.done.values()) for one in told}
    rows = []
    for way in dict.fromkeys(way for one in told for way in one.strategies):
        by_hour = {one.hour: one.strategies.get(way, 0.0) for one in told}
        mean = sum(share * asked[h] for h, share in by_hour.items()) / sum(asked.values())
        ends = (min(by_hour, key=lambda h: by_hour[h]), max(by_hour, key=lambda h: by_hour[h]))
        if by_hour[ends[1]] >= LEAST:
            shown = (f"{by_hour[h]:.0%} at {h:02d}" for h in ends)
            rows.append((mean, (way, f"{mean:.1%}", *shown)))
    ranked = sorted(rows, key=lambda row: -row[0])
    return ReportSheet("Strategies by the hour", columns, tuple(row for _, row in ranked))


def _text_or_dash(value: float | None, unit: str) -> str:
    return "–" if value is None else with_prefix(value, unit)


def sizing_text(tried: HourTrial | None) -> str:
    """How many times its demand an hour is sized for, and whether that was shown to hold."""
    if tried is None:
        return "–"
    return f"{tried.sized_for:.2f}x" + ("" if tried.holds else ", not shown")


def rented_devices(hour: HourDocument) -> str:
    """What an hour rents: devices by accelerator and term."""
    count: dict[tuple[str, str], int] = {}
    for each in hour.rented:
        key = (each.accelerator, each.term.replace("_", "-"))
        count[key] = count.get(key, 0) + each.devices
    return " + ".join(f"{devices} {name} {term}" for (name, term), devices in count.items()) or "–"


def steps(plan: Plan) -> ReportSheet:
    """What each freedom saves on the one before."""
    day = plan.hours
    columns = (
        SheetColumn("step", "the day"),
        right("usd_per_day", "$/day"),
        right("gco2e_per_day", "CO2e/day"),
        right("saved", "saved"),
    )
    first = day.steps[0].objective_per_day if day else 1.0
    rows = tuple(
        (
            each.name,
            dollars(each.usd_per_day),
            _text_or_dash(each.gco2e_per_day, "g"),
            "–" if each.objective_per_day == first else f"{1 - each.objective_per_day / first:.1%}",
        )
        for each in (day.steps if day else ())
    )
    sheet = ReportSheet("Where the day's saving comes from", columns, rows)
    hidden = day is not None and all(each.gco2e_per_day is None for each in day.steps)
    return sheet.without("gco2e_per_day") if hidden else sheet


def works(plan: Plan) -> ReportSheet:
    """Work that may wait: how much of it is done, how long it waits, what its deadline is worth."""
    columns = (
        SheetColumn("work", "work"),
        right("requests_per_day", "req/day"),
        right("chosen", "done"),
        right("moved", "moved"),
        right("mean_wait_h", "mean wait"),
        SheetColumn("worth", "what an hour of its deadline is worth"),
    )
    rows = tuple(
        (
            each.name,
            number(each.requests_per_day),
            f"{each.chosen:.0%}",
            f"{each.moved:.0%}",
            f"{each.mean_wait_h:.1f} of {each.deadline_h} h",
            worth(each, plan.objective),
        )
        for each in (plan.hours.works if plan.hours else ())
    )
    return ReportSheet("Work that may wait", columns, rows)


def worth(work: DeferrableWorkDocument, objective: str) -> str:
    """What an hour more and an hour less change, in a sentence."""
    if work.saves is not None:
        return f"spares {work.saves * work.chosen:.0%} of the interactive work; done as far as it pays"
    parts = [_change(each, objective) for each in (work.later, work.earlier) if each is not None]
    return "; ".join(parts) or "any hour of the day will do"


def _change(other: DeadlineAlternative, objective: str) -> str:
    if other.change_per_day is None:
        return f"within {other.hours} h it cannot be done"
    if other.change_per_day == 0:
        return f"{other.hours} h: the same"
    word = "saves" if other.change_per_day < 0 else "costs"
    return f"{other.hours} h {word} {amount(abs(other.change_per_day), objective)} a day"


def section_of(plan: Plan, table: Iterator[str]) -> str:
    """The picture and its tables as a section of a page; nothing without hours."""
    if plan.hours is None:
        return ""
    notes = " ".join(f"{note[0].upper()}{note[1:]}." for note in plan.hours.notes)
    return (
        f'<section><h2>Hours of the day</h2><p class="hint">{escape(notes)}</p>'
        f"<figure><figcaption>Dollars per hour by term, and requests per second</figcaption>{picture(plan)}</figure>"
        f"{''.join(table)}</section>"
    )


def picture(plan: Plan) -> str:
    """Stacked bars of dollars by term and for APIs for every hour, and the load as a line, each from zero."""
    day = plan.hours
    if day is None:
        return ""
    most = nice_ceiling(max(hour.usd for hour in day.hours))
    busiest = max(hour.load_per_s for hour in day.hours)
    body = "".join([*_axis(most), *(bar for hour in day.hours for bar in _bars(hour, most))])
    points = " ".join(f"{_x(hour.hour + 0.5):.1f},{_y(hour.load_per_s / busiest):.1f}" for hour in day.hours)
    label = f"Dollars per hour by term over 24 hours; load up to {number(busiest)} requests per second"
    return (
        f'<svg class="chart" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{escape(label)}">{body}'
        f'<polyline points="{points}" fill="none" stroke="var(--mark)" stroke-width="2"/>'
        f'<text class="chosen" x="{WIDTH - RIGHT:g}" y="{TOP - 10:g}" text-anchor="end">'
        f"load, at most {number(busiest)} req/s</text></svg>"
    )


def _axis(most: float) -> Iterator[str]:
    for usd in cost_ticks(most):
        y = _y(usd / most)
        yield f'<line class="grid" x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text class="tick" x="{LEFT - 8:g}" y="{y + 4:.1f}" text-anchor="end">${usd:g}</text>'
    for hour in range(0, 25, 6):
        yield f'<text class="tick" x="{_x(hour):.1f}" y="{HEIGHT - BOTTOM + 18:g}" text-anchor="middle">{hour} h</text>'


def _bars(hour: HourDocument, most: float) -> Iterator[str]:
    """The rent of an hour by term, what stays at the bottom."""
    low = 0.0
    for term, shade in SHADES.items():
        usd = sum(each.usd for each in hour.rented if each.term == term)
        usd += sum(each.usd for each in hour.bought) if term == API else 0.0
        if usd > 0:
            top, height = _y((low + usd) / most), _y(low / most) - _y((low + usd) / most)
            says = f"{hour.hour:02d} h, {term.replace('_', '-')}: {dollars(usd)}/h; {rented_devices(hour)}"
            box = f'x="{_x(hour.hour) + 1:.1f}" y="{top:.1f}" width="{_x(1) - _x(0) - 2:.1f}" height="{height:.1f}"'
            paint = f'fill="var(--accent)" fill-opacity="{shade}"'
            yield f"<rect {box} {paint}><title>{escape(says)}</title></rect>"
        low += usd


def _x(hour: float) -> float:
    return LEFT + hour / 24 * (WIDTH - LEFT - RIGHT)


def _y(share: float) -> float:
    return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

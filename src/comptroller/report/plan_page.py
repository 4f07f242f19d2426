"""A plan as a page, and its frontier as a chart: cost against each latency objective, or the share solved."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from comptroller.errors import InputError
from comptroller.planning.ground.day_document import DayPlan
from comptroller.planning.ground.plan_document import FrontierPoint, Plan
from comptroller.planning.ground.service_document import LatencyDocument
from comptroller.planning.reasons.against import FleetComparison
from comptroller.report import decision, drawing, hours, odds, plan_tables, solving
from comptroller.report.chart import (
    ChartAxis,
    ChartMark,
    ChartNote,
    LineSeries,
    MarkSeries,
    ReportChart,
    frontier_chart,
)
from comptroller.report.figures import dollars, interval, seconds, with_prefix
from comptroller.report.page import PageSection, PageTile, ReportPage
from comptroller.report.sheet import ReportSheet

POINTS = "Point at a mark, or move with Tab and the arrow keys, to read it."


def page(plan: Plan, beside: FleetComparison | None = None) -> str:
    """The page as text; beside: the comparison with the fleet of today, if there is one."""
    return ReportPage(
        title=f"{plan.name}: {plan_tables.headline(plan)}",
        subject=f"plan for {plan.name}",
        headline=plan_tables.headline(plan),
        lede="; ".join(filter(None, (odds.load_sentence(plan), plan_tables.goal(plan)))),
        tiles=_tiles(plan),
        sections=_sections(plan, beside),
        footer=_footer(plan),
    ).html()


def charts(plan: Plan) -> tuple[ReportChart, ...]:
    """Every picture of a plan: what it was chosen against, its frontier, its services under their roofs."""
    frontier = _solved_charts(plan) if plan.quality else latency_charts(plan)
    return (*decision.charts(plan), *frontier, *decision.roof_charts(plan))


def picture(plan: Plan) -> drawing.ChartPicture:
    """Every picture of a plan.

    Raises:
        InputError: there is nothing to draw.
    """
    shown = charts(plan)
    if not shown:
        raise InputError(f"{plan.name}: nothing is rented and no objective is set, so there is nothing to draw")
    return drawing.ChartPicture(shown, f"{plan.name}: {plan_tables.headline(plan)}")


def latency_charts(plan: Plan) -> tuple[ReportChart, ...]:
    """A chart for each objective with at least two feasible points, all with one axis of cost."""
    with_points = []
    for entry in plan.latency:
        name = plan_tables.objective_name(entry)
        points = sorted((p for p in plan.frontier if p.constraint == name), key=lambda p: p.value)
        if len(points) > 1 and entry.most_s is not None:
            with_points.append((entry, points))
    most = max((point.usd_per_h for _, points in with_points for point in points), default=1.0)
    return tuple(_latency_chart(entry, points, most) for entry, points in with_points)


def _latency_chart(entry: LatencyDocument, points: list[FrontierPoint], most_usd: float) -> ReportChart:
    """Cost stays until the next solved point: between points the true frontier lies on or below the line."""
    name = plan_tables.objective_name(entry)
    chosen = next((p for p in points if math.isclose(p.value, entry.most_s, rel_tol=1e-4)), None)
    marks = tuple(
        ChartMark(
            *(p.value, p.usd_per_h, p.usd_per_h, p.usd_per_h),
            f"{name} ≤ {seconds(p.value)}: {dollars(p.usd_per_h)}/h{', chosen' if p is chosen else ''}",
            p.fleet,
            p is chosen,
        )
        for p in points
    )
    line = LineSeries("", [p.value for p in points], [p.usd_per_h for p in points], stepped=True)
    at = ((chosen.value, chosen.usd_per_h, f"chosen: {dollars(chosen.usd_per_h)}/h"),) if chosen else ()
    return ReportChart(
        f"Cost against {name}",
        # an eighth more than the range on either side, so that no mark stands on the edge
        ChartAxis(f"{name} objective", seconds, points[0].value / 1.12, points[-1].value * 1.12, log=True),
        ChartAxis("$ per hour", lambda usd: f"${usd:,g}", 0.0, most_usd * 1.15),
        (line, MarkSeries(marks)),
        tuple(ChartNote(x, y, text, ruled=True) for x, y, text in at),
    )


def _solved_charts(plan: Plan) -> tuple[ReportChart, ...]:
    marks = solving.marks(plan)
    axes = ("dollars per hour", "share solved")
    return (frontier_chart("Share of the questions solved, with 80 % interval", marks, axes),) if marks else ()


def _tiles(plan: Plan) -> tuple[PageTile, ...]:
    total = plan.totals
    return (
        PageTile("Cost", f"{dollars(total.usd_per_h.value)}/h", interval(total.usd_per_h, "$")),
        PageTile("Per request", dollars(total.usd_per_request.value), interval(total.usd_per_request, "$")),
        PageTile(
            "Per million tokens",
            dollars(total.usd_per_million_tokens.value),
            f"{dollars(total.usd_per_million_output_tokens.value)} per million output tokens",
        ),
        PageTile("Power at the meter", with_prefix(total.w.value, "W"), interval(total.w, "W")),
        PageTile("Energy per request", with_prefix(total.j_per_request.value, "J"), interval(total.j_per_request, "J")),
        PageTile(
            "Emissions",
            f"{with_prefix(total.gco2e_per_h.value, 'g')}/h",
            f"{with_prefix(total.gco2e_per_request.value, 'g')} CO2e per request",
        ),
    )


TableDescription = tuple[str, str, Callable[[Plan], ReportSheet]]
"""A section that is a table of the plan: its title, a line that explains it, and what makes the table."""

QUESTIONS: tuple[TableDescription, ...] = (
    ("Solved", "On the evidence; the interval is that of resampled questions.", solving.solving_sheet),
    ("Strategies", "What each class of questions gets; a class may be split over strategies.", solving.classes),
    ("Bought", "Tokens from APIs, at the dollars that the evidence records.", solving.offers),
    (
        "Uncertainty",
        "Cost when one thing alone varies, each fleet rented anew for the same work, and when all vary together.",
        solving.uncertainty,
    ),
    (
        "Next measurement",
        "What knowing each before choosing is expected to save, and how it narrows the intervals.",
        solving.measurements,
    ),
)

FLEET: tuple[TableDescription, ...] = (
    (
        "Services",
        "What runs where. TTFT, TPOT and batch are means; power is at the meter, with host and cooling.",
        plan_tables.services,
    ),
    ("Latency objectives", "Predictions of the percentile that was asked for.", plan_tables.latency),
)

PRICES: tuple[TableDescription, ...] = (("Price of tokens", "", plan_tables.prices),)

REASONS: tuple[TableDescription, ...] = (
    (
        "Shadow prices",
        "What the next unit of each constraint is worth, found by solving again.",
        plan_tables.shadow_prices,
    ),
    (
        "Runners-up",
        "The best plan without each thing that was chosen, and why it lost; model and place as chosen where not named.",
        plan_tables.runners_up,
    ),
    (
        "Odds of the choice",
        "In draws of what steps truly take, each fleet rented anew for the same requests; deployments of one family of "
        "accelerators, engine or format share a part of their error.",
        odds.odds_sheet,
    ),
    (
        "Simulated fleets",
        "Upper bounds of the percentiles in a further draw of arrivals that the sizing had not seen.",
        plan_tables.rounds,
    ),
    (
        "Fell out before the search",
        "Choices that no plan could use, or that exact bounds drop: another serves or solves as much for no more.",
        plan_tables.pruning_sheet,
    ),
)


def _sections(plan: Plan, beside: FleetComparison | None) -> tuple[PageSection, ...]:
    """From the answer over its pictures to its reasons and the commands that launch it."""

    def tables(described: Sequence[TableDescription], told: Mapping[str, str]) -> list[PageSection]:
        parts = ((title, told.get(title) or hint, make(plan)) for title, hint, make in described)
        return [PageSection(title, hint, sheets=(sheet,)) for title, hint, sheet in parts]

    today = (plan_tables.comparison(beside),) if beside else ()
    return (
        *tables(QUESTIONS, {}),
        PageSection("Standing of the choice", texts=(solving.verdict(plan),)),
        *tables(FLEET, {"Latency objectives": plan_tables.verification_sentence(plan)}),
        *_pictures(plan),
        *tables(PRICES, {"Price of tokens": plan_tables.prices_sentence(plan)}),
        PageSection("Against today's fleet", "At the prices of today.", sheets=today),
        *tables(REASONS, {}),
        PageSection("Launch", commands=tuple(plan_tables.launches(plan))),
    )


def _pictures(plan: Plan) -> tuple[PageSection, ...]:
    solved = _solved_charts(plan)
    told = (
        decision.beyond_sentence(plan),
        decision.certainty_sentence(plan),
        decision.chain_sentence(plan.drawn) if plan.drawn else "",
    )
    return (
        PageSection(
            "The decision",
            "What was chosen against what, how near the limits it runs, and where the energy goes. Whiskers are 80 % "
            f"intervals. {POINTS}",
            charts=decision.charts(plan),
            texts=told,
        ),
        PageSection(
            "Under the roof",
            "Operations of a step by what they do with a byte that they read: filled marks read a prompt, open ones "
            "decode what is in flight. The dashed roof is what memory and arithmetic units allow at most.",
            charts=decision.roof_charts(plan),
        ),
        PageSection(
            "Solved against cost",
            "The line joins the cheapest plans at every share solved; the other marks are one answer of each model "
            f"that can be bought. {POINTS}",
            charts=solved,
            texts=(plan.quality.next_dollar,) if solved and plan.quality else (),
        ),
        PageSection(
            "Cost against latency",
            "The cheapest plan at tighter and looser objectives, the others held as asked. "
            f"{POINTS} Between marks the true frontier lies on or below the line.",
            charts=latency_charts(plan),
        ),
        *((_day(plan, plan.hours),) if plan.hours else ()),
    )


def _day(plan: Plan, day: DayPlan) -> PageSection:
    notes = " ".join(f"{note[0].upper()}{note[1:]}." for note in day.notes)
    tables = tuple(make(plan) for make in (hours.steps, hours.works, hours.hours, hours.strategies))
    return PageSection("Hours of the day", notes, charts=hours.charts(day), sheets=tables)


def _footer(plan: Plan) -> tuple[str, ...]:
    digests = plan.digests
    prices = "; ".join(
        f"{s.price.provider} {s.deployment.pools[0].accelerator} "
        f"{dollars(s.price.usd_per_device_h)} per device and hour, {s.price.term}, since {s.price.since}"
        for s in plan.services
    )
    return (
        *((f"Prices: {prices}.", f"Percentiles: {plan.queueing}.") if plan.services else ()),
        *plan.notes,
        f"Comptroller {plan.comptroller}, seed {plan.seed}; SHA-256 of workload {digests.workload[:16]}, "
        f"facts {digests.facts[:16]}, calibration {digests.calibration[:16]}.",
    )

"""A plan as one self-contained HTML page: no network, readable by keyboard and in print, light and dark."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from html import escape
from importlib import resources

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.against import FleetComparison
from comptroller.report import hours, plan_tables, solving
from comptroller.report.chart import FrontierPanel, chart, most_cost, panels
from comptroller.report.figures import dollars, interval, number, seconds, with_prefix
from comptroller.report.scatter import scatter
from comptroller.report.sheet import ReportSheet, SheetColumn, right

SOLVING: tuple[tuple[str, Callable[[Plan], ReportSheet], str], ...] = (
    ("Solved", solving.solving_sheet, "On the evidence; the interval is that of resampled questions."),
    ("Strategies", solving.classes, "What each class of questions gets; a class may be split over strategies."),
    ("Bought", solving.offers, "Tokens from APIs, at the dollars that the evidence records."),
    (
        "Uncertainty",
        solving.uncertainty,
        "Cost when one thing alone varies, each fleet rented anew for the same work, and when all vary together.",
    ),
    (
        "Next measurement",
        solving.measurements,
        "What knowing each before choosing is expected to save, and how it narrows the intervals.",
    ),
)

SECTIONS: tuple[tuple[str, Callable[[Plan], ReportSheet], str], ...] = (
    (
        "Services",
        plan_tables.services,
        "What runs where. TTFT, TPOT and batch are means; power is at the meter, with host and cooling.",
    ),
    ("Latency objectives", plan_tables.latency, "Predictions of the percentile that was asked for."),
    (
        "Shadow prices",
        plan_tables.shadow_prices,
        "What the next unit of each constraint is worth, found by solving again.",
    ),
    (
        "Runners-up",
        plan_tables.runners_up,
        "The best plan without each thing that was chosen, and why it lost; model and place as chosen where not named.",
    ),
    (
        "Simulated fleets",
        plan_tables.rounds,
        "Upper bounds of the percentiles in a further draw of arrivals that the sizing had not seen.",
    ),
    (
        "Fell out before the search",
        plan_tables.pruning_sheet,
        "Choices that no plan could use, or that exact bounds drop: another serves or solves as much for no more.",
    ),
)


def page(plan: Plan, beside: FleetComparison | None = None) -> str:
    """The page as text; beside: the comparison with the fleet of today, if there is one."""
    sections = [
        *SECTIONS[:1],
        (*SECTIONS[1][:2], plan_tables.verification_sentence(plan) or SECTIONS[1][2]),
        *SECTIONS[2:],
    ]
    services, objectives, *reasons = (section(title, sheet(plan), hint) for title, sheet, hint in sections)
    solved = (section(title, sheet(plan), hint) for title, sheet, hint in SOLVING)
    said = f"<p>{escape(solving.verdict(plan))}</p>" if solving.verdict(plan) else ""
    body = [_header(plan), *solved, said, services, objectives, _solved_chart(plan), _frontier(plan)]
    body.append(
        hours.section_of(
            plan, (table(make(plan)) for make in (hours.steps, hours.works, hours.hours, hours.strategies))
        )
    )
    if beside:
        body.append(section("Against today's fleet", plan_tables.comparison(beside), "At the prices of today."))
    body += [*reasons, _launch(plan), _footer(plan)]
    return document(f"{plan.name}: {plan_tables.headline(plan)}", "".join(body), asset("page.js"))


def document(title: str, body: str, script: str) -> str:
    """A whole page in the look of all pages."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        f"<style>{asset('page.css')}</style></head><body><main>{body}</main>"
        '<div id="tip" role="status" hidden><b></b><span></span></div>'
        f"<script>{script}</script></body></html>\n"
    )


def asset(name: str) -> str:
    """The text of a style sheet or script of this folder."""
    return (resources.files("comptroller.report") / name).read_text(encoding="utf-8")


def _header(plan: Plan) -> str:
    total = plan.totals
    shown = (
        ("Cost", f"{dollars(total.usd_per_h.value)}/h", interval(total.usd_per_h, "$")),
        ("Per request", dollars(total.usd_per_request.value), interval(total.usd_per_request, "$")),
        (
            "Per million tokens",
            dollars(total.usd_per_million_tokens.value),
            f"{dollars(total.usd_per_million_output_tokens.value)} per million output tokens",
        ),
        ("Power at the meter", with_prefix(total.w.value, "W"), interval(total.w, "W")),
        ("Energy per request", with_prefix(total.j_per_request.value, "J"), interval(total.j_per_request, "J")),
        (
            "Emissions",
            f"{with_prefix(total.gco2e_per_h.value, 'g')}/h",
            f"{with_prefix(total.gco2e_per_request.value, 'g')} CO2e per request",
        ),
    )
    return (
        f'<p class="eyebrow"><b>Comptroller</b> plan for {escape(plan.name)}</p>'
        f"<h1>{escape(plan_tables.headline(plan))}</h1>"
        f'<p class="lede">{escape(plan_tables.goal(plan))}</p>{tiles(shown)}'
    )


def tiles(shown: Iterable[tuple[str, str, str]]) -> str:
    """Large figures: a name, a value, and a line beneath it, each."""
    cells = "".join(
        f'<div class="tile"><dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd></div>'
        for name, value, more in shown
    )
    return f'<dl class="tiles">{cells}</dl>'


def _solved_chart(plan: Plan) -> str:
    drawn, said = solving.points(plan), plan.quality.next_dollar if plan.quality else ""
    if not drawn:
        return ""
    return (
        "<section><h2>Solved against cost</h2>"
        '<p class="hint">The line joins the cheapest plans at every share solved; the other marks are one answer of '
        "each model that can be bought. Point at a mark, or move with Tab and the arrow keys, to read it.</p>"
        f"{scatter(drawn, 'dollars per hour')}<p>{escape(said)}</p></section>"
    )


def _frontier(plan: Plan) -> str:
    shown = panels(plan)
    if not shown:
        return ""
    most = most_cost(shown)
    figures = "".join(_figure(panel, most) for panel in shown)
    return (
        "<section><h2>Cost against latency</h2>"
        '<p class="hint">The cheapest plan at tighter and looser objectives, the others held as asked. '
        "Point at a mark, or move with Tab and the arrow keys, to read it. Between marks the true frontier lies "
        f'on or below the line.</p><div class="charts">{figures}</div></section>'
    )


def _figure(panel: FrontierPanel, most_usd: float) -> str:
    columns = (right("value", panel.name), right("usd_per_h", "$/h"), SheetColumn("fleet", "cheapest plan"))
    rows = tuple((f"≤ {seconds(p.value)}", number(p.usd_per_h, 4), p.fleet) for p in panel.points)
    listed = table(ReportSheet(panel.name, columns, rows))
    return (
        f"<figure><figcaption>{escape(panel.name)}</figcaption>{chart(panel, most_usd)}"
        f"<details><summary>The {len(rows)} points as a table</summary>{listed}</details></figure>"
    )


def section(title: str, sheet: ReportSheet, hint: str) -> str:
    """A table under a heading with a line that explains it; nothing if it has no rows."""
    if not sheet.rows:
        return ""
    return f'<section><h2>{escape(title)}</h2><p class="hint">{escape(hint)}</p>{table(sheet)}</section>'


def table(sheet: ReportSheet) -> str:
    """A table, as wide as it needs to be."""
    sides = ['class="num"' if column.side == "right" else "" for column in sheet.columns]
    heads = "".join(
        f'<th scope="col" {side}>{escape(column.heading)}</th>'
        for column, side in zip(sheet.columns, sides, strict=True)
    )
    rows = "".join(
        f"<tr>{''.join(f'<td {side}>{_cell(text)}</td>' for text, side in zip(row, sides, strict=True))}</tr>"
        for row in sheet.texts()
    )
    return f'<div class="wide"><table><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'


def _cell(text: str) -> str:
    word, comma, rest = text.partition(",")
    if word in {"met", "missed"}:
        return f'<span class="{word}">{word}</span>{comma}{escape(rest)}'
    return escape(text)


def _launch(plan: Plan) -> str:
    if not plan.services:
        return ""
    blocks = "".join(
        f'<p class="hint">{escape(count)}</p><div class="launch"><pre tabindex="0">{escape(command)}</pre>'
        '<button type="button" data-copy>Copy</button></div>'
        for count, command in plan_tables.launches(plan)
    )
    return f"<section><h2>Launch</h2>{blocks}</section>"


def _footer(plan: Plan) -> str:
    digests = plan.digests
    prices = "; ".join(
        f"{s.price.provider} {s.deployment.pools[0].accelerator} "
        f"{dollars(s.price.usd_per_device_h)} per device and hour, {s.price.term}, since {s.price.since}"
        for s in plan.services
    )
    lines = (
        *((f"Prices: {prices}.", f"Percentiles: {plan.queueing}.") if plan.services else ()),
        *plan.notes,
        f"Comptroller {plan.comptroller}, seed {plan.seed}; SHA-256 of workload {digests.workload[:16]}, "
        f"facts {digests.facts[:16]}, calibration {digests.calibration[:16]}.",
    )
    return f"<footer>{''.join(f'<p>{escape(line)}</p>' for line in lines)}</footer>"

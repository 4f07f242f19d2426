"""The books as one self-contained HTML page: spend by day and by group as pictures, and all tables."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from comptroller.books.query import LedgerTotals
from comptroller.report.figures import dollars, with_prefix
from comptroller.report.page import asset, document, section, tiles
from comptroller.report.sheet import ReportSheet

WIDTH, ROW, LEFT, TALL = 860.0, 22.0, 260.0, 220.0
FILL = "fill:#1f5fbf"
MOST = 20
"""Bars of a picture at most."""


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
    shown = (
        ("Spend", dollars(whole.usd), f"{int(whole['unpriced']):,} calls of unknown cost"),
        ("Requests", f"{whole.requests:,}", f"{int(whole['calls']):,} calls"),
        ("Per request", dollars(whole.usd / max(whole.requests, 1)), f"{whole.scored:,} requests scored"),
        (
            "Tokens out",
            with_prefix(whole["output_tokens"], ""),
            f"{with_prefix(whole['reasoning_tokens'], '')} of them thinking",
        ),
        (
            "Energy",
            with_prefix(whole["j"], "J"),
            f"{with_prefix(whole['low_j'], 'J')} to {with_prefix(whole['high_j'], 'J')}",
        ),
        ("Emissions", with_prefix(whole["gco2e"], "g"), "CO2e at the site's hour or yearly mean"),
    )
    pictures = [
        _figure("Spend by day", columns([(item.group[0], item.usd) for item in days])),
        _figure("Spend by group", bars([(" · ".join(item.group), item.usd) for item in groups[:MOST]])),
    ]
    tables = "".join(section(sheet.title, sheet, "") for sheet in sheets)
    body = (
        f'<p class="eyebrow"><b>Comptroller</b> books</p><h1>{escape(title)}</h1>{tiles(shown)}'
        f"<section>{''.join(pictures)}</section>{tables}"
    )
    return document(title, body, asset("page.js"))


def _figure(name: str, drawn: str) -> str:
    return f"<figure><figcaption>{escape(name)}</figcaption>{drawn}</figure>"


def bars(items: Sequence[tuple[str, float]]) -> str:
    """Horizontal bars of dollars, each with its name and amount."""
    most = max((value for _, value in items), default=0.0) or 1.0
    parts = []
    for place, (name, value) in enumerate(items):
        top, long = place * ROW, max(0.0, value) / most * (WIDTH - LEFT - 110)
        parts.append(
            f'<text class="tick" x="{LEFT - 8:g}" y="{top + 15:g}" text-anchor="end">{escape(name[:40] or "–")}</text>'
            f'<rect style="{FILL}" x="{LEFT:g}" y="{top + 4:g}" width="{long:.1f}" height="{ROW - 8:g}"/>'
            f'<text class="tick" x="{LEFT + long + 6:.1f}" y="{top + 15:g}">{escape(dollars(value))}</text>'
        )
    return _svg("".join(parts), len(items) * ROW, f"{len(items)} bars, listed below")


def columns(items: Sequence[tuple[str, float]]) -> str:
    """Upright bars of dollars over days; the first, the last and the dearest day are named."""
    most = max((value for _, value in items), default=0.0) or 1.0
    wide = WIDTH / max(len(items), 1)
    parts = [
        f'<rect style="{FILL}" tabindex="0" role="img" aria-label="{escape(day)}: {dollars(value)}" '
        f'x="{place * wide + 1:.1f}" y="{TALL - 24 - value / most * (TALL - 48):.1f}" '
        f'width="{max(wide - 2, 1):.1f}" height="{max(0.0, value) / most * (TALL - 48):.1f}">'
        f"<title>{escape(day)}: {dollars(value)}</title></rect>"
        for place, (day, value) in enumerate(items)
    ]
    if items:
        ends = ((0.0, "start", items[0][0]), (WIDTH, "end", items[-1][0]))
        parts += [f'<text class="tick" x="{x:g}" y="{TALL - 6:g}" text-anchor="{a}">{t}</text>' for x, a, t in ends]
        parts.append(f'<text class="label" x="0" y="14">up to {escape(dollars(most))} a day</text>')
    return _svg("".join(parts), TALL, f"{len(items)} days")


def _svg(parts: str, height: float, name: str) -> str:
    box = f'viewBox="0 0 {WIDTH:g} {max(height, 1):g}"'
    return f'<svg class="chart" {box} role="group" aria-label="{escape(name)}">{parts}</svg>'

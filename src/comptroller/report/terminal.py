"""Plans and tables in the terminal."""

from __future__ import annotations

import os

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.against import FleetComparison
from comptroller.report import hours, plan_tables, solving
from comptroller.report.sheet import ReportSheet
from comptroller.report.table_layout import TablePart, table_parts

WIDTH = 120
"""Columns where the output is not a terminal: the widest table of a plan fits."""


def console() -> Console:
    """The terminal, or a plain page of `COLUMNS`, else of `WIDTH` columns, if the output goes elsewhere."""
    found = Console(highlight=False, emoji=False)
    if found.is_terminal or os.environ.get("COLUMNS", "").isdigit():
        return found
    return Console(highlight=False, emoji=False, width=WIDTH)


def print_plan(plan: Plan, to: Console, beside: FleetComparison | None = None) -> None:
    """The whole plan: services, totals, latency, shadow prices, runners-up, what fell out, launch commands."""
    to.print(f"[bold]{escape(plan.name)}[/]: [bold green]{escape(plan_tables.headline(plan))}[/]")
    to.print(f"[dim]{escape(plan_tables.goal(plan))}[/]\n")
    for make in (solving.solving_sheet, solving.classes, solving.offers):
        print_sheet(make(plan), to, titled=False)
    for table in (plan_tables.services, plan_tables.totals, plan_tables.latency):
        print_sheet(table(plan), to, titled=False)
    if plan.verification:
        to.print(f"[dim]{escape(plan_tables.verification_sentence(plan))}[/]\n")
    _print_prices(plan, to)
    if plan.quality and plan.quality.next_dollar:
        to.print(f"{escape(plan.quality.next_dollar)}\n", soft_wrap=True)
    for sheet in (solving.uncertainty(plan), solving.measurements(plan).without("how")):
        print_sheet(sheet, to)
    if said := solving.verdict(plan):
        to.print(f"{escape(said)}\n{escape(solving.first_step(plan))}\n", soft_wrap=True)
    for make in (hours.hours, hours.strategies, hours.steps, hours.works):
        print_sheet(make(plan), to)
    if beside:
        print_sheet(plan_tables.comparison(beside), to)
    for make in (plan_tables.shadow_prices, plan_tables.runners_up, plan_tables.rounds, plan_tables.pruning_sheet):
        print_sheet(make(plan), to)
    if plan.services:
        to.print("[bold]Launch[/]")
    for count, command in plan_tables.launches(plan):
        to.print(f"[dim]# {escape(count)}[/]")
        to.print(escape(command), soft_wrap=True)
    for note in (*([plan.queueing] if plan.services else []), *plan.notes, *(plan.hours.notes if plan.hours else ())):
        to.print(f"[dim]note: {escape(note)}[/]", soft_wrap=True)


def _print_prices(plan: Plan, to: Console) -> None:
    """What a million tokens costs, here and bought, and what the comparison leaves out."""
    if said := plan_tables.prices_sentence(plan):
        print_sheet(plan_tables.prices(plan), to, titled=False)
        to.print(f"[dim]{escape(said)}[/]\n", soft_wrap=True)


def print_sheet(sheet: ReportSheet, to: Console, titled: bool = True) -> None:
    """A table with headings; nothing if it has no rows."""
    if not sheet.rows:
        return
    if titled:
        to.print(f"[bold]{escape(sheet.title)}[/]")
    texts = sheet.texts()
    parts = table_parts(sheet, to.width)
    for part in parts:
        to.print(_table(sheet, texts, part))
        to.print()
    if not parts:
        _print_rows(sheet, texts, to)


def _table(sheet: ReportSheet, texts: list[list[str]], part: TablePart) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_edge=False, header_style="dim")
    for number, width in zip(part.columns, part.widths, strict=True):
        column = sheet.columns[number]
        table.add_column(escape(column.heading), justify=column.side, overflow="fold", width=width)
    for row in texts:
        table.add_row(*(escape(row[number]) for number in part.columns))
    return table


def _print_rows(sheet: ReportSheet, texts: list[list[str]], to: Console) -> None:
    """A table that is too wide for the page even in parts: every row as lines of its own."""
    for row in texts:
        for column, cell in zip(sheet.columns, row, strict=True):
            to.print(f"[dim]{escape(column.heading)}[/] {escape(cell)}", soft_wrap=True)
        to.print()

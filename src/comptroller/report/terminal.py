"""Plans and tables in the terminal."""

from __future__ import annotations

import os

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.reasons.against import FleetComparison
from comptroller.report import hours, odds, plan_tables, solving
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


def note_console() -> Console:
    """Where remarks beside an answer go, so that the answer can be read by a program."""
    return Console(stderr=True, highlight=False, emoji=False)


def print_plan(plan: Plan, to: Console) -> None:
    """The whole plan: services, totals, latency, launch commands, then the reasons."""
    printer = PlanPrinter(to)
    printer.print(plan)
    printer.print(plan)
    printer.end()


class PlanPrinter:
    """Prints a plan as it becomes known: first the answer, then each time what has come since."""

    def __init__(self, to: Console) -> None:
        self._to = to
        self._printed: set[str] = set()
        self._answered = False
        self._last: Plan | None = None

    def print(self, plan: Plan, beside: FleetComparison | None = None) -> None:
        """The answer, at the first call; later whatever of the reasons stands in the plan and was not printed.

        beside: the fleet of today, which goes with the answer.
        """
        if self._answered:
            self._print_reasons(plan)
        else:
            self._answered = True
            self._print_answer(plan, beside)
        self._last = plan
        # Whoever reads a pipe, or ends the command while it looks for reasons, has the answer.
        self._to.file.flush()

    def end(self) -> None:
        """What stands at the end: notes that came with the reasons."""
        if self._last is not None:
            self._print_notes(self._last)

    def _print_answer(self, plan: Plan, beside: FleetComparison | None) -> None:
        to = self._to
        to.print(f"[bold]{escape(plan.name)}[/]: [bold green]{escape(plan_tables.headline(plan))}[/]")
        asked = "\n".join(filter(None, (odds.load_sentence(plan), plan_tables.goal(plan))))
        to.print(f"[dim]{escape(asked)}[/]\n")
        for make in (solving.solving_sheet, solving.classes, solving.offers):
            print_sheet(make(plan), to, titled=False)
        for table in (plan_tables.services, plan_tables.totals, plan_tables.latency):
            print_sheet(table(plan), to, titled=False)
        if plan.verification:
            to.print(f"[dim]{escape(plan_tables.verification_sentence(plan))}[/]\n")
        _print_prices(plan, to)
        if beside:
            print_sheet(plan_tables.comparison(beside), to)
        if plan.services:
            to.print("[bold]Launch[/]")
        for count, command in plan_tables.launches(plan):
            to.print(f"[dim]# {escape(count)}[/]")
            to.print(escape(command), soft_wrap=True)
        self._print_notes(plan)
        to.print()

    def _print_notes(self, plan: Plan) -> None:
        queueing = [plan.queueing] if plan.services else []
        for note in (*queueing, *plan.notes, *(plan.hours.notes if plan.hours else ())):
            if note not in self._printed:
                self._printed.add(note)
                self._to.print(f"[dim]note: {escape(note)}[/]", soft_wrap=True)

    def _print_reasons(self, plan: Plan) -> None:
        to = self._to
        for make in (hours.hours, hours.strategies, hours.steps, hours.works, solving.uncertainty):
            self._print_once(make(plan))
        self._print_once(solving.measurements(plan).without("how"))
        said = f"{solving.verdict(plan)}\n{solving.first_step(plan)}" if solving.verdict(plan) else ""
        for text in (said, plan.quality.next_dollar if plan.quality else ""):
            if text and text not in self._printed:
                self._printed.add(text)
                to.print(f"{escape(text)}\n", soft_wrap=True)
        if not (plan.runners_up or plan.pruned):
            return
        lost = (plan_tables.runners_up, odds.odds_sheet, plan_tables.rounds, plan_tables.pruning_sheet)
        for make in (*lost, plan_tables.shadow_prices):
            self._print_once(make(plan))

    def _print_once(self, sheet: ReportSheet) -> None:
        if sheet.rows and sheet.title not in self._printed:
            self._printed.add(sheet.title)
            print_sheet(sheet, self._to)


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

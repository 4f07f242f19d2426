"""What the commands of `comptroller books` share: the books, the rows that count, and where a table goes."""

from __future__ import annotations

import json as documents
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from comptroller.books.grouping import ReportMoney
from comptroller.books.invoices import CurrencyRates
from comptroller.books.ledger import CallLedger
from comptroller.books.query import GROUPS, LedgerScope
from comptroller.cli._option_groups import SharedOptions
from comptroller.cli._output import write
from comptroller.errors import InputError
from comptroller.report import books as sheets
from comptroller.report.sheet import ReportSheet
from comptroller.report.tables import writer_of
from comptroller.report.terminal import console, print_sheet
from comptroller.work.data_files import found_evidence
from comptroller.work.trajectories import AgentTrajectories
from comptroller.work.trajectory_files import read_trajectories

WhereArgument = Annotated[str, typer.Argument(help="The books: a file, or a URL of PostgreSQL.", show_default=False)]
SinceOption = Annotated[str, typer.Option(help="From this day on, as 2026-01-31.", show_default=False)]
UntilOption = Annotated[str, typer.Option(help="Before this day.", show_default=False)]
OnlyOption = Annotated[
    list[str] | None, typer.Option(help="Only these, as key=NAME; again for more.", show_default=False)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TableOption = Annotated[
    Path | None, typer.Option(help="Write the table, .csv, .md, .tex or .parquet.", show_default=False)
]

AnonymisedOption = Annotated[
    bool, typer.Option("--anonymised", help="Pseudonyms for keys, projects, users and tags; no texts.")
]


@dataclass(frozen=True, slots=True)
class SheetOutput:
    """Where a table goes: the terminal or JSON, and a file."""

    json: bool = False
    table: Path | None = None

    def show(self, sheet: ReportSheet, printed: ReportSheet | None = None) -> None:
        """Print a table, and write it where a file was asked for. printed: the table as people read it."""
        if self.table:
            write(self.table, writer_of(self.table)(sheet))
        if self.json:
            typer.echo(documents.dumps(sheet.records(), indent=2, ensure_ascii=False))
            return
        screen = console()
        print_sheet(sheets.with_amounts(printed or sheet), screen)
        if not sheet.rows:
            screen.print("[dim]no rows[/]")


TERMINAL = SheetOutput()


@contextmanager
def open_books(where: WhereArgument) -> Iterator[CallLedger]:
    """Books that exist: a report of a name that was mistyped must not make an empty file.

    Raises:
        InputError: there is no such file.
    """
    if "://" not in where and not Path(where).is_file():
        raise InputError(f"{where}: there are no books; `comptroller serve` makes them")
    with CallLedger.open(where) as ledger:
        yield ledger


@contextmanager
def books_or_runs(where: WhereArgument) -> Iterator[CallLedger | AgentTrajectories]:
    """Books, or the runs of a table with a row per call of an agent.

    Raises:
        InputError, RecordError: there is no such file, or its rows cannot be read.
    """
    if Path(where).suffix in TABLES:
        yield read_trajectories(found_evidence(Path(where)))
        return
    with open_books(where) as ledger:
        yield ledger


def scope_of(since: SinceOption = "", until: UntilOption = "", only: OnlyOption = None) -> LedgerScope:
    """The rows that count: of some days and some groups.

    Raises:
        InputError: a day is no date, or a group is not one that rows have.
    """
    pairs = dict(text.partition("=")[::2] for text in only or ())
    wrong = sorted(name for name in pairs if name not in GROUPS or name == "day")
    if wrong:
        raise InputError(f"--only {wrong[0]}: allowed are {', '.join(name for name in GROUPS if name != 'day')}")
    return LedgerScope(_day(since), _day(until), pairs)


def money_of(
    currency: Annotated[str, typer.Option(help="Of the report, as EUR; needs --rates.")] = "USD",
    rates: Annotated[
        Path | None, typer.Option(help="CSV: day, currency, usd (dollars per unit).", show_default=False)
    ] = None,
) -> ReportMoney:
    """The currency of a report.

    Raises:
        RecordError: the rates cannot be read.
    """
    return ReportMoney(currency.upper(), CurrencyRates.read(rates) if rates else None)


def period_of(text: str) -> LedgerScope:
    """The rows of a period as it is written, FIRST..END.

    Raises:
        InputError: it is not written so.
    """
    since, dots, until = text.partition("..")
    if not (since and dots and until):
        raise InputError(f"period {text!r}: write it as 2026-01-01..2026-02-01")
    return scope_of(since, until)


def day_of(text: str) -> date:
    """A day as it is written.

    Raises:
        InputError: it is none.
    """
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no day; write it as {datetime.now(UTC).date()}") from error


def _day(text: str) -> date | None:
    return day_of(text) if text else None


def _days(since: SinceOption = "", until: UntilOption = "") -> LedgerScope:
    return scope_of(since, until)


def _sheet_output(json: JsonOption = False) -> SheetOutput:
    return SheetOutput(json)


def _sheet_output_with_table(json: JsonOption = False, table: TableOption = None) -> SheetOutput:
    return SheetOutput(json, table)


TABLES = (".csv", ".jsonl", ".parquet")
"""Ends of names of tables of calls; books have none of them."""

BooksOrRuns = Annotated[CallLedger | AgentTrajectories, SharedOptions(books_or_runs)]
OpenBooks = Annotated[CallLedger, SharedOptions(open_books)]
InCurrency = Annotated[ReportMoney, SharedOptions(money_of)]
Rows = Annotated[LedgerScope, SharedOptions(scope_of)]
RowsOfDays = Annotated[LedgerScope, SharedOptions(_days)]
Printed = Annotated[SheetOutput, SharedOptions(_sheet_output)]
PrintedOrWritten = Annotated[SheetOutput, SharedOptions(_sheet_output_with_table)]

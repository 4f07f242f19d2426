"""Commands that keep the books, hand them on, or read single rows: `verify`, `digest`, `archive`, `export`, `waits`,
`stops`."""

from __future__ import annotations

import json as documents
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from comptroller.books import archive as archiving
from comptroller.books import export as exporting
from comptroller.books import verify as verifying
from comptroller.books.agent_runs import booked_stops, calls_of_runs
from comptroller.books.latency import LAST
from comptroller.books.pseudonyms import PseudonymBook
from comptroller.books.query import EVERYTHING
from comptroller.books.tenant_waits import tenant_waits
from comptroller.cli._books_options import (
    TERMINAL,
    AnonymisedOption,
    OpenBooks,
    PrintedOrWritten,
    Rows,
    WhereArgument,
    day_of,
    open_books,
)
from comptroller.cli._output import check, write
from comptroller.cli._progress import ProgressBar
from comptroller.errors import InputError
from comptroller.report import books as sheets
from comptroller.report.terminal import console
from comptroller.report.wait_tables import waits_sheet


def verify(
    where: WhereArgument,
    ledger: OpenBooks,
    digest: Annotated[Path | None, typer.Option(help="A digest exported before.", show_default=False)] = None,
    public_key: Annotated[Path | None, typer.Option(help="Ed25519 key in PEM.", show_default=False)] = None,
    archives: Annotated[
        list[Path] | None,
        typer.Option("--archive", help="Where rows went; again for more, the first first.", show_default=False),
    ] = None,
) -> None:
    """Read every row, compute every hash again; exit 2 and name the first row that does not fit."""
    recorded = _digest_of(digest) if digest else None
    if public_key and not (recorded and digest):
        raise InputError(f"--public-key {public_key}: of --digest FILE, whose signature it checks")
    if recorded and public_key:
        verifying.check_signature(recorded, _read(public_key), f"{digest}, {public_key}")
    with ExitStack() as held, ProgressBar("reading rows", "checking balances") as bar:
        moved = [held.enter_context(open_books(str(path))) for path in archives or ()]
        checked = verifying.verify(ledger, recorded, bar, moved)
    if checked.faults:
        raise InputError(f"{where} does not fit: {'; '.join(checked.faults)}")
    console().print(f"[bold green]{checked.rows:,} rows fit[/]: chain, accounts, prices, budgets")


def digest(
    ledger: OpenBooks,
    out: Annotated[Path, typer.Option(help="Where to write it.", show_default=False)],
    sign: Annotated[Path | None, typer.Option(help="Ed25519 private key in PEM.", show_default=False)] = None,
) -> None:
    """Write where every segment stands, signed if a key is given; `verify --digest` compares later."""
    check(out)
    segments = verifying.digest(ledger)
    write(out, documents.dumps(verifying.sign(segments, _read(sign), str(sign)) if sign else segments, indent=2) + "\n")


def archive_rows(
    ledger: OpenBooks,
    before: Annotated[str, typer.Option(help="The first day (UTC) whose rows stay.", show_default=False)],
    out: Annotated[Path | None, typer.Option(help="New books that the rows move to.", show_default=False)] = None,
    anonymised: AnonymisedOption = False,
) -> None:
    """Move old rows into books of their own; daily sums, limits and the chain stay. Without --out: what would move."""
    day = day_of(before)
    if out is None:
        found, _ = archiving.archivable(ledger, day)
    else:
        check(out)
        found = archiving.archive(ledger, day, out, anonymised)
    console().print(escape(sheets.archive_sentence(found, out)), soft_wrap=True)


def export(
    ledger: OpenBooks,
    out: Annotated[Path, typer.Option(help="Where to write it.", show_default=False)],
    as_: Annotated[
        str, typer.Option("--as", help="focus (CSV), otel (OTLP JSON lines), or runs (CSV, calls of agents' runs).")
    ] = "focus",
    scope: Rows = EVERYTHING,
    anonymised: AnonymisedOption = False,
) -> None:
    """Write the books for other tools: FOCUS 1.2, or OpenTelemetry GenAI spans; calls for `fit monitors`."""
    writers = {"focus": exporting.focus, "otel": exporting.spans, "runs": calls_of_runs}
    if as_ not in writers:
        raise InputError(f"--as {as_}: allowed are {', '.join(writers)}")
    check(out)
    with out.open("w", encoding="utf-8", newline="") as file:
        count = writers[as_](ledger, file, scope, PseudonymBook() if anonymised else None)
    what = {"focus": "charges", "otel": "spans", "runs": "calls"}[as_]
    console().print(f"{count:,} {what} in {escape(str(out))}")


def stops(ledger: OpenBooks, scope: Rows = EVERYTHING, output: PrintedOrWritten = TERMINAL) -> None:
    """Runs of agents that monitors stopped: what they had spent, and what the stop spares."""
    found = booked_stops(ledger, scope)
    output.show(sheets.stops(found), sheets.stops(found, with_total=True))


def _digest_of(path: Path) -> dict[str, Any]:
    """A digest as `digest` writes it.

    Raises:
        InputError: the file cannot be read, or is none; names it.
    """
    try:
        found = documents.loads(_read(path))
    except ValueError as error:
        raise InputError(f"{path}: is not JSON: {error}; needed: a file that `books digest` wrote") from error
    parts = found.get("segments") if isinstance(found, dict) and found.get("comptroller_books") == 1 else None
    needed = {"id", "rows", "head"}
    whole = isinstance(parts, list) and all(isinstance(one, dict) and needed <= set(one) for one in parts)
    if not whole:
        raise InputError(f"{path}: is no digest of books; needed: a file that `books digest` wrote")
    return dict(found)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from error


def waits(
    ledger: OpenBooks,
    calls: Annotated[int, typer.Option(help="So many of the last calls.", min=1)] = LAST,
    output: PrintedOrWritten = TERMINAL,
) -> None:
    """How long keys waited before services, and because of whose calls."""
    output.show(waits_sheet(tenant_waits(ledger, calls)))

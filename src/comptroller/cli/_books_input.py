"""Options of `comptroller plan` that take its input from books."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from comptroller.errors import InputError


@dataclass(frozen=True, slots=True)
class BooksOptions:
    """Where a plan's input comes from. where: the books; empty for none.  served: the plan that was served, whose
    services are calibrated.  folder: gets what was read.
    """

    where: str = ""
    served: Path | None = None
    folder: Path = Path("from-books")
    since: date | None = None
    until: date | None = None


FromBooks = Annotated[
    str,
    typer.Option(
        help="Books: their last month of calls in place of arrivals and lengths, scored answers as evidence.",
        show_default=False,
    ),
]
Served = Annotated[
    Path | None,
    typer.Option(help="With --from-books: only calls of this plan, and calibrate by them.", show_default=False),
]
Since = Annotated[str, typer.Option(help="With --from-books: from this day on.", show_default="30 days ago")]
Until = Annotated[str, typer.Option(help="With --from-books: before this day.", show_default=False)]
Kept = Annotated[Path, typer.Option(help="With --from-books: folder for what was read.")]


def books_options(where: str, served: Path | None, folder: Path, days: tuple[str, str]) -> BooksOptions:
    """Where a plan's input comes from. days: the first, and the day after the last, as they are written.

    Raises:
        InputError: a day is none, or a plan is named without books.
    """
    if served and not where:
        raise InputError("--served names the plan whose calls stand in the books: name those, --from-books")
    return BooksOptions(where, served, folder, *map(_day, days))


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError as error:
        raise InputError(f"{text!r} is no day; write it as 2026-01-31") from error

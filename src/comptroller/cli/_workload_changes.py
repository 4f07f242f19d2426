"""Options of `comptroller plan` that change keys of the workload, wherever it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from comptroller.cli._books_input import BooksOptions, FromBooks, Kept, Served, Since, Until, books_options

if TYPE_CHECKING:
    from comptroller.work.workload import Workload


@dataclass(frozen=True, slots=True)
class WorkloadChanges:
    """Keys of a workload that options replace. keys: with their values, empty ones of no effect.  books: whose calls
    take the place of what it states."""

    keys: Mapping[str, Any]
    measured_only: bool
    books: BooksOptions

    @property
    def any(self) -> bool:
        """Whether any is replaced."""
        return any(self.keys.values()) or self.measured_only or bool(self.books.where)

    def of(self, asked: Workload) -> Workload:
        """The workload with its keys replaced."""
        update = {name: value for name, value in self.keys.items() if value}
        if self.measured_only:
            update["allow"] = asked.allow.model_copy(update={"measured_only": True})
        changed = asked.model_copy(update=update)
        if not self.books.where:
            return changed
        from comptroller.cli._from_books import workload_from_books

        return workload_from_books(changed, self.books)


def workload_changes(
    calibration: Annotated[
        Path | None,
        typer.Option(help="A folder that `fit calibration` wrote; else the workload's.", show_default=False),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Drop bad rows of a trace, counted.")] = False,
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Only what somebody timed, kernels or whole servers.")
    ] = False,
    trust_predicted_speed: Annotated[
        bool, typer.Option("--trust-predicted-speed", help="What nobody timed at its predicted speed.")
    ] = False,
    what_if: Annotated[
        bool, typer.Option("--what-if", help="Also formats no engine launches and machines of papers, marked as such.")
    ] = False,
    from_books: FromBooks = "",
    served: Served = None,
    books_since: Since = "",
    books_until: Until = "",
    books_out: Kept = Path("from-books"),
) -> WorkloadChanges:
    """The keys that options replace."""
    keys = {"calibration": calibration and str(calibration), "skip_bad": skip_bad, "what_if": what_if}
    books = books_options(from_books, served, books_out, (books_since, books_until))
    return WorkloadChanges({**keys, "trust_predicted_speed": trust_predicted_speed}, measured_only, books)

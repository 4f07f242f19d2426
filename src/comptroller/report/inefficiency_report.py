"""Inefficient trajectories as a table: of books, and of recorded runs that are replayed."""

from __future__ import annotations

from comptroller.books.inefficiency import InefficiencyPattern, InefficiencyReport
from comptroller.report.figures import number
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right


def inefficiency_sheet(inefficiency: InefficiencyReport) -> ReportSheet:
    """Inefficiencies in prefill-token equivalents."""
    columns: SheetColumns[InefficiencyPattern] = (
        left("pattern", None, lambda item: item.name),
        right("requests", "tasks"),
        right("share", "% of tasks", lambda item: _share(item.requests, inefficiency.requests)),
        right("pte", "PTE", lambda item: item.tokens),
        right("pte_share", "% of PTE", lambda item: _share(item.tokens, inefficiency.tokens)),
    )
    title = f"Inefficiency, {number(inefficiency.tokens)} prefill-token equivalents in all"
    return ReportSheet.of(title, columns, inefficiency.found)


def _share(amount: float, whole: float) -> float | None:
    """Percent of the whole; None where there is none."""
    return 100 * amount / whole if whole else None

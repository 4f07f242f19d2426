"""Work that may wait on hourly grids, as a table and as records."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from comptroller.quantities import short
from comptroller.report.sheet import ReportSheet, SheetColumns, left, right
from comptroller.work.load_shift import ShiftableWork, ShiftedWork


def shift_sheet(found: Sequence[ShiftedWork], work: ShiftableWork, value: str) -> ReportSheet:
    """A row for each series and outlook."""
    columns: SheetColumns[ShiftedWork] = (
        left("series"),
        left("outlook", "hours to come"),
        right("mean", value, lambda one: f"{one.mean:.4g}"),
        right("saved", None, lambda one: "–" if not any(one.saved) else _words(one.saved)),
        right("wait_h", "mean wait", lambda one: f"{one.wait_h:.1f} h"),
    )
    title = (
        f"Work that may wait {work.deadline_h} h, at most {work.capacity:g} times a mean hour's in an hour, on the "
        "held-out part (90 % intervals of weeks, or days where they are few, drawn anew)"
    )
    return ReportSheet.of(title, columns, found)


def _words(saved: tuple[float, float, float]) -> str:
    mean, low, high = saved
    return f"{mean:.1%} ({low:.1%} to {high:.1%})"


def shift_records(found: Sequence[ShiftedWork]) -> list[dict[str, Any]]:
    """A record for each series and outlook."""
    return [
        {
            "series": one.series,
            "outlook": one.outlook,
            "mean": short(one.mean),
            "saved": dict(zip(("mean", "low", "high"), map(short, one.saved), strict=True)),
            "wait_h": short(one.wait_h),
        }
        for one in found
    ]

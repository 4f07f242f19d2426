"""Jobs read from a table: CSV, JSON lines or Parquet, by the names of their columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.cluster.job_table import BEST_EFFORT, WHOLE, Floats, Ints, JobTable
from comptroller.errors import FactError, RecordError
from comptroller.work.arrow import read_columns as read_parquet
from comptroller.work.rows import SHOWN
from comptroller.work.tabular import numbers
from comptroller.work.trace_columns import unused_note
from comptroller.work.trace_table import CellNumbering, trace_table
from comptroller.work.trace_times import ArrivalCells, arrival_seconds

ROLES = ("submitted", "duration", "end", "gpus", "gpu_share", "tenant", "model")
"""What a column of jobs may hold: when one was submitted; how long it runs, or when it ended; GPUs; thousandths of one,
of a job of one GPU; whose it is; what it trains."""

FORMS: tuple[Mapping[str, str], ...] = (
    {"submitted": "submitted_s", "duration": "duration_s", "gpus": "gpus", "tenant": "tenant", "model": "model"},
    {"submitted": "submitted", "duration": "duration_s", "gpus": "num_gpus", "tenant": "cluster"},
    {
        "submitted": "creation_time", "end": "deletion_time", "gpus": "num_gpu", "gpu_share": "gpu_milli",
        "tenant": "qos", "start": "scheduled_time",
    },
)  # fmt: skip
"""Columns of known tables: a plain one, Philly's jobs as Sia cleaned them, Alibaba's pods of 2023."""


def jobs_of_file(path: Path, names: Mapping[str, str] | None = None) -> JobTable:
    """The jobs of a table. names: columns by role, where they are not those of a known table.

    Jobs without a GPU are left out, and counted in the notes. A duration is that of a column, or from the start (the
    submission, if no column says it) to the end.

    Raises:
        FactError: the file cannot be read, or a column is not there.
        RecordError: cells are missing or no numbers.
    """
    columns = _table(path)
    roles = _roles(path, columns, names or {})
    cells = {role: columns[name] for role, name in roles.items()}
    values: dict[str, Any] = {
        role: numbers(["" if cell is None else str(cell) for cell in cells[role]])
        for role in ("duration", "gpus", "gpu_share")
        if role in cells
    }
    for role in ("submitted", "start", "end"):
        if role in cells:
            values[role] = _seconds(path, roles[role], cells[role])
    tenant, tenants = _text_numbers(cells.get("tenant"))
    found, rows = _sound_jobs(path, values, tenant, tenants, unused_note(path.name, columns, roles.values()))
    model, models = _text_numbers(cells.get("model"))
    return found if model is None else replace(found, model=model[rows], models=models)


def _text_numbers(cells: Sequence[Any] | None) -> tuple[Ints | None, tuple[str, ...]]:
    """Numbers of texts, -1 where a cell is empty, and the texts; none without a column."""
    numbering = CellNumbering()
    return (None if cells is None else numbering(["" if cell is None else cell for cell in cells])), numbering.texts


def _table(path: Path) -> dict[str, Sequence[Any]]:
    if not path.is_file():
        raise FactError(str(path), "file", "is not there")
    if path.suffix == ".parquet":
        return dict(read_parquet(path)[0])
    table = trace_table(path)
    if not table.names:
        raise FactError(path.name, "file", "is not a table", "CSV with a heading, JSON lines, Parquet")
    _, columns = table.columns(table.names, [_texts] * len(table.names))
    return {name: list(column) for name, column in zip(table.names, columns, strict=True)}


def _texts(cells: Sequence[Any]) -> Any:
    column = np.empty(len(cells), object)
    column[:] = cells
    return column


def _roles(path: Path, columns: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, str]:
    """Column of each role: that of the names given, else that of the known table that the file has most of."""
    unknown = [role for role in names if role not in ROLES]
    if unknown:
        raise FactError("--column", unknown[0], "is no role of a column of jobs", ", ".join(ROLES))
    usual = max(FORMS, key=lambda form: sum(name in columns for name in form.values()))
    roles = {role: name for role, name in usual.items() if name in columns} | dict(names)
    for role, name in roles.items():
        if name not in columns:
            raise FactError(path.name, f"column {role}", f"no column {name!r}", ", ".join(columns))
    lacks = [role for role in ("submitted", "gpus") if role not in roles]
    if not {"duration", "end"} & set(roles):
        lacks.append("duration")
    if lacks:
        raise FactError(
            path.name, "columns", f"none says {' and '.join(lacks)}; name it with --column {lacks[0]}=NAME",
            ", ".join(columns),
        )  # fmt: skip
    if "duration" in roles:
        roles.pop("end", None)
        roles.pop("start", None)
    return roles


def _seconds(path: Path, name: str, cells: Sequence[Any]) -> Floats:
    reading = ArrivalCells()
    texts = ["" if cell is None else str(cell) for cell in cells]
    if all(not text or text.replace(".", "", 1).isdigit() for text in texts):
        return numbers(texts)
    return arrival_seconds(path.name, name, reading, reading(texts), None)[0]


def _sound_jobs(
    path: Path, values: Mapping[str, Floats], tenant: Ints | None, tenants: tuple[str, ...], notes: tuple[str, ...]
) -> tuple[JobTable, Ints]:
    """The jobs, and the row of each.

    Raises:
        FactError: none is left.
        RecordError: cells are missing or no numbers.
    """
    submitted = values["submitted"]
    start = values.get("start", submitted)
    duration = values["duration"] if "duration" in values else values["end"] - start
    milli = np.round(values["gpus"] * WHOLE)
    if "gpu_share" in values:
        milli = np.where(values["gpus"] == 1, values["gpu_share"], milli)
    idle, never = milli == 0, np.isnan(start) & np.isfinite(submitted) & ("start" in values)
    notes = (*notes, *_left_out("ask for no GPU", idle), *_left_out("never started", never & ~idle))
    notes = (*notes, *_left_out("run 0 s", (duration == 0) & ~idle & ~never))
    keep = ~idle & ~never & (duration != 0)
    faults: dict[int, str] = {}
    checks: tuple[tuple[str, Floats, Callable[[Floats], Any]], ...] = (
        ("time of submission", submitted, lambda x: ~np.isfinite(x)),
        ("duration", duration, lambda x: ~(np.isfinite(x) & (x > 0))),
        ("number of GPUs", milli, lambda x: ~(np.isfinite(x) & (x > 0))),
    )
    for name, column, wrong in checks:
        for row in np.flatnonzero(wrong(column) & keep).tolist():
            faults.setdefault(row, f"{name} {column[row]:g}, which is missing or not above 0")
    if faults:
        first = sorted(faults)[:SHOWN]
        raise RecordError(path.name, [(row + 2, faults[row]) for row in first], len(faults))
    if not keep.any():
        raise FactError(path.name, "rows", "has no job that takes GPU time", "at least one")
    rows = np.flatnonzero(keep)
    rows = rows[np.argsort(submitted[rows], kind="stable")]
    names = tenants if tenant is not None and (tenant >= 0).all() else (*tenants, "")
    owner = np.zeros(len(submitted), np.int64) if tenant is None else np.where(tenant < 0, len(tenants), tenant)
    found = JobTable(
        submitted[rows] - submitted[rows[0]], duration[rows], milli[rows].astype(np.int64), owner[rows], names,
        np.zeros(len(rows), np.int64), (BEST_EFFORT,), notes,
    )  # fmt: skip
    return found, rows


def _left_out(what: str, rows: Any) -> tuple[str, ...]:
    count = int(rows.sum())
    return (f"left out: {count:,} jobs that {what}",) if count else ()

"""Unchecked rows of a trace file, and the checks that turn them into a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError, RecordError
from comptroller.work.trace import Floats, Ints, RequestTrace, TraceLatencies, TracePrefixBlocks
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_tasks import TraceTasks

SHOWN = 5
"""Bad rows that an error names; it states the number of all. Twice as many make the message twice as long."""

MOST_TOKENS = 1e7
"""Longest input or output, in tokens: about the longest context of the models that ship (10,485,760). A larger number
is a damaged cell. One request near twice this would dominate every mean of a trace."""

LONGEST_S = 10 * 365.25 * 86400.0
"""Longest trace, ten years in s. An arrival further from the first one is a damaged or mixed-up time stamp
(milliseconds read as seconds are a thousand times too long); twice this would let twice as long ones pass."""


@dataclass(frozen=True, slots=True)
class TraceReadOptions:
    """Options of reading a trace: the part [start_s, end_s) to read; whether bad rows are dropped or an error.

    columns: names of columns, where they are not those of the format.  rate_per_s: for files without arrival times.
    tenants: whose requests alone are read; of all where it is empty.  most_input: tokens that prompts are cut to, the
    oldest first; none where it is 0.
    """

    start_s: float = 0.0
    end_s: float = float("inf")
    skip_bad: bool = False
    columns: TraceColumnNames = field(default_factory=TraceColumnNames)
    rate_per_s: float | None = None
    tenants: tuple[str, ...] = ()
    most_input: int = 0


@dataclass(frozen=True, slots=True)
class TraceRows:
    """Columns of shape (rows,), with NaN where a cell is missing or not a number.

    line: line of the file, or place in a list, from 1.  problems: faults that the format's reader found, by index of
    the row.  origin_s: time that becomes second 0 of the trace; the first arrival, if not given.  tenant, tenants,
    adapter, adapters, priority, notes, tasks: as in `RequestTrace`.  in_file_order: whether the order of the file is
    meant as that of arrival.
    """

    line: Ints
    arrival_s: Floats
    input_tokens: Floats
    output_tokens: Floats
    problems: Mapping[int, str] = field(default_factory=dict)
    blocks: TracePrefixBlocks | None = None
    session: Ints | None = None
    measured: TraceLatencies | None = None
    origin_s: float | None = None
    tenant: Ints | None = None
    tenants: tuple[str, ...] = ()
    priority: Floats | None = None
    adapter: Ints | None = None
    adapters: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    in_file_order: bool = True
    tasks: TraceTasks | None = None


@dataclass(frozen=True, slots=True)
class TraceReader:
    """A trace format; `recognises` gets the path and the first 65,536 characters of the file ('' for a folder).

    has_columns: whether columns may be named otherwise than by the format.
    """

    name: str
    looks_like: str
    recognises: Callable[[Path, str], bool]
    read: Callable[[Path, TraceReadOptions, np.random.Generator], TraceRows]
    has_columns: bool = False


def trace_of_rows(rows: TraceRows, path: Path, skip_bad: bool) -> RequestTrace:
    """The trace of the valid rows, sorted by arrival.

    A row is bad if a value is missing, not finite, negative, not whole (tokens), above `MOST_TOKENS` or `LONGEST_S`, or
    if it has 0 tokens.

    Raises:
        RecordError: some rows are bad and `skip_bad` is not set; names the first five and counts all.
        FactError: no request is left.
    """
    problems = dict(rows.problems)
    for column, name in ((rows.input_tokens, "input_tokens"), (rows.output_tokens, "output_tokens")):
        _note_faults(problems, column, name, _token_faults(column))
    _note_faults(problems, rows.arrival_s, "arrival_s", _time_faults(rows.arrival_s))
    if rows.priority is not None:
        unknown = ("is missing or not a number", ~np.isfinite(rows.priority))
        _note_faults(problems, rows.priority, "priority", (unknown,))
    if problems and not skip_bad:
        first = sorted(problems)[:SHOWN]
        raise RecordError(path.name, [(int(rows.line[i]), problems[i]) for i in first], len(problems))
    sound = np.ones(len(rows.line), bool)
    sound[list(problems)] = False
    return _trace_of_sound_rows(rows, np.flatnonzero(sound), path)


def _trace_of_sound_rows(rows: TraceRows, keep: Ints, path: Path) -> RequestTrace:
    if not len(keep):
        raise FactError(path.name, "rows", "has no usable request", "at least one")
    arrival_s = rows.arrival_s[keep]
    late = int((arrival_s < np.maximum.accumulate(arrival_s)).sum())
    keep = keep[np.argsort(arrival_s, kind="stable")]
    sorted_note = (f"rows that arrive before a row above them: {late}; sorted by arrival",)
    all_rows = RequestTrace(
        arrival_s=np.where(np.isfinite(rows.arrival_s), rows.arrival_s, 0.0),
        input_tokens=np.zeros(len(rows.line), np.int64),
        output_tokens=np.zeros(len(rows.line), np.int64),
        source=path.name,
        blocks=rows.blocks,
        session=rows.session,
        measured=rows.measured,
        dropped=len(rows.line) - len(keep),
        tenant=rows.tenant,
        tenants=rows.tenants,
        priority=rows.priority,
        adapter=rows.adapter,
        adapters=rows.adapters,
        notes=rows.notes + (sorted_note if late and rows.in_file_order else ()),
        tasks=rows.tasks,
    )
    part = all_rows.take(keep)
    return replace(
        part,
        arrival_s=part.arrival_s - (part.arrival_s[0] if rows.origin_s is None else rows.origin_s),
        input_tokens=rows.input_tokens[keep].astype(np.int64),
        output_tokens=rows.output_tokens[keep].astype(np.int64),
    )


def chosen_tenants(file: str, known: tuple[str, ...], wanted: tuple[str, ...]) -> tuple[str, ...]:
    """The tenants that are wanted, all where none is named.

    Raises:
        FactError: there is no such tenant, or none at all.
    """
    if unknown := next((name for name in wanted if name not in known), None):
        raise FactError(file, "tenants", f"no tenant {unknown!r}", ", ".join(known) or "no tenants in this trace")
    return wanted or known


Faults = tuple[tuple[str, npt.NDArray[np.bool_]], ...]


def _token_faults(column: Floats) -> Faults:
    return (
        ("is missing or not a number", np.isnan(column)),
        ("is negative", column < 0),
        ("is zero", column == 0),
        ("is absurd", column > MOST_TOKENS),
        ("is not a whole number", np.isfinite(column) & (column != np.floor(column))),
    )


def _time_faults(column: Floats) -> Faults:
    finite = column[np.isfinite(column)]
    start = finite[0] if len(finite) else 0.0
    return (
        ("is missing or not a time", np.isnan(column)),
        ("is absurd", np.abs(column - start) > LONGEST_S),
        ("is negative", column < 0),
    )


def _note_faults(problems: dict[int, str], column: Floats, name: str, faults: Faults) -> None:
    for problem, mask in faults:
        for index in np.flatnonzero(mask):
            value = "" if np.isnan(column[index]) else f" ({column[index]:.10g})"
            problems.setdefault(int(index), f"{name} {problem}{value}")

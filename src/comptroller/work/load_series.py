"""Loads at equal steps of time: columns of a table, one series for each of its groups, or arrivals of a trace."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError, InputError
from comptroller.quantities import DAY_S, HOUR_S
from comptroller.work import arrow, tabular
from comptroller.work.load_frame import Floats
from comptroller.work.trace import RequestTrace
from comptroller.work.trace_times import ArrivalCells, arrival_seconds, unit_of_name

TIME_NAMES = ("date", "utc", "time", "timestamp", "window_s", "t_s", "arrival_s", "start_s")
"""What a column of times is called, looked for in this order where none is named."""

LONG_STEPS_S = {"min mins minute minutes": 60.0, "h hour hours": HOUR_S, "d day days": DAY_S}
"""Last words of the names of columns of numbers that count longer than seconds -> seconds of one."""

MOST_EMPTY = 0.1
"""Share of steps without a value that are drawn as a line between their neighbours; more is no record of a load."""

LEAST_STEPS = 20
"""Values that a series needs: fewer leave six to be judged on."""


@dataclass(frozen=True, slots=True)
class LoadColumns:
    """What of a table is a load. value: its column.  by: columns whose values part its series.  time: of its moments,
    one of `TIME_NAMES` where it is empty."""

    value: str
    by: tuple[str, ...] = ()
    time: str = ""


@dataclass(frozen=True, eq=False)
class LoadSeries:
    """A load at equal steps. name: what it is of.  step_s: between values.  note: what was taken for granted.  first_s:
    moment of the first value, in s since 1970 where the table has time stamps."""

    name: str
    step_s: float
    values: Floats
    note: str = ""
    first_s: float = 0.0


def read_loads(path: Path, columns: LoadColumns, option: str = "--by") -> tuple[LoadSeries, ...]:
    """The series of a table, CSV or Parquet. option: what names the columns that part them.

    Raises:
        FactError: a column is missing, times or values are none, or a moment stands twice in a series.
        InputError: a series is short, or lacks too many steps.
    """
    names = arrow.column_names(path) if path.suffix == ".parquet" else tabular.columns_of(path)
    time = columns.time or next((name for name in TIME_NAMES if name in {one.lower() for one in names}), "")
    if not time:
        raise FactError(path.name, "--time", "no column is called as one of moments is", ", ".join(sorted(names)))
    time = next((name for name in names if name.lower() == time.lower()), time)
    if missing := next((name for name in (time, columns.value, *columns.by) if name not in names), None):
        raise FactError(path.name, missing, "no such column", ", ".join(sorted(names)))
    cells = table_cells(path, (time, columns.value, *columns.by))
    read = ArrivalCells()
    times = read(cells[0])
    moments = _moments_s(path.name, time, read, times)
    first_s = float(np.min(times[~np.isnat(times)]).astype("datetime64[s]").astype(np.int64)) if read.is_stamps else 0.0
    values = tabular.numbers(cells[1])
    keys = [" ".join(str(cell) for cell in row) for row in zip(*cells[2:], strict=True)] or [columns.value] * len(
        values
    )
    groups = np.array(keys)
    counted = np.isfinite(moments) & np.isfinite(values)
    if twice := _first_twice(groups, moments, counted):
        apart = _columns_apart(path, [name for name in names if name not in {time, columns.value}], columns.by, moments)
        told = f"{cells[0][twice[1]]} stands twice in one series (rows {twice[0] + 2} and {twice[1] + 2})"
        allowed = f"columns that part the series, such as {apart}" if apart else "one row for each moment"
        raise FactError(path.name, option, told, allowed)
    return tuple(
        _at_equal_steps(f"{path.stem} {name}".strip(), first_s + moments[groups == name], values[groups == name])
        for name in dict.fromkeys(keys)
    )


def chosen_series(known: Sequence[LoadSeries], wanted: str, file: str, option: str) -> LoadSeries:
    """The series of that name by its columns, or the only one.

    Raises:
        FactError: there is none of that name, or several and none is named.
    """
    names = [one.name.split(" ", 1)[-1] for one in known]
    meant = [one for one, name in zip(known, names, strict=True) if not wanted or name == wanted]
    if len(meant) != 1:
        raise FactError(file, option, f"{wanted or 'is not given'}: not one series of it", ", ".join(names))
    return meant[0]


def arrivals_by_step(trace: RequestTrace, name: str, step_s: float) -> LoadSeries:
    """Requests per second of a trace over whole steps.

    Raises:
        InputError: the step is not above 0, or too few fit.
    """
    if not step_s > 0:
        raise InputError(f"steps of {step_s:g} s; allowed: above 0")
    steps = int(trace.span_s // step_s)
    if steps < LEAST_STEPS:
        longest = f" (--every {trace.span_s / LEAST_STEPS:.3g} or less)" if trace.span_s else ""
        raise InputError(
            f"{name}: {trace.span_s:,.0f} s hold {steps} steps of {step_s:g} s; needed: {LEAST_STEPS}{longest}"
        )
    counts = np.bincount((trace.arrival_s // step_s).astype(np.int64), minlength=steps)[:steps]
    return LoadSeries(name, step_s, counts / step_s)


def _moments_s(file: str, column: str, read: ArrivalCells, times: npt.NDArray[Any]) -> Floats:
    """Moments in s. Numbers are in the unit that their column's name ends with, in s where it says none."""
    if read.is_stamps is not False:
        return arrival_seconds(file, column, read, times, None)[0]
    word = re.split(r"[^a-z]+", column.lower().rstrip(")] "))[-1]
    if long_s := next((seconds for words, seconds in LONG_STEPS_S.items() if word in words.split()), None):
        return np.asarray(times, dtype=np.float64) * long_s
    return arrival_seconds(file, column, read, times, unit_of_name(column) or "s")[0]


def table_cells(path: Path, names: Sequence[str]) -> list[Sequence[Any]]:
    """The cells of the named columns of a table, CSV or Parquet.

    Raises:
        FactError: a column is missing.
    """
    if path.suffix == ".parquet":
        found, _ = arrow.read_columns(path)
        if missing := next((name for name in names if name not in found), None):
            raise FactError(path.name, missing, "no such column", ", ".join(sorted(found)))
        return [found[name] for name in names]
    parts: list[list[Any]] = [[] for _ in names]
    for chunk in tabular.chunks(path, names):
        for part, cells in zip(parts, chunk, strict=True):
            part.extend(cells)
    return list(parts)


def _first_twice(groups: npt.NDArray[Any], moments_s: Floats, counted: npt.NDArray[np.bool_]) -> tuple[int, int] | None:
    """The first two rows of one moment and group, of those that count.

    >>> _first_twice(np.array(["a", "b", "a"]), np.array([0.0, 0.0, 0.0]), np.ones(3, bool))
    (0, 2)
    """
    rows: dict[tuple[str, float], int] = {}
    for row in np.flatnonzero(counted).tolist():
        if (first := rows.setdefault((str(groups[row]), float(moments_s[row])), row)) != row:
            return first, row
    return None


def _columns_apart(path: Path, names: Sequence[str], by: Sequence[str], moments_s: Floats) -> str:
    """The columns, with those that part the series already, by which no moment stands twice; of several the one with
    the fewest values, empty for none."""
    taken = table_cells(path, by)
    found = []
    for name in sorted(set(names) - set(by)):
        (cells,) = table_cells(path, [name])
        keys = {tuple(map(str, row)) for row in zip(*taken, cells, moments_s, strict=True)}
        kinds = len(set(map(str, cells)))
        if len(keys) == len(cells) and 1 < kinds <= len(cells) // LEAST_STEPS:
            found.append((kinds, name))
    return ",".join((*by, min(found)[1])) if found else ""


def _at_equal_steps(name: str, moments_s: Floats, values: Floats) -> LoadSeries:
    """A series on its own grid; steps without a value are drawn between their neighbours, and told, and of
    several within a step the mean is taken."""
    good = np.isfinite(moments_s) & np.isfinite(values)
    order = np.argsort(moments_s[good], kind="stable")
    moments_s, values = moments_s[good][order], values[good][order]
    if moments_s.size < LEAST_STEPS:
        raise InputError(f"{name}: {moments_s.size} values; needed: {LEAST_STEPS}")
    step_s = float(np.median(np.diff(moments_s)))
    places = np.round((moments_s - moments_s[0]) / step_s).astype(np.int64)
    grid = np.arange(int(places[-1]) + 1)
    filled_places, at = np.unique(places, return_inverse=True)
    empty = grid.size - filled_places.size
    if empty > MOST_EMPTY * grid.size:
        raise InputError(
            f"{name}: {empty} of {grid.size} steps of {step_s:g} s have no value; at most {MOST_EMPTY:.0%} may lack one"
        )
    filled = np.interp(grid, filled_places, np.bincount(at, values) / np.bincount(at))
    note = f"{name}: {empty} of {grid.size} steps without a value, drawn between their neighbours" if empty else ""
    return LoadSeries(name, step_s, filled, note, float(moments_s[0]))

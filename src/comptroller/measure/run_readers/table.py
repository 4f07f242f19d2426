"""A table of runs as CSV with named columns: one row a run, latencies in columns that name their unit.

Columns: input_tokens, output_tokens, clients, ttft and tpot in `_ms` or `_s`, one unit each, and those that say what
server it was (`run_rows.SERVER`), where options do not. Other columns are passed over and mentioned.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from comptroller.errors import InputError, RecordError
from comptroller.measure.run_rows import SERVER, RunFile, RunFilePreview, RunFileReader, RunRow, RunRowCollector
from comptroller.work.tabular import open_text

NAME = "table"
FIGURES = ("input_tokens", "output_tokens", "clients")
LATENCIES = {"ttft_s": 1.0, "ttft_ms": 1e-3, "tpot_s": 1.0, "tpot_ms": 1e-3}
"""Latency columns, with their seconds per unit."""
KNOWN = (*SERVER, *FIGURES, *LATENCIES)

Row = Mapping[str, str]
RawRow = Mapping[Any, Any]


def _rows(path: Path, columns: Mapping[str, str]) -> tuple[list[RawRow], tuple[str, ...]]:
    """Rows by our names of columns, and the names of the file after renaming."""
    ours = {theirs: name for name, theirs in columns.items()}
    try:
        with open_text(path) as stream:
            reader = csv.DictReader(stream)
            names = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = [ours.get(name, name) for name in names]
            rows: list[RawRow] = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    absent = [theirs for theirs in ours if theirs not in names]
    if absent:
        raise InputError(f"{path.name}: no column {absent[0]!r}; it has {', '.join(names)}")
    return rows, tuple(reader.fieldnames)


def _check(path: Path, names: tuple[str, ...]) -> None:
    missing = [name for name in FIGURES[:2] if name not in names]
    problems = [f"no column {name} (--column {name}=NAME reads it from another)" for name in missing]
    for quantity in ("ttft", "tpot"):
        units = [name for name in LATENCIES if name.startswith(quantity) and name in names]
        if len(units) > 1:
            problems.append(f"{quantity} stands in two units: {' and '.join(units)}")
    if not any(name in names for name in LATENCIES):
        problems.append(f"no latency column; one of {', '.join(LATENCIES)} is needed")
    if problems:
        raise RecordError(path.name, [(1, problem) for problem in problems[:3]], len(problems))


def _run(number: int, cells: RawRow) -> RunRow | str:
    if None in cells or None in cells.values():
        return "the row has not as many cells as the header"
    row: Row = {name: cell.strip() for name, cell in cells.items()}
    try:
        inputs, outputs, clients = (_number(row, name) for name in FIGURES)
        stated = {name: row[name] for name in SERVER if row.get(name)}
        return RunRow(number, stated, inputs, outputs, clients, _seconds(row, "ttft"), _seconds(row, "tpot"))
    except InputError as error:
        return str(error)


def _seconds(row: Row, quantity: str) -> float:
    for name, factor in LATENCIES.items():
        if name.startswith(quantity) and row.get(name):
            return _number(row, name) * factor
    return nan


def _number(row: Row, name: str) -> float:
    if not row.get(name):
        return nan
    try:
        return float(row[name])
    except ValueError as error:
        raise InputError(f"{name} is {row[name]!r}, not a number") from error


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    rows, names = _rows(path, columns)
    _check(path, names)
    found = RunRowCollector()
    for number, row in enumerate(rows, start=2):
        found.add(_run(number, row), number)
    unused = [name for name in names if name and name not in KNOWN]
    return found.file(path, NAME, [f"columns that are not used: {', '.join(unused)}"] if unused else [])


def _recognises(preview: RunFilePreview) -> bool:
    return preview.kind == "csv"


READER = RunFileReader(NAME, "CSV with named columns", _recognises, _read, general=True)

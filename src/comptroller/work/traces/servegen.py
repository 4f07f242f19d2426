"""ServeGen client pools (github.com/alibaba/ServeGen, Apache-2.0): the load of many clients, as statistics of each.

A pool is a folder of `chunk-N-trace.csv` (window start in s, rate per s, CV, gap family, two parameters; no
header; an empty family means no requests) and `chunk-N-dataset.json` (window start -> field -> probability of
each token count). A path to one `chunk-N-trace.csv` reads that client alone. Requests are drawn (`load_clients`).
"""

from __future__ import annotations

import ast
import csv
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError
from comptroller.work.load_clients import (
    ArrivalStatistics,
    LengthsOverTime,
    LoadClient,
    arrival_windows,
    length_distribution,
    rows_of_clients,
)
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import UNREADABLE, open_text, unreadable_table

FIELDS = ("input_tokens", "output_tokens")


def _statistics(path: Path) -> list[ArrivalStatistics]:
    try:
        with open_text(path) as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except UNREADABLE as error:
        raise unreadable_table(path, error) from error
    found = []
    for number, row in rows:
        place, start_s = f"line {number}", _finite_cell(path, number, row, 0)
        if len(row) != 6:
            raise FactError(path.name, place, f"has {len(row)} cells", "start, rate, cv, family, 2 values")
        known = [_finite_cell(path, number, row, cell) for cell in (1, 4)] if row[3] else [np.nan] * 2
        found.append(ArrivalStatistics(place, start_s, known[0], row[3], known[1]))
    return found


def _finite_cell(path: Path, number: int, row: list[str], place: int) -> float:
    try:
        value = float(row[place])
    except (ValueError, IndexError):
        value = float("nan")
    if not np.isfinite(value):
        raise FactError(path.name, f"line {number}", f"cell {place + 1} is not a number", "a finite number")
    return value


def _dataset(path: Path) -> LengthsOverTime:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise FactError(path.name, "file", f"not readable as JSON: {error}") from error
    dataset: LengthsOverTime = []
    for start, fields in sorted(document.items(), key=lambda item: float(item[0])):
        missing = [name for name in FIELDS if name not in fields]
        if missing:
            raise FactError(
                path.name, f"{start}.{missing[0]}", f"is missing among {', '.join(fields)}", ", ".join(FIELDS)
            )
        tables = [_probabilities(path, f"{start}.{name}", fields[name]) for name in FIELDS]
        if all(tables):
            dataset.append(
                (float(start), (length_distribution(tables[0].items()), length_distribution(tables[1].items())))
            )
    if not dataset:
        raise FactError(path.name, "file", "gives no lengths", ", ".join(FIELDS))
    return dataset


def _probabilities(path: Path, field: str, value: Any) -> dict[float, float]:
    """The weights of token counts of one field, which the pools write as the text of a Python dictionary."""
    try:
        table: dict[Any, Any] = dict(ast.literal_eval(value) if isinstance(value, str) else value)
        pairs = {float(tokens): float(weight) for tokens, weight in table.items()}
    except (ValueError, SyntaxError, TypeError) as error:
        raise FactError(path.name, field, "is not a table of token counts", "{tokens: probability}") from error
    sound = all(tokens >= 0 and weight >= 0 for tokens, weight in pairs.items())
    if pairs and not (sound and sum(pairs.values()) > 0):
        raise FactError(path.name, field, "has negative or no weights", "{tokens: probability}")
    return pairs


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    files = [path] if path.is_file() else sorted(path.glob("chunk-*-trace.csv"), key=_client_number)
    clients = [
        LoadClient(
            f"client {_client_number(file)}", arrival_windows(file.name, _statistics(file), reading),
            partial(_dataset, file.with_name(file.name.replace("-trace.csv", "-dataset.json"))),
        )
        for file in files
    ]  # fmt: skip
    return rows_of_clients(path.name, clients, rng)


def _client_number(path: Path) -> int:
    number = path.name.split("-")[1]
    return int(number) if number.isdigit() else 0


def _recognises(path: Path, head: str) -> bool:
    if path.is_dir():
        return any(path.glob("chunk-*-trace.csv"))
    return path.name.startswith("chunk-") and path.name.endswith("-trace.csv")


READER = TraceReader("servegen", "folder of chunk-N-trace.csv and chunk-N-dataset.json", _recognises, _read)

"""Files of agents' trajectories: CSV, JSON lines or Parquet, one row per model call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError, RecordError
from comptroller.work.arrow import PARQUET, read_columns
from comptroller.work.rows import SHOWN
from comptroller.work.tabular import json_numbers, numbers
from comptroller.work.trace_table import names_of_head, trace_table
from comptroller.work.trajectories import COUNTED, AgentRun, AgentTrajectories, CallWords

NEEDED = ("instance", "step", "input_tokens", "output_tokens")
NAMED = {"usd": "cost_usd", "to_next_s": "to_next_call_s", "observation": "observation_chars"}
"""What columns are called in the file where it is not their name here; their own name is read too."""

TEXTS = ("source", "run", "model", "instance", "group", "resolved")
WORDS = ("tools", "tool_notes")
"""Columns of words: of the tools after a call, and of what their rounds say of themselves."""
APART = ";"
TRUE = ("true", "1", "1.0", "yes")
FALSE = ("false", "0", "0.0", "no")
UNJUDGED = ("", "none", "nan", "null")

LOOKS_LIKE = "CSV, JSON lines or Parquet with instance, step, input_tokens, output_tokens: one row per call of an agent"


def are_trajectories(path: Path, head: str) -> bool:
    """Whether a file holds trajectories, by the names of its columns."""
    if path.is_dir():
        return False
    return set(NEEDED) <= names_of_head(head)


def read_trajectories(path: Path) -> AgentTrajectories:
    """The runs of a file; those of one source, run, model and instance are one, its calls in the order of steps.

    Columns beyond those needed are optional: run, model, source, group (the text before the last `-` or the first `__`
    of the instance otherwise), cached_tokens, reasoning_tokens, cost_usd, llm_s, tool_s, to_next_call_s,
    observation_chars, resolved, start_up_s (of the run, in the row of its first call), tools and tool_notes (names of
    the tools after a call, and what their rounds say of themselves, `;` between them).

    Raises:
        FactError: the file is not readable, or lacks a column.
        RecordError: a row has no instance, no whole number of tokens, a negative number, or stands there twice.
    """
    line, cells = _cells(path)
    missing = [name for name in NEEDED if name not in cells]
    if missing:
        raise FactError(path.name, missing[0], "no such column", ", ".join(cells))
    count = len(line)
    texts = {name: [_text(cell) for cell in cells.get(name, [""] * count)] for name in TEXTS}
    found = {name: _numbers(cells.get(NAMED.get(name, name), cells.get(name, [None] * count))) for name in COUNTED}
    step = _numbers(cells["step"])
    start_up_s = _numbers(cells.get("start_up_s", [None] * count))
    faults = _faults(texts, found | {"step": step, "start_up_s": start_up_s})
    keys = list(zip(*(texts[name] for name in ("source", "run", "model", "instance")), strict=True))
    places = {key: place for place, key in enumerate(dict.fromkeys(keys))}
    run = np.array([places[key] for key in keys], np.int64)
    order = np.lexsort((step, run))
    for at, after in zip(order[:-1].tolist(), order[1:].tolist(), strict=True):
        if run[at] == run[after] and step[at] == step[after]:
            faults.setdefault(after, f"step {step[after]:g} of {texts['instance'][after]!r} is there twice")
    if faults:
        shown = [(int(line[row]), faults[row]) for row in sorted(faults)][:SHOWN]
        raise RecordError(path.name, shown, len(faults))
    firsts = [int(order[np.searchsorted(run[order], place)]) for place in range(len(places))]
    runs = tuple(_run(texts, row, float(start_up_s[row])) for row in firsts)
    columns = {name: column[order] for name, column in found.items()}
    tools, notes = (_words(cells.get(name), order) for name in WORDS)
    return AgentTrajectories(runs, run[order], line=line[order], file=path.name, tools=tools, notes=notes, **columns)


def _words(cells: Sequence[Any] | None, order: Any) -> CallWords:
    """Words of each call in an order; none at all where the table has no such column."""
    split = [tuple(word for part in _text(cell).split(APART) if (word := part.strip())) for cell in cells or ()]
    return tuple(split[place] for place in order.tolist()) if split else ()


def _cells(path: Path) -> tuple[Any, dict[str, Sequence[Any]]]:
    """Lines, and cells by column."""
    if path.suffix in PARQUET:
        cells, _ = read_columns(path)
        count = len(next(iter(cells.values()), []))
        if not count:
            raise FactError(path.name, "rows", "has no call", "at least one")
        return np.arange(1, count + 1), dict(cells)
    try:
        table = trace_table(path)
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except UnicodeDecodeError as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error
    line, columns = table.columns(table.names, [_objects] * len(table.names))
    if not len(line):
        raise FactError(path.name, "rows", "has no call", "at least one")
    return line, {name: column.tolist() for name, column in zip(table.names, columns, strict=True)}


def _objects(cells: Sequence[Any]) -> Any:
    column = np.empty(len(cells), object)
    column[:] = list(cells)
    return column


def _text(cell: Any) -> str:
    return "" if cell is None else str(cell).strip()


def _numbers(cells: Sequence[Any]) -> Any:
    as_text = any(isinstance(cell, str) for cell in cells)
    return numbers([_text(cell) for cell in cells]) if as_text else json_numbers(cells)


def _score(text: str) -> float:
    known = text.lower()
    return 1.0 if known in TRUE else 0.0 if known in FALSE else float("nan")


def _run(texts: Mapping[str, Sequence[str]], row: int, start_up_s: float) -> AgentRun:
    instance = texts["instance"][row]
    group = texts["group"][row] or instance.split("__")[0].rsplit("-", 1)[0]
    score = _score(texts["resolved"][row])
    return AgentRun(instance, texts["model"][row], texts["source"][row], group, score, start_up_s)


def _faults(texts: Mapping[str, Sequence[str]], found: Mapping[str, Any]) -> dict[int, str]:
    """What is wrong with rows, by row."""
    faults: dict[int, str] = {}
    for name, column in found.items():
        for row in np.flatnonzero(column < 0).tolist():
            faults.setdefault(row, f"{name} is negative ({column[row]:g})")
    for name in ("step", "input_tokens", "output_tokens"):
        column = found[name]
        for row in np.flatnonzero(~np.isfinite(column) | (column != np.floor(column))).tolist():
            faults.setdefault(row, f"{name} is not a whole number ({column[row]:g})")
    for name in ("input_tokens", "output_tokens"):
        for row in np.flatnonzero(found[name] == 0).tolist():
            faults.setdefault(row, f"{name} is zero")
    for row, (instance, resolved) in enumerate(zip(texts["instance"], texts["resolved"], strict=True)):
        if not instance:
            faults.setdefault(row, "instance is missing")
        if resolved.lower() not in (*TRUE, *FALSE, *UNJUDGED):
            faults.setdefault(row, f"resolved is {resolved!r}; it must be true, false or empty")
    return faults

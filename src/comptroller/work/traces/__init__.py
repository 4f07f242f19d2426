"""Public trace formats, one module each: every module in this folder has a `READER`."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from comptroller.errors import FactError
from comptroller.facts.document_faults import fact_error
from comptroller.work.arrow import PARQUET, column_names
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows, chosen_tenants, trace_of_rows
from comptroller.work.shorter_prompts import shorter_prompts
from comptroller.work.tabular import head_of, open_text
from comptroller.work.trace import RequestTrace
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import rows_of_table, trace_table

HEAD_CHARACTERS = 65536
"""Characters of a file by which its format is recognised. Names of columns and keys are in the first line, except those
of `vllm bench serve`, whose totals come before its lists. Twice as many are read in the same time."""

WHOLE = TraceReadOptions()
"""Read all of a trace, and refuse bad rows."""


def reading_of(
    columns: Sequence[str], part: tuple[float, float] = (0.0, float("inf")), **options: Any
) -> TraceReadOptions:
    """Options of reading from texts like `tenant=customer`, the last of a role, and the first and the last second.

    options: the other fields of `TraceReadOptions`.

    Raises:
        FactError: a text has no `=`, what it names is no role of a column, the rate is not above 0, or no part is left.

    >>> reading_of(["tenant=customer", "block_tokens=16"]).columns.by_role
    {'tenant': 'customer'}
    """
    if lacking := next((text for text in columns if "=" not in text), None):
        raise FactError("--column", repr(lacking), "is not ROLE=NAME", ", ".join(TraceColumnNames.model_fields))
    rate_per_s = options.get("rate_per_s")
    if rate_per_s is not None and not 0 < rate_per_s < float("inf"):
        raise FactError("--rate", f"{rate_per_s:g}", "is not allowed", "a finite number above 0")
    if not 0 <= part[0] < part[1]:
        told = f"from {part[0]:g} to {part[1]:g} s"
        raise FactError("--from-h, --hours", told, "is no part of a trace", "from 0 h, of some hours")
    given: dict[str, Any] = {}
    for text in columns:
        role, _, name = text.partition("=")
        given[role] = int(name) if role == "block_tokens" and name.isdecimal() else name
    try:
        names = TraceColumnNames.model_validate(given)
    except ValidationError as error:
        raise fact_error(error, "--column", TraceColumnNames) from error
    return TraceReadOptions(start_s=part[0], end_s=part[1], columns=names, **options)


@lru_cache(maxsize=1)
def readers() -> tuple[TraceReader, ...]:
    """The readers of all formats, sorted by name."""
    modules = (importlib.import_module(f"{__name__}.{item.name}") for item in pkgutil.iter_modules(__path__))
    loaded: list[TraceReader] = [module.READER for module in modules]
    return tuple(sorted(loaded, key=lambda reader: reader.name))


def reader_of(path: Path) -> TraceReader:
    """The reader of the format of a file or folder, recognised by content.

    Raises:
        FactError: it cannot be opened, or its format is unknown; describes the known ones.
    """
    head = _head(path)
    for reader in readers():
        if reader.recognises(path, head):
            return reader
    accepted = "; ".join(f"{reader.name}: {reader.looks_like}" for reader in readers())
    start = " ".join(head[:60].split()) or "nothing"
    names = "; or any table by columns = { arrival = ..., input = ..., output = ... }"
    raise FactError(path.name, "file", f"not a trace format that is known (starts with {start!r})", accepted + names)


def _rows(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    """The rows as the format's reader gives them, or of any table whose columns are named."""
    named = reading.columns.by_role
    if {"input", "output"} <= set(named):
        _head(path)
        return rows_of_table(trace_table(path), reading, TraceColumnNames(), rng)
    reader = reader_of(path)
    if named and not reader.has_columns:
        raise FactError(path.name, f"columns.{min(named)}", f"a trace of {reader.name} has no columns to name")
    return reader.read(path, reading, rng)


def read_trace(
    path: Path | str, reading: TraceReadOptions = WHOLE, rng: np.random.Generator | None = None
) -> RequestTrace:
    """The trace of a file in any known format.

    rng: for formats that describe a load statistically (ServeGen), whose requests are drawn; of seed 0 by default.

    Raises:
        FactError: the format is unknown or the file as a whole is malformed.
        RecordError: rows are bad and `reading.skip_bad` is not set.
    """
    path = Path(path)
    trace = trace_of_rows(_rows(path, reading, rng or np.random.default_rng(0)), path, reading.skip_bad)
    if reading.tenants:
        wanted = [trace.tenants.index(name) for name in chosen_tenants(path.name, trace.tenants, reading.tenants)]
        trace = trace.take(np.flatnonzero(np.isin(-1 if trace.tenant is None else trace.tenant, wanted)))
    if reading.most_input:
        trace = shorter_prompts(trace, reading.most_input)
    if reading.start_s == 0.0 and reading.end_s == float("inf"):
        return trace
    part = trace.between(reading.start_s, reading.end_s)
    if not len(part):
        whole = f"between 0 and {trace.span_s:.6g} s"
        raise FactError(path.name, "part", f"no request in [{reading.start_s:g}, {reading.end_s:g}) s", whole)
    return part


def _head(path: Path) -> str:
    if path.is_dir():
        return ""
    if path.suffix in PARQUET and path.exists():
        return head_of(sorted(column_names(path)))
    try:
        with open_text(path) as file:
            return file.read(HEAD_CHARACTERS)
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (UnicodeDecodeError, EOFError) as error:
        raise FactError(path.name, "file", f"not text in UTF-8: {error}") from error

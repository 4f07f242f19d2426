"""Rows of measured runs as a benchmark's file states them, before it is known what server they came from."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import nan
from pathlib import Path
from typing import Any, NamedTuple

from comptroller.measure.request_log import RequestLog

SERVER = (
    "model",
    "accelerator",
    "engine",
    "version",
    "measured",
    "weights",
    "experts",
    "activations",
    "kv",
    "tp",
    "pp",
    "dp",
    "ep",
    "memory_fraction",
    "max_batch",
    "chunk_tokens",
)
"""What says which server a run was of: the names of columns, and of the options that stand in for them."""

NEEDED = ("model", "accelerator", "engine")
"""Of `SERVER`, what has no default."""

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunRow:
    """One steady run.

    number: its row or place in the file, from 1.  stated: what the file says of the server, by the names of `SERVER`,
    as text; `gpu_layers` besides.  clients: mean number of requests in flight.  Latencies are means over requests, in
    seconds; what is not stated is NaN.
    """

    number: int
    stated: Mapping[str, str]
    input_tokens: float = nan
    output_tokens: float = nan
    clients: float = nan
    ttft_s: float = nan
    tpot_s: float = nan


@dataclass(frozen=True, slots=True)
class RunFile:
    """What was read from a file: its rows, those left out by number and reason, and remarks about the whole.

    log: single requests, in place of rows.
    """

    path: Path
    format: str
    rows: tuple[RunRow, ...]
    left_out: tuple[tuple[int, str], ...] = ()
    remarks: tuple[str, ...] = ()
    log: RequestLog | None = None


class RunFilePreview(NamedTuple):
    """The start of a file, by which readers recognise their format.

    kind: json (one document), jsonl, csv or text.  names: of the columns, or keys of the first object.  first: the
    first object, else None.  head: the first characters.
    """

    path: Path
    kind: str
    names: frozenset[str]
    first: Any
    head: str


@dataclass(frozen=True, slots=True)
class RunFileReader:
    """A file format of measured runs. A `general` one is tried last."""

    name: str
    looks_like: str
    recognises: Callable[[RunFilePreview], bool]
    read: Callable[[Path, Mapping[str, str]], RunFile]
    general: bool = False


@dataclass(slots=True)
class RunRowCollector:
    """Gathers rows, and the reasons of those that cannot be used."""

    rows: list[RunRow] = field(default_factory=list)
    left_out: list[tuple[int, str]] = field(default_factory=list)

    def add(self, row: RunRow | str, number: int) -> None:
        """A row, or why there is none."""
        if isinstance(row, str):
            self.left_out.append((number, row))
        else:
            self.rows.append(row)

    def file(self, path: Path, format: str, remarks: Iterable[str] = ()) -> RunFile:
        """All of it."""
        return RunFile(path, format, tuple(self.rows), tuple(self.left_out), tuple(remarks))


def number_of(record: Record, *names: str) -> float:
    """The first of the names that holds a finite number; NaN if none does.

    >>> number_of({"a": None, "b": 2, "c": True}, "a", "c", "b")
    2.0
    """
    for name in names:
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            return float(value)
    return nan


def per_token_s(e2e_s: float, ttft_s: float, output_tokens: float) -> float:
    """Time per output token after the first, from means: (e2e - ttft) / (O - 1); NaN where there is no second token.

    >>> per_token_s(2.0, 1.0, 11.0)
    0.1
    """
    return (e2e_s - ttft_s) / (output_tokens - 1.0) if output_tokens > 1.0 else nan


def day_of(text: str) -> str:
    """The day of a date as tools write it, ISO; empty where it is none.

    >>> day_of("20260428-105950"), day_of("2026-07-03T04:19:39.807147"), day_of("soon")
    ('2026-04-28', '2026-07-03', '')
    """
    for length, form in ((8, "%Y%m%d"), (10, "%Y-%m-%d")):
        try:
            return datetime.strptime(text[:length], form).date().isoformat()
        except ValueError:
            continue
    return ""


def version_of_image(image: str) -> str:
    """The version in the tag of a container image; empty where the tag is none.

    >>> version_of_image("vllm/vllm-openai-rocm:v0.21.0"), version_of_image("lmsysorg/sglang:latest")
    ('0.21.0', '')
    """
    found = re.search(r":v?(\d+\.\d+[\w.]*)", image)
    return found[1] if found else ""


def without_empty(**stated: object) -> dict[str, str]:
    """What a file states, without what is empty.

    >>> without_empty(tp=8, version="", engine=None)
    {'tp': '8'}
    """
    return {name: str(value) for name, value in stated.items() if value not in (None, "")}

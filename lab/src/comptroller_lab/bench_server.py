"""What a benchmark's output does not say: the server it was run against."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from comptroller.costs.deployment import ModelReplica
from comptroller.errors import InputError
from comptroller.measure.observations import ExclusionReport, RunObservation, latency_problem

Record = Mapping[str, Any]

MILLI = 1e-3


@dataclass(frozen=True, slots=True)
class BenchmarkServer:
    """The replica that was measured, with the engine's version in it, and the day, where known."""

    replica: ModelReplica
    measured: date | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkKeys:
    """Names of the figures a benchmark prints; latencies in milliseconds, the median before the mean."""

    clients: tuple[str, ...]
    completed: str
    input_tokens: str
    output_tokens: str
    ttft: tuple[str, ...]
    tpot: tuple[str, ...]


def documents(path: Path) -> Iterator[Record]:
    """The JSON objects of a file: one, a list, or one a line.

    Raises:
        InputError: the file cannot be read or holds no JSON objects.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    found: list[Any]
    try:
        whole = json.loads(text)
        found = whole if isinstance(whole, list) else [whole]
    except json.JSONDecodeError:
        found = []
        for number, line in enumerate(text.splitlines(), start=1):
            if line.strip():
                try:
                    found.append(json.loads(line))
                except json.JSONDecodeError as error:
                    raise InputError(f"{path}: line {number}: not JSON: {error}") from error
    for entry in found:
        if not isinstance(entry, Mapping):
            raise InputError(f"{path}: holds {type(entry).__name__}, not an object of figures")
    if not found:
        raise InputError(f"{path}: is empty")
    yield from found


def read_runs(
    path: Path, server: BenchmarkServer, keys: BenchmarkKeys, source: str
) -> tuple[list[RunObservation], ExclusionReport]:
    """Runs of a benchmark's output against a server; unusable ones are left out and named by position.

    Raises:
        InputError: the file cannot be read.
    """
    report, kept = ExclusionReport(), []
    for number, record in enumerate(documents(path), start=1):
        values = {name: read(record) for name, read in _figures(keys).items()}
        problem = _problem(values, keys)
        if problem:
            report.add(number, problem)
            continue
        kept.append(_observation(number, values, server, f"{source} {path.name}"))
    return kept, report


def _figures(keys: BenchmarkKeys) -> Mapping[str, Callable[[Record], float]]:
    return {
        "clients": lambda r: _number(r, keys.clients),
        "completed": lambda r: _number(r, (keys.completed,)),
        "input": lambda r: _number(r, (keys.input_tokens,)),
        "output": lambda r: _number(r, (keys.output_tokens,)),
        "ttft": lambda r: _number(r, keys.ttft) * MILLI,
        "tpot": lambda r: _number(r, keys.tpot) * MILLI,
    }


def _number(record: Record, names: tuple[str, ...]) -> float:
    """The first of the names that holds a number; NaN if none does."""
    for name in names:
        value = record.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return float(value)
    return math.nan


def _problem(values: Mapping[str, float], keys: BenchmarkKeys) -> str | None:
    if not values["completed"] >= 1:
        return f"{keys.completed} is not a number of finished requests"
    if not values["clients"] >= 1:
        return f"no {' or '.join(keys.clients)}: the number of clients must be known"
    for name, key in (("input", keys.input_tokens), ("output", keys.output_tokens)):
        if not values[name] >= values["completed"]:
            return f"{key} is not a number of tokens"
    if math.isnan(values["ttft"]) and math.isnan(values["tpot"]):
        return f"neither {keys.ttft[0]} nor {keys.tpot[0]} is there"
    return latency_problem("ttft", values["ttft"]) or latency_problem("tpot", values["tpot"])


def _observation(number: int, values: Mapping[str, float], server: BenchmarkServer, source: str) -> RunObservation:
    return RunObservation(
        number=number,
        replica=server.replica,
        input_tokens=values["input"] / values["completed"],
        output_tokens=values["output"] / values["completed"],
        concurrency=values["clients"],
        ttft_s=values["ttft"],
        tpot_s=values["tpot"],
        source=source,
        group=f"{source} {number}",
        version=server.replica.engine.version,
        measured=server.measured,
    )

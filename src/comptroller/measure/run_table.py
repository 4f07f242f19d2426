"""A user's own measurements as a CSV table: one row a run, latencies in columns that name their unit."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import ComptrollerError, InputError, RecordError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import EngineFacts, engine_facts
from comptroller.facts.format import format_
from comptroller.facts.model import Model
from comptroller.measure.observations import ExclusionReport, RunObservation

NEEDED = ("model", "accelerator", "engine", "input_tokens", "output_tokens", "clients")
LATENCIES = {"ttft_s": 1.0, "ttft_ms": 1e-3, "tpot_s": 1.0, "tpot_ms": 1e-3}
OPTIONAL = (
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
)
"""Columns that a table must have, latencies with their seconds per unit, columns that it may have."""

Row = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class FactLookup:
    """Where names become facts; a user with files of their own passes their own."""

    model: Callable[[str], Model] = model
    accelerator: Callable[[str], Accelerator] = accelerator
    engine: Callable[[str], EngineFacts] = engine_facts


def read_table(path: Path, lookup: FactLookup | None = None) -> tuple[list[RunObservation], ExclusionReport]:
    """Runs of a table; bad rows are named one by one and left out.

    Columns: model, accelerator, engine (ids or paths, as everywhere), input_tokens, output_tokens, clients, and
    ttft and tpot in `_ms` or `_s`, one unit each. Optional: version, measured (a date), tp, pp, dp, ep,
    memory_fraction, max_batch, and the formats weights, experts, activations, kv (if empty: the checkpoint's own,
    what the device takes, and 16 bit).

    Raises:
        RecordError: columns are missing, unknown, or give a latency in two units.
        InputError: the file cannot be read.
    """
    rows, names = _rows(path)
    _check(path, names)
    report, kept = ExclusionReport(), []
    for number, row in enumerate(rows, start=2):
        try:
            kept.append(_observation(number, row, path, lookup or FactLookup()))
        except (ComptrollerError, ValueError) as error:
            report.add(number, str(error).partition("; known")[0])
    return kept, report


def _rows(path: Path) -> tuple[list[Row], tuple[str, ...]]:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            names = tuple(reader.fieldnames or ())
            return [{k: (v or "").strip() for k, v in row.items() if k} for row in reader], names
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error


def _check(path: Path, names: tuple[str, ...]) -> None:
    problems = [f"no column {name}" for name in NEEDED if name not in names]
    known_columns = {*NEEDED, *LATENCIES, *OPTIONAL}
    problems += [
        f"unknown column {name}; known: {', '.join(sorted(known_columns))}"
        for name in names
        if name not in known_columns
    ]
    for quantity in ("ttft", "tpot"):
        units = [name for name in LATENCIES if name.startswith(quantity) and name in names]
        if len(units) > 1:
            problems.append(f"{quantity} stands in two units: {' and '.join(units)}")
    if not any(name in names for name in LATENCIES):
        problems.append(f"no latency column; one of {', '.join(LATENCIES)} is needed")
    if problems:
        raise RecordError(path.name, [(1, problem) for problem in problems[:3]], len(problems))


def _observation(number: int, row: Row, path: Path, lookup: FactLookup) -> RunObservation:
    model, device = lookup.model(row["model"]), lookup.accelerator(row["accelerator"])
    weights = row.get("weights") or model.weights
    experts = row.get("experts") or (model.experts if not row.get("weights") else weights)
    activations = row.get("activations") or _activations(experts, device)
    recipe = PrecisionRecipe(weights, experts, activations, row.get("kv") or "bf16")
    layout = ParallelLayout(*(_count(row, name) for name in ("tp", "pp", "dp", "ep")))
    clients = _positive(row, "clients")
    engine = EngineSettings.default(lookup.engine(row["engine"]))
    engine = replace(
        engine,
        version=row.get("version", ""),
        memory_fraction=float(row.get("memory_fraction") or engine.memory_fraction),
        max_batch=int(row.get("max_batch") or max(engine.max_batch, int(clients))),
    )
    return RunObservation(
        number=number,
        replica=ModelReplica(model, device, recipe, layout, engine),
        input_tokens=_positive(row, "input_tokens"),
        output_tokens=_positive(row, "output_tokens"),
        concurrency=clients,
        ttft_s=_seconds(row, "ttft"),
        tpot_s=_seconds(row, "tpot"),
        source=path.name,
        group=f"{path.name} {number}",
        version=row.get("version", ""),
        measured=date.fromisoformat(row["measured"]) if row.get("measured") else None,
    )


def _activations(experts: str, device: Accelerator) -> str:
    """What the matrices take: their own format where the device multiplies it, 16 bit elsewhere."""
    fmt = format_(experts)
    return experts if "activations" in fmt.roles and fmt.support(device) == "native" else "bf16"


def _seconds(row: Row, quantity: str) -> float:
    for name, factor in LATENCIES.items():
        if name.startswith(quantity) and row.get(name):
            return _number(row, name) * factor
    return math.nan


def _positive(row: Row, name: str) -> float:
    value = _number(row, name)
    if not value >= 1:
        raise InputError(f"{name} is {row[name]!r}; it must be at least 1")
    return value


def _count(row: Row, name: str) -> int:
    text = row.get(name) or "1"
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r}; it must be a whole number of devices")
    return int(text)


def _number(row: Row, name: str) -> float:
    try:
        return float(row[name])
    except ValueError as error:
        raise InputError(f"{name} is {row[name]!r}, not a number") from error

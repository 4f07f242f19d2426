"""Summaries of GenAI-Perf and AIPerf, `profile_export_*.json` (NVIDIA; ai-dynamo/aiperf, Apache-2.0), one run a file.

Every metric has a unit, which is read. What was asked for stands in `input_config`, whose form changed with versions.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.measure.run_rows import Record, RunFile, RunFilePreview, RunFileReader, RunRow, day_of, without_empty
from comptroller.work.documents import inside, objects

NAME = "GenAI-Perf or AIPerf"
SECONDS = {"s": 1.0, "sec": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
FIRST, BETWEEN = "time_to_first_token", "inter_token_latency"
MODEL = (("models", "items", 0, "name"), ("endpoint", "model_names", 0), ("model_names", 0), ("model",))
CONCURRENCY = (("loadgen", "concurrency"), ("perf_analyzer", "stimulus", "concurrency"), ("concurrency",))
"""Where versions put the model and the clients in `input_config`."""


def _average(document: Record, name: str) -> float:
    value = inside(document, name, "avg")
    return float(value) if isinstance(value, int | float) else nan


def _seconds(document: Record, name: str, path: Path) -> float:
    unit = inside(document, name, "unit")
    if unit is not None and unit not in SECONDS:
        raise FactError(path.name, f"{name}.unit", f"{unit!r} is not a unit of time", ", ".join(SECONDS))
    return _average(document, name) * SECONDS.get(unit or "ms", 1e-3)


def _first(value: Any, paths: tuple[tuple[str | int, ...], ...]) -> Any:
    return next((found for path in paths if (found := inside(value, *path)) is not None), None)


def _clients(document: Record, e2e_s: float) -> float:
    """The concurrency asked for, or by Little's law what was in flight."""
    asked = document.get("input_config")
    phases = inside(asked, "phases") or []
    measured = [phase for phase in phases if not inside(phase, "exclude_from_results")]
    given = _first(asked, CONCURRENCY) if not measured else inside(measured[0], "concurrency")
    given = given[0] if isinstance(given, list) and given else given
    if isinstance(given, int | float) and given >= 1:
        return float(given)
    in_flight = _average(document, "request_throughput") * e2e_s
    return max(in_flight, 1.0) if in_flight > 0 else nan


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    _, (document, *_) = objects(path)
    if FIRST not in document and BETWEEN not in document:
        version = document.get("aiperf_version") or "of this version"
        problem = f"{NAME} {version} without {FIRST} and {BETWEEN}: the run did not stream"
        raise FactError(path.name, FIRST, problem, "a run with --streaming")
    stated = without_empty(
        model=_first(document.get("input_config"), MODEL), measured=day_of(str(document.get("start_time") or ""))
    )
    e2e_s = _seconds(document, "request_latency", path)
    inputs, outputs = (_average(document, f"{kind}_sequence_length") for kind in ("input", "output"))
    ttft_s, tpot_s = (_seconds(document, name, path) for name in (FIRST, BETWEEN))
    row = RunRow(1, stated, inputs, outputs, _clients(document, e2e_s), ttft_s, tpot_s)
    return RunFile(path, NAME, (row,))


def _recognises(preview: RunFilePreview) -> bool:
    metric = inside(preview.first, "request_latency")
    return "request_throughput" in preview.names and isinstance(metric, dict) and "avg" in metric


READER = RunFileReader(NAME, "JSON with request_latency, request_throughput, with unit and avg", _recognises, _read)

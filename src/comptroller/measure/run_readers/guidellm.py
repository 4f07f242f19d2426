"""Reports of GuideLLM, `benchmarks.json` (vllm-project/guidellm, Apache-2.0): a benchmark each for several loads.

Read are the means over successful requests under `metrics`, which versions 0.2 to 0.5 and later write alike. Its
inter-token latency is the time after the first token per further token; its time per output token is not (it counts
the first token, and in newer versions the whole request).
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from pathlib import Path
from typing import Any

from comptroller.errors import FactError
from comptroller.measure.run_rows import (
    Record,
    RunFile,
    RunFilePreview,
    RunFileReader,
    RunRow,
    RunRowCollector,
    without_empty,
)
from comptroller.work.documents import inside, objects

NAME = "GuideLLM"
LATENCIES = ("time_to_first_token_ms", "inter_token_latency_ms")


def _mean(benchmark: Record, metric: str) -> float:
    value = inside(benchmark, "metrics", metric, "successful", "mean")
    return float(value) if isinstance(value, int | float) and value > 0 else nan


def _strategy(benchmark: Record) -> Any:
    return inside(benchmark, "config", "strategy") or inside(benchmark, "args", "strategy") or {}


def _clients(benchmark: Record) -> float:
    """One at a time, the streams of a concurrent load, or the mean that was in flight."""
    strategy = _strategy(benchmark)
    kind, streams = inside(strategy, "type_"), inside(strategy, "streams")
    if kind == "synchronous":
        return 1.0
    if kind == "concurrent" and isinstance(streams, int):
        return float(streams)
    return max(_mean(benchmark, "request_concurrency"), 1.0)


def _run(number: int, benchmark: Record, stated: dict[str, str]) -> RunRow | str:
    if inside(_strategy(benchmark), "type_") == "throughput":
        return "a throughput benchmark sends all requests at once and is never steady; the other benchmarks are read"
    inputs, outputs = (_mean(benchmark, f"{kind}_token_count") for kind in ("prompt", "output"))
    ttft_ms, itl_ms = (_mean(benchmark, name) for name in LATENCIES)
    if not inputs >= 1 or not outputs >= 1:
        return "no token counts of successful requests"
    return RunRow(number, stated, inputs, outputs, _clients(benchmark), ttft_ms * 1e-3, itl_ms * 1e-3)


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    _, (report, *_) = objects(path)
    version = inside(report, "metadata", "guidellm_version") or "before 0.4"
    found = RunRowCollector()
    for number, benchmark in enumerate(report["benchmarks"], 1):
        missing = [name for name in LATENCIES if not isinstance(inside(benchmark, "metrics", name), dict)]
        if missing:
            problem = f"this is GuideLLM {version} without {missing[0]}"
            raise FactError(path.name, f"benchmarks {number}", problem, "a report with metrics per benchmark")
        model = inside(benchmark, "config", "backend", "model") or inside(benchmark, "worker", "backend_model")
        found.add(_run(number, benchmark, without_empty(model=model or inside(report, "args", "model"))), number)
    return found.file(path, NAME)


def _recognises(preview: RunFilePreview) -> bool:
    benchmarks = inside(preview.first, "benchmarks")
    guide = inside(preview.first, "metadata", "guidellm_version") or inside(benchmarks, 0, "type_")
    return isinstance(benchmarks, list) and bool(benchmarks) and isinstance(benchmarks[0], dict) and bool(guide)


READER = RunFileReader(NAME, "JSON with benchmarks, each with metrics", _recognises, _read)

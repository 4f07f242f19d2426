"""Results of `vllm bench serve --save-result` (vllm/benchmarks/serve.py, Apache-2.0): one object, or one a line.

The file names no engine: its `backend` is the API that was spoken, behind which other engines serve too.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from comptroller.measure.bench_runs import BenchmarkFields, run_of_benchmark
from comptroller.measure.run_rows import (
    Record,
    RunFile,
    RunFilePreview,
    RunFileReader,
    RunRowCollector,
    day_of,
    without_empty,
)
from comptroller.work.documents import objects

NAME = "vllm bench serve"
FIELDS = BenchmarkFields(e2e_ms="mean_e2el_ms")
NEEDED = {"completed", "total_input_tokens", "total_output_tokens"}


def _statement_of(record: Record) -> dict[str, str]:
    return without_empty(model=record.get("model_id"), measured=day_of(str(record.get("date") or "")))


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    found = RunRowCollector()
    for number, record in zip(*objects(path), strict=True):
        found.add(run_of_benchmark(number, record, _statement_of(record), FIELDS), number)
    return found.file(path, NAME)


def _recognises(preview: RunFilePreview) -> bool:
    foreign = {"total_output_tokens_retokenized", "mean_e2e_latency_ms"}
    return preview.names >= NEEDED and not preview.names & foreign


READER = RunFileReader(NAME, "JSON with completed, total_input_tokens, mean_ttft_ms", _recognises, _read)

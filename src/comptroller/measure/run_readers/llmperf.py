"""Summaries of LLMPerf, `*_summary.json` (ray-project/llmperf, Apache-2.0), one run a file.

Its inter-token latency counts the first token's wait among the tokens, so time per token is taken from its means of
the whole request and of the first token.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
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
    number_of,
    per_token_s,
    without_empty,
)
from comptroller.work.documents import objects

NAME = "LLMPerf"
SINGLE = {"end_to_end_latency_s", "ttft_s", "number_output_tokens"}
"""Keys of a request in `*_individual_responses.json`."""


def _day(stamp: Any) -> str:
    return datetime.fromtimestamp(stamp, UTC).date().isoformat() if isinstance(stamp, int | float) else ""


def _run(number: int, record: Record) -> RunRow:
    inputs = number_of(record, "results_number_input_tokens_mean", "mean_input_tokens")
    outputs = number_of(record, "results_number_output_tokens_mean", "mean_output_tokens")
    ttft_s, e2e_s = (number_of(record, f"results_{name}_s_mean") for name in ("ttft", "end_to_end_latency"))
    clients = number_of(record, "num_concurrent_requests")
    stated = without_empty(model=record.get("model"), measured=_day(record.get("timestamp")))
    return RunRow(number, stated, inputs, outputs, clients, ttft_s, per_token_s(e2e_s, ttft_s, outputs))


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    numbers, records = objects(path)
    if set(records[0]) >= SINGLE:
        problem = "these are LLMPerf's individual responses, which state no number of clients and no times of arrival"
        raise FactError(path.name, "file", problem, "the *_summary.json that the same run wrote")
    found = RunRowCollector()
    for number, record in zip(numbers, records, strict=True):
        found.add(_run(number, record), number)
    return found.file(path, NAME)


def _recognises(preview: RunFilePreview) -> bool:
    return "results_ttft_s_mean" in preview.names or preview.names >= SINGLE


READER = RunFileReader(NAME, "JSON with results_ttft_s_mean and num_concurrent_requests", _recognises, _read)

"""Output of `python -m sglang.bench_serving --output-file` (SGLang, Apache-2.0): one JSON object a line.

Newer versions add `server_info`, which states the model and the layout.
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
    RunRow,
    RunRowCollector,
    number_of,
    without_empty,
)
from comptroller.work.documents import inside, objects

NAME = "sglang bench_serving"
FIELDS = BenchmarkFields(e2e_ms="mean_e2e_latency_ms")
NATIVE = ("sglang", "sglang-native", "sglang-oai", "sglang-oai-chat")
"""Backends that only an SGLang server answers."""


def _statement_of(record: Record) -> dict[str, str]:
    server = record.get("server_info")
    return without_empty(
        engine="sglang" if record.get("backend") in NATIVE or server else "",
        model=inside(server, "model_path") or "",
        version=inside(server, "version") or "",
        tp=inside(server, "tp_size"),
        pp=inside(server, "pp_size"),
        ep=inside(server, "ep_size"),
        memory_fraction=inside(server, "mem_fraction_static"),
    )


def _run(number: int, record: Record) -> RunRow | str:
    accepted = number_of(record, "accept_length")
    if accepted > 1:
        return f"speculative decoding (accept length {accepted:.3g}) is not modelled"
    if inside(record.get("server_info"), "enable_dp_attention"):
        return "data-parallel attention: its ranks are not stated as ours; give the run as a CSV row with dp and ep"
    return run_of_benchmark(number, record, _statement_of(record), FIELDS)


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    found = RunRowCollector()
    for number, record in zip(*objects(path), strict=True):
        found.add(_run(number, record), number)
    return found.file(path, NAME)


def _recognises(preview: RunFilePreview) -> bool:
    return {"completed", "total_input_tokens"} <= preview.names and bool(
        preview.names & {"total_output_tokens_retokenized", "mean_e2e_latency_ms"}
    )


READER = RunFileReader(NAME, "JSON lines with total_output_tokens_retokenized", _recognises, _read)

"""The output file of `python -m sglang.bench_serving --output-file` (SGLang, python/sglang/bench_serving.py)."""

from __future__ import annotations

from pathlib import Path

from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller_lab.bench_server import BenchmarkKeys, BenchmarkServer, read_runs

KEYS = BenchmarkKeys(
    clients=("max_concurrency", "concurrency"),
    completed="completed",
    input_tokens="total_input_tokens",
    output_tokens="total_output_tokens",
    ttft=("median_ttft_ms", "mean_ttft_ms"),
    tpot=("median_tpot_ms", "mean_tpot_ms"),
)
"""`concurrency` is the mean number of requests in flight, which stands in where no cap was set."""


def read_sglang_bench(path: Path, server: BenchmarkServer) -> tuple[list[RunObservation], ExclusionReport]:
    """Runs of an output file, one JSON object a line.

    Raises:
        InputError: the file cannot be read.
    """
    return read_runs(path, server, KEYS, "sglang.bench_serving")

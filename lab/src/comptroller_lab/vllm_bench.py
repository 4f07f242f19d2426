"""The result file of `vllm bench serve --save-result` (vLLM, vllm/benchmarks/serve.py)."""

from __future__ import annotations

from pathlib import Path

from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller_lab.bench_server import BenchmarkKeys, BenchmarkServer, read_runs

KEYS = BenchmarkKeys(
    clients=("max_concurrency",),
    completed="completed",
    input_tokens="total_input_tokens",
    output_tokens="total_output_tokens",
    ttft=("median_ttft_ms", "mean_ttft_ms"),
    tpot=("median_tpot_ms", "mean_tpot_ms"),
)


def read_vllm_bench(path: Path, server: BenchmarkServer) -> tuple[list[RunObservation], ExclusionReport]:
    """Runs of one result file, or of one JSON object a line; an open-loop run without `max_concurrency` is left out.

    Raises:
        InputError: the file cannot be read.
    """
    return read_runs(path, server, KEYS, "vllm bench serve")

"""A log of single requests with their times.

Read are CSV with arrival_s, input_tokens (or prompt_tokens), output_tokens, first_token_s and last_token_s (seconds on
one clock, the trace format of this package), and AIPerf's `profile_export.jsonl`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import nan
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError
from comptroller.measure.request_log import WINDOW_REQUESTS, RequestLog
from comptroller.measure.run_rows import Record, RunFile, RunFilePreview, RunFileReader
from comptroller.work.documents import inside, objects
from comptroller.work.traces import read_trace

Floats = npt.NDArray[np.float64]

NAME = "log of requests"
NS = 1e-9
SINGLE = ("input_sequence_length", "output_sequence_length", "time_to_first_token", "request_latency")
TIMES = {"arrival_s", "output_tokens", "first_token_s", "last_token_s"}


def _of_trace(path: Path) -> RequestLog:
    trace = read_trace(path)
    assert trace.measured is not None
    measured = trace.measured.ttft_s, trace.measured.e2e_s
    return RequestLog(trace.arrival_s, trace.input_tokens.astype(float), trace.output_tokens.astype(float), *measured)


def _of_records(records: list[Record]) -> RequestLog:
    kept = [r for r in records if inside(r, "metadata", "benchmark_phase") in (None, "profiling")]

    def column(name: str, other: str = "") -> Floats:
        values = [inside(r, "metrics", name, "value") or inside(r, "metrics", other, "value") for r in kept]
        return np.array([value if isinstance(value, int | float) else nan for value in values], float)

    started = np.array([inside(r, "metadata", "request_start_ns") or nan for r in kept], float)
    return RequestLog(
        (started - np.nanmin(started)) * NS,
        column(SINGLE[0]),
        column(SINGLE[1]),
        column(SINGLE[2], "ttft") * 1e-3,
        column(SINGLE[3]) * 1e-3,
    )


def _read(path: Path, columns: Mapping[str, str]) -> RunFile:
    with path.open("rb") as file:
        lines = file.read(1) == b"{"
    log = _of_records(list(objects(path)[1])) if lines else _of_trace(path)
    whole = log.loads()
    if not len(log.timed()):
        raise FactError(path.name, "file", "no request has both lengths and both times", ", ".join(sorted(TIMES)))
    left_out = [(int(row) + 1, "a request without an arrival and both lengths") for row in np.flatnonzero(~whole)]
    untimed = int(whole.sum()) - len(log.timed())
    more = f"; {untimed} without times count as load alone" if untimed else ""
    remark = f"replayed, and compared in windows of {WINDOW_REQUESTS} requests in order of arrival{more}"
    return RunFile(path, NAME, (), tuple(left_out), (remark,), log.only(whole))


def _recognises(preview: RunFilePreview) -> bool:
    single = inside(preview.first, "metrics", SINGLE[3], "value") is not None
    return single or (preview.kind == "csv" and preview.names >= TIMES)


READER = RunFileReader(NAME, f"CSV with {', '.join(sorted(TIMES))}; profile_export.jsonl of AIPerf", _recognises, _read)

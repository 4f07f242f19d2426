"""The requests of a trace that a command names."""

from __future__ import annotations

from pathlib import Path

from comptroller.cli._output import say
from comptroller.work.data_files import find_data
from comptroller.work.rows import TraceReadOptions
from comptroller.work.trace import RequestTrace
from comptroller.work.traces import read_trace


def trace_requests(trace: str, plan: Path, reading: TraceReadOptions) -> RequestTrace:
    """The requests of a trace, at the rate asked for; what its reader has to say is told."""
    file = Path(trace)
    requests = read_trace(file if file.exists() else find_data("trace", trace, plan), reading)
    if reading.rate_per_s is not None and requests.rate_per_s > 0:
        requests = requests.scaled(reading.rate_per_s / requests.rate_per_s)
    for note in requests.notes:
        say(note)
    return requests

"""Comptroller's own trace format: CSV with arrival_s, input_tokens (or prompt_tokens), output_tokens.

The measured `first_token_s` and `last_token_s` are optional and on the clock of `arrival_s`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import columns_of, header, numbers, read_columns
from comptroller.work.trace import RequestTrace, TraceLatencies

INPUTS = ("input_tokens", "prompt_tokens")
TIMES = ("first_token_s", "last_token_s")


def write(trace: RequestTrace, path: Path) -> None:
    """Writes a trace as CSV; reading it gives the same arrivals, lengths and measured times."""
    names = ["arrival_s", INPUTS[0], "output_tokens"]
    columns = [trace.arrival_s.tolist(), trace.input_tokens.tolist(), trace.output_tokens.tolist()]
    if trace.measured:
        names += TIMES
        columns += [(trace.arrival_s + took).tolist() for took in (trace.measured.ttft_s, trace.measured.e2e_s)]
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(",".join(names) + "\n")
        file.writelines(",".join(map(repr, row)) + "\n" for row in zip(*columns, strict=True))


def _recognises(path: Path, head: str) -> bool:
    names = set(header(head))
    return {"arrival_s", "output_tokens"} <= names and bool(names & set(INPUTS))


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    present = columns_of(path)
    tokens = next(name for name in INPUTS if name in present)
    wanted = ("arrival_s", tokens, "output_tokens", *(name for name in TIMES if name in present))
    line, columns = read_columns(path, wanted, (numbers,) * len(wanted))
    measured = None
    if set(TIMES) <= set(present):
        measured = TraceLatencies(columns[3] - columns[0], columns[4] - columns[0])
    return TraceRows(line, columns[0], columns[1], columns[2], measured=measured)


READER = TraceReader("plain", "CSV with arrival_s, input_tokens, output_tokens", _recognises, _read)

"""Comptroller's own trace format: CSV with arrival_s, input_tokens (or prompt_tokens), output_tokens.

Optional are `session`, `tenant`, `adapter`, `priority` (larger first), and the measured `first_token_s` and
`last_token_s` on the clock of `arrival_s`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from comptroller.work.rows import TraceReadOptions, TraceRows
from comptroller.work.tabular import numbers
from comptroller.work.trace import RequestTrace, TraceLatencies
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import column_reader, trace_table

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


USUAL = tuple(
    TraceColumnNames(
        arrival="arrival_s",
        input=tokens,
        output="output_tokens",
        session="session",
        tenant="tenant",
        adapter="adapter",
        priority="priority",
        unit="s",
    )
    for tokens in INPUTS
)
TABLE = column_reader("plain", "CSV with arrival_s, input_tokens, output_tokens", *USUAL)


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    rows, table = TABLE.read(path, reading, rng), trace_table(path)
    if not set(TIMES) <= set(table.names):
        return rows
    _, (first_s, last_s) = table.columns(TIMES, (numbers, numbers))
    return replace(rows, measured=TraceLatencies(first_s - rows.arrival_s, last_s - rows.arrival_s))


READER = replace(TABLE, read=_read)

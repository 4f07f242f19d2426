"""BurstGPT traces (github.com/HPMLL/BurstGPT, CC-BY 4.0): requests to ChatGPT and GPT-4 on a campus, over months.

Files since release 2.0 have a session id and the elapsed time. A row whose `Response tokens` is 0 is a failed request
and counts as bad (the publisher's `without_fails` files leave those rows out).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from comptroller.work.rows import TraceReadOptions, TraceRows
from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import column_reader

TABLE = column_reader(
    "burstgpt",
    "CSV with Timestamp, Request tokens, Response tokens",
    TraceColumnNames(
        arrival="Timestamp", input="Request tokens", output="Response tokens", session="Session ID", unit="s"
    ),
)


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    rows = TABLE.read(path, reading, rng)
    failed = np.flatnonzero(rows.output_tokens == 0)
    return replace(rows, problems=dict.fromkeys(failed.tolist(), "Response tokens is 0: the request failed"))


READER = replace(TABLE, read=_read)

"""Traces of Vidur (github.com/microsoft/vidur, MIT): `data/processed_traces`.

Those made from Azure's have arrivals in s; those made from datasets have lengths only, and the workload gives the rate.
"""

from __future__ import annotations

from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import column_reader

LENGTHS = {"input": "num_prefill_tokens", "output": "num_decode_tokens"}

READER = column_reader(
    "vidur",
    "CSV with num_prefill_tokens, num_decode_tokens and, for a trace with times, arrived_at",
    TraceColumnNames(arrival="arrived_at", unit="s", **LENGTHS),
    TraceColumnNames(**LENGTHS),
)

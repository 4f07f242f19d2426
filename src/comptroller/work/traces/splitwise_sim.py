"""Traces of splitwise-sim (github.com/Mutinifni/splitwise-sim, MIT): `traces/*.csv`, times in s."""

from __future__ import annotations

from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import column_reader

READER = column_reader(
    "splitwise_sim",
    "CSV with arrival_timestamp, prompt_size, token_size",
    TraceColumnNames(
        arrival="arrival_timestamp", input="prompt_size", output="token_size", tenant="client_tenant", unit="s"
    ),
)

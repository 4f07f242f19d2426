"""Azure LLM inference traces, 2023 and 2024 (github.com/Azure/AzurePublicDataset, CC-BY 4.0)."""

from __future__ import annotations

from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import column_reader

COLUMNS = TraceColumnNames(arrival="TIMESTAMP", input="ContextTokens", output="GeneratedTokens")

READER = column_reader("azure", "CSV with TIMESTAMP, ContextTokens, GeneratedTokens", COLUMNS)

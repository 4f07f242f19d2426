"""Mooncake traces (github.com/kvcache-ai/Mooncake, Apache-2.0): arrivals, lengths and hashes of prefix blocks.

Times are in ms. Traces of this form with blocks of another size (Bailian's have 16 tokens) say so by
`columns.block_tokens`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from comptroller.work.trace_columns import TraceColumnNames
from comptroller.work.trace_table import column_reader, names_of_head

BLOCK_TOKENS = 512
"""Tokens of a block, as published. At twice this nearly every request would fail the check that its hashes cover its
input."""

TABLE = column_reader(
    "mooncake",
    "JSON lines with timestamp, input_length, output_length",
    TraceColumnNames(
        arrival="timestamp",
        input="input_length",
        output="output_length",
        blocks="hash_ids",
        unit="ms",
        block_tokens=BLOCK_TOKENS,
    ),
)


def _recognises(path: Path, head: str) -> bool:
    """With sessions the lengths are those of turns: a trace of AIPerf."""
    return TABLE.recognises(path, head) and "session_id" not in names_of_head(head)


READER = replace(TABLE, recognises=_recognises)

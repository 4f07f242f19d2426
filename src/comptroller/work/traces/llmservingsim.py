"""Workloads of LLMServingSim (github.com/casys-kaist/LLMServingSim, MIT): requests, or sessions of an agent.

A request has input_toks, output_toks and arrival_time_ns; a session has sub_requests, each sent tool_duration_ns after
the reply to the one before, with whole prompts. Token ids, where the file has them, give the prefix blocks. The first
versions wrote tables parted by tabs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.work.documents import objects
from comptroller.work.rows import TraceReadOptions, TraceRows
from comptroller.work.tabular import json_numbers, open_text
from comptroller.work.trace_columns import TraceColumnNames, unused_note
from comptroller.work.trace_table import column_reader, leaves, names_of_head
from comptroller.work.turns import TEXT_BLOCK_TOKENS, ConversationTurn, rows_of_turns

TABLE = column_reader(
    "llmservingsim",
    "JSON lines or tabs with input_toks, output_toks, arrival_time_ns, or with sub_requests",
    TraceColumnNames(arrival="arrival_time_ns", input="input_toks", output="output_toks", unit="ns"),
)
CALLS = "sub_requests"
USED = ("session_id", "arrival_time_ns", "input_toks", "output_toks", "input_tok_ids", "output_tok_ids", CALLS)


class TokenBlockNumbering:
    """Numbers blocks of token ids: two have one number if they and all before them are equal."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.numbers: dict[tuple[int, ...], int] = {}

    def __call__(self, ids: Sequence[int]) -> tuple[int, ...]:
        """Numbers of the blocks of a prompt, the last one begun.

        >>> number = TokenBlockNumbering(2)
        >>> number([1, 2, 3]), number([1, 2, 4, 5]), number([2, 3])
        ((0, 1), (0, 2), (3,))
        """
        blocks: list[int] = []
        before = -1
        for start in range(0, len(ids), self.size):
            key = (before, *ids[start : start + self.size])
            before = self.numbers.setdefault(key, len(self.numbers))
            blocks.append(before)
        return tuple(blocks)


def _recognises(path: Path, head: str) -> bool:
    return TABLE.recognises(path, head) or (not path.is_dir() and {"arrival_time_ns", CALLS} <= names_of_head(head))


def _turns(line: int, record: Mapping[str, Any], number: TokenBlockNumbering) -> Iterator[ConversationTurn]:
    calls = record.get(CALLS, [record])
    start_s, delay_s = float(json_numbers([record.get("arrival_time_ns")])[0]) / 1e9, 0.0
    for call in (item for item in calls if isinstance(item, dict)):
        counts = (call.get("input_toks"), call.get("output_toks"), call.get("tool_duration_ns", 0))
        tokens, reply, tool_ns = json_numbers(counts)
        ids = call.get("input_tok_ids")
        hashes = number(ids) if isinstance(ids, list) and len(ids) == tokens else ()
        yield ConversationTurn(line, float(tokens), float(reply), start_s, delay_s, hashes)
        start_s, delay_s = math.nan, float(tool_ns) / 1e9


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    with open_text(path) as file:
        is_table = not file.readline().lstrip().startswith("{")
    if is_table or reading.columns.by_role:
        return TABLE.read(path, reading, rng)
    number = TokenBlockNumbering(reading.columns.block_tokens or TEXT_BLOCK_TOKENS)
    lines, records = objects(path)
    read = [(CALLS in record, list(_turns(line, record, number))) for line, record in zip(lines, records, strict=True)]
    rows = rows_of_turns(path, read, number.size, reading, rng)
    keys = dict.fromkeys(name for record in records for name in leaves(record))
    return replace(rows, notes=(*rows.notes, *unused_note(path.name, keys, USED)))


READER = replace(TABLE, recognises=_recognises, read=_read)

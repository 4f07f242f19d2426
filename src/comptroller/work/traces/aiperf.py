"""Datasets of AIPerf with several turns (github.com/ai-dynamo/aiperf, Apache-2.0).

Two forms: a trace of Mooncake's kind with a `session_id`, one line a turn, whose later turns have a `delay` in ms after
the reply before; and conversations of texts (`turns` of `text`, `output_length`, `delay` or `timestamp`). Turns hold
new tokens only; AIPerf sends the turns before and their replies with each (docs/reference/conversation-context-mode.md,
`deltas_without_responses`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import FactError
from comptroller.work.documents import objects
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.tabular import json_numbers
from comptroller.work.trace_columns import unused_note
from comptroller.work.trace_table import leaves, names_of_head
from comptroller.work.traces.mooncake import BLOCK_TOKENS
from comptroller.work.turns import (
    ESTIMATE_NOTE,
    GROWN_NOTE,
    TEXT_BLOCK_TOKENS,
    ConversationTurn,
    rows_of_turns,
    tokens_of_text,
    with_history,
)

TURNS = "turns"
USED = ("session_id", "input_length", "output_length", "hash_ids", "timestamp", "delay", TURNS)


def _recognises(path: Path, head: str) -> bool:
    names = set() if path.is_dir() else names_of_head(head)
    return {"session_id", TURNS} <= names or {"session_id", "input_length", "output_length"} <= names


def _number(record: Mapping[str, Any], key: str) -> float:
    return float(json_numbers([record.get(key)])[0])


def _turn(line: int, record: Mapping[str, Any], block_tokens: int) -> ConversationTurn:
    """A turn of either form: its length is stated, or estimated from its text."""
    text, hashes = record.get("text"), record.get("hash_ids") or []
    tokens = _number(record, "input_length") if text is None else float(tokens_of_text(str(text)))
    fault = ""
    if not isinstance(hashes, list) or not all(type(block) is int and abs(block) < 2**63 for block in hashes):
        hashes, fault = [], "hash_ids is not a list of whole numbers"
    elif hashes and abs(len(hashes) * block_tokens - tokens) >= block_tokens:
        fault = f"hash_ids covers {len(hashes) * block_tokens} tokens, input_length is {tokens:g}"
    return ConversationTurn(
        line,
        tokens,
        _number(record, "output_length"),
        start_s=_number(record, "timestamp") / 1e3,
        delay_s=0.0 if record.get("delay") is None else _number(record, "delay") / 1e3,
        hashes=tuple(hashes),
        fault=fault,
    )


def _texts(line: int, record: Mapping[str, Any]) -> Iterator[ConversationTurn]:
    """The turns of a conversation of texts; a leading system prompt belongs to the first one's prompt."""
    turns = [turn for turn in record[TURNS] if isinstance(turn, dict)]
    system = 0
    if turns and turns[0].get("role") == "system":
        system = tokens_of_text(str(turns.pop(0).get("text")))
    for place, turn in enumerate(turns):
        read = _turn(line, turn, TEXT_BLOCK_TOKENS)
        yield replace(read, input_tokens=read.input_tokens + system) if place == 0 else read


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    lines, records = objects(path)
    texts = any(isinstance(record.get(TURNS), list) for record in records)
    if any("messages" in record for record in records):
        raise FactError(path.name, "messages", "whole conversations without token counts", "input_length or turns")
    block_tokens = reading.columns.block_tokens or (TEXT_BLOCK_TOKENS if texts else BLOCK_TOKENS)
    sessions: dict[object, list[ConversationTurn]] = {}
    for line, record in zip(lines, records, strict=True):
        own = _texts(line, record) if texts else iter([_turn(line, record, block_tokens)])
        sessions.setdefault(str(record.get("session_id", f"line {line}")), []).extend(own)
    if texts and all(math.isnan(turn.output_tokens) for turns in sessions.values() for turn in turns):
        raise FactError(path.name, "output_length", "no turn has one: the length of replies is unknown", "one per turn")
    grown = with_history(list(sessions.values()), block_tokens)
    rows = rows_of_turns(path, [(True, turns) for turns in grown], block_tokens, reading, rng)
    keys = dict.fromkeys(name for record in records for name in leaves(record))
    notes = (*rows.notes, GROWN_NOTE, *unused_note(path.name, keys, USED))
    return replace(rows, notes=(*notes, ESTIMATE_NOTE) if texts else notes)


READER = TraceReader(
    "aiperf", "JSON lines with session_id and input_length, output_length, or session_id and turns", _recognises, _read
)

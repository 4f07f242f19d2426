"""ShareGPT conversations: a JSON list of objects with `conversations`, each of messages with `from` and `value`.

A request is a reply (`gpt`) with all messages before it as its prompt. The files have texts alone: tokens are
estimated, and the workload gives the rate.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.work.documents import objects
from comptroller.work.rows import TraceReader, TraceReadOptions, TraceRows
from comptroller.work.trace_table import KEY
from comptroller.work.turns import (
    ESTIMATE_NOTE,
    TEXT_BLOCK_TOKENS,
    ConversationTurn,
    rows_of_turns,
    tokens_of_text,
    with_history,
)

MESSAGES = "conversations"
REPLIES = ("gpt", "assistant", "chatgpt", "model")
"""Who replies; the user, the system and tools are parts of prompts."""


def _recognises(path: Path, head: str) -> bool:
    return head.lstrip()[:1] in ("{", "[") and {MESSAGES, "from", "value"} <= set(KEY.findall(head))


def _turns(line: int, messages: Sequence[Any]) -> Iterator[ConversationTurn]:
    """One turn for each reply; of messages that no reply follows there is none."""
    asked = 0
    for message in messages:
        text = message.get("value") if isinstance(message, dict) else None
        if not isinstance(text, str):
            yield ConversationTurn(line, 1.0, 1.0, fault="a message has no text in `value`")
            return
        if message.get("from") in REPLIES and asked:
            yield ConversationTurn(line, float(asked), float(tokens_of_text(text)))
            asked = 0
        else:
            asked += tokens_of_text(text)


def _read(path: Path, reading: TraceReadOptions, rng: np.random.Generator) -> TraceRows:
    lines, records = objects(path)
    block_tokens = reading.columns.block_tokens or TEXT_BLOCK_TOKENS
    turns = [list(_turns(line, record.get(MESSAGES) or [])) for line, record in zip(lines, records, strict=True)]
    grown = with_history([own for own in turns if own], block_tokens)
    rows = rows_of_turns(path, [(True, own) for own in grown], block_tokens, reading, rng)
    return replace(rows, notes=(*rows.notes, ESTIMATE_NOTE))


READER = TraceReader("sharegpt", "JSON list of objects with conversations of from, value", _recognises, _read)

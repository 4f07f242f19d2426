"""Conversations as traces: turns whose prompts hold what was said before, and whose times may hang on replies."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from comptroller.quantities import BYTES_PER_TOKEN
from comptroller.work.rows import TraceReadOptions, TraceRows
from comptroller.work.trace import NO_SESSION, TracePrefixBlocks
from comptroller.work.trace_table import prefix_blocks, with_random_arrivals
from comptroller.work.trace_tasks import NO_PARENT, TraceTasks

TEXT_BLOCK_TOKENS = 16
"""Tokens of a prefix block of a conversation whose file names none: vLLM's block. At twice it a turn finds up to 16
tokens less of the turns before it in a cache."""

ESTIMATE_NOTE = f"tokens are bytes of text over {BYTES_PER_TOKEN}: the file has no counts and no tokenizer was run"
GROWN_NOTE = "prompts hold the turns before them and their replies; the file has the new tokens of each turn"


@dataclass(frozen=True, slots=True)
class ConversationTurn:
    """A turn: its line, tokens of its prompt and reply, and when it starts.

    start_s: NaN if it comes delay_s after the reply to the turn before.  hashes: of its prompt's prefix blocks.  fault:
    what is wrong with it.
    """

    line: int
    input_tokens: float
    output_tokens: float
    start_s: float = math.nan
    delay_s: float = 0.0
    hashes: tuple[int, ...] = ()
    fault: str = ""


Turns = Sequence[ConversationTurn]


def tokens_of_text(text: str) -> int:
    """Tokens of a text by its bytes.

    >>> tokens_of_text("What is machine learning?")
    7
    """
    return max(math.ceil(len(text.encode()) / BYTES_PER_TOKEN), 1)


def with_history(conversations: Sequence[Turns], block_tokens: int) -> list[list[ConversationTurn]]:
    """Turns that hold new tokens only, as turns whose prompts hold all that was said before.

    Their prefix blocks are those of the first turn's hashes; what follows is the conversation's own, the same for all
    its later turns.

    >>> first, second = ConversationTurn(1, 32, 10, hashes=(7, 8)), ConversationTurn(2, 6, 4)
    >>> [(turn.input_tokens, turn.hashes) for turn in with_history([[first, second]], 16)[0]]
    [(32.0, (7, 8)), (48.0, (7, 8, 9))]
    """
    fresh = 1 + max((block for turns in conversations for turn in turns for block in turn.hashes), default=-1)
    grown = []
    for turns in conversations:
        known = turns[0].hashes[: _blocks(turns[0].input_tokens, block_tokens, math.floor)] if turns else ()
        prompts = list(_prompts(turns))
        count = _blocks(max(prompts, default=0.0), block_tokens, math.ceil)
        hashes = (*known, *range(fresh, fresh + max(count - len(known), 0)))
        fresh += count
        grown.append(
            [
                replace(turn, input_tokens=tokens, hashes=hashes[: _blocks(tokens, block_tokens, math.ceil)])
                for turn, tokens in zip(turns, prompts, strict=True)
            ]
        )
    return grown


def _blocks(tokens: float, size: int, whole: Callable[[float], int]) -> int:
    return whole(tokens / size) if math.isfinite(tokens) else 0


def _prompts(turns: Turns) -> Iterator[float]:
    before = 0.0
    for turn in turns:
        yield before + turn.input_tokens
        before += turn.input_tokens + turn.output_tokens


def _starts(turns: Turns) -> Iterator[float]:
    """Start of each turn in s: as stated, or its delay after the turn before, whose reply takes no time."""
    now = math.nan
    for turn in turns:
        now = now + turn.delay_s if math.isnan(turn.start_s) else turn.start_s
        yield now


def rows_of_turns(
    path: Path,
    conversations: Sequence[tuple[bool, Turns]],
    block_tokens: int,
    reading: TraceReadOptions,
    rng: np.random.Generator,
) -> TraceRows:
    """The turns of conversations as rows; of those with True the turns are one session.

    Raises:
        FactError: no conversation says when it starts, and the options give no rate.
    """
    turns = [turn for _, own in conversations for turn in own]
    numbers = [number if joint else NO_SESSION for number, (joint, own) in enumerate(conversations) for _ in own]
    starts = np.array([start for _, own in conversations for start in _starts(own)], np.float64)
    after = [place > 0 and math.isnan(turn.start_s) for _, own in conversations for place, turn in enumerate(own)]
    parent = np.where(after, np.arange(len(turns)) - 1, NO_PARENT)
    waits = f"{sum(after)} turns come their delay after the reply to the turn before, in a simulation"
    rows = TraceRows(
        np.array([turn.line for turn in turns], np.int64),
        starts,
        np.array([turn.input_tokens for turn in turns], np.float64),
        np.array([turn.output_tokens for turn in turns], np.float64),
        problems={place: turn.fault for place, turn in enumerate(turns) if turn.fault},
        blocks=_blocks_of(turns, block_tokens),
        session=np.array(numbers, np.int64),
        in_file_order=False,
        tasks=TraceTasks.of(parent, np.where(after, [turn.delay_s for turn in turns], 0.0)) if any(after) else None,
    )
    if np.isfinite(starts).any():
        return replace(rows, notes=(waits,) if any(after) else ())
    return with_random_arrivals(rows, path, reading, rng)


def _blocks_of(turns: Turns, block_tokens: int) -> TracePrefixBlocks | None:
    return prefix_blocks([() if turn.fault else turn.hashes for turn in turns], block_tokens)

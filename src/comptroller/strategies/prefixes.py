"""Shared prompt prefixes of the calls on one question, in tokens: what a prefix cache can reuse."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.strategies.protocol import Ask, Reply

Floats = npt.NDArray[np.float64]


class CallTokenCounts(NamedTuple):
    """Tokens of a call. kept: output tokens that a later turn reads again; 0 where the model reasoned, since chat
    templates leave earlier reasoning out."""

    prompt: float
    kept: float

    @classmethod
    def of(cls, reply: Reply) -> CallTokenCounts:
        """Prompt tokens of a reply and the output tokens that stay in the conversation."""
        tokens = reply.cost.tokens
        return cls(
            float(tokens.input + tokens.cached + tokens.cache_write),
            0.0 if tokens.reasoning > 0 else float(tokens.output),
        )


class QuestionPrefixIndex:
    """Prompts of the calls on one question, in the order of asking.

    Identical asks of the same player share their whole prompt. A call that continues a reply of the same player shares
    that call's prompt and kept output if its own prompt is long enough to hold both, else that prompt if it is long
    enough for it, else nothing.
    """

    def __init__(self) -> None:
        self._first_alike: dict[tuple[Hashable, Reply | None, str, str], Ask] = {}
        self._calls: dict[Ask, tuple[Hashable, CallTokenCounts]] = {}

    def copy(self) -> QuestionPrefixIndex:
        """The same calls, for another run that goes on from them."""
        other = QuestionPrefixIndex()
        other._first_alike, other._calls = dict(self._first_alike), dict(self._calls)
        return other

    def add(self, ask: Ask, player: Hashable, text: CallTokenCounts) -> tuple[Ask | None, float]:
        """Adds a call; returns the earlier call whose text its prompt begins with, if any, and the shared tokens."""
        first = self._first_alike.setdefault((player, ask.after, ask.content, ask.effort), ask)
        self._calls[ask] = player, text
        if first is not ask:
            return first, min(text.prompt, self._calls[first][1].prompt)
        reply = ask.after
        while reply is not None:
            earlier = self._calls.get(reply.ask)
            if earlier and earlier[0] == player:
                read, made = earlier[1].prompt, earlier[1].prompt + earlier[1].kept
                common = made if text.prompt >= made else read if text.prompt >= read else 0.0
                return (reply.ask, common) if common else (None, 0.0)
            reply = reply.ask.after
        return None, 0.0

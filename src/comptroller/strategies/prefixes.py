"""What the calls on one question have in common: where a prompt begins with text that was computed before."""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.strategies.protocol import Ask, Reply

Floats = npt.NDArray[np.float64]


class CallTokenCounts(NamedTuple):
    """Tokens of a call. kept: of its output that a later turn reads again, none of it where the model reasoned: chat
    templates leave earlier thinking out."""

    prompt: float
    kept: float

    @classmethod
    def of(cls, reply: Reply) -> CallTokenCounts:
        """What a reply read and what stays of what it made."""
        tokens = reply.cost.tokens
        return cls(
            float(tokens.input + tokens.cached + tokens.cache_write),
            0.0 if tokens.reasoning > 0 else float(tokens.output),
        )


class QuestionPrefixIndex:
    """The calls on one question, in the order of asking.

    Calls of the same player that ask the same have their whole prompt in common. One that goes on from a reply of the
    same player begins with what that one read and made, where its own prompt is long enough to hold it; with what it
    read, where it is long enough for that.
    """

    def __init__(self) -> None:
        self._alike: dict[tuple[Hashable, Reply | None, str, str], Ask] = {}
        self._known: dict[Ask, tuple[Hashable, CallTokenCounts]] = {}

    def add(self, ask: Ask, player: Hashable, text: CallTokenCounts) -> tuple[Ask | None, float]:
        """The earlier call whose text a call's prompt begins with, and how many tokens of it are the same."""
        first = self._alike.setdefault((player, ask.after, ask.content, ask.effort), ask)
        self._known[ask] = player, text
        if first is not ask:
            return first, min(text.prompt, self._known[first][1].prompt)
        reply = ask.after
        while reply is not None:
            known = self._known.get(reply.ask)
            if known and known[0] == player:
                read, made = known[1].prompt, known[1].prompt + known[1].kept
                common = made if text.prompt >= made else read if text.prompt >= read else 0.0
                return (reply.ask, common) if common else (None, 0.0)
            reply = reply.ask.after
        return None, 0.0


def whole_blocks(common: Floats, prompt: Floats, block: int) -> Floats:
    """Tokens that a cache of whole blocks spares of prompts; an engine computes at least the last token itself.

    >>> whole_blocks(np.array([400.0, 407.0, 0.0]), np.array([400.0, 500.0, 0.0]), 16).tolist()
    [384.0, 400.0, 0.0]
    """
    return np.asarray(np.maximum(np.minimum(common, prompt - 1.0), 0.0) // block * block)

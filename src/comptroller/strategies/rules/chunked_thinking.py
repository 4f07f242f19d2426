"""Chunked thinking: long thoughts in chunks, each of which sees the question and the end of the chunk before.

Aghajohari et al., The Markovian Thinker (Delethink), arXiv 2510.06557: thinking contexts of C tokens; at a chunk's end
the context is reset to the question and the last m tokens, and C - m further ones are made, for at most I chunks. The
cost of attention grows with the length of thought, not with its square. m = C / 2 as in the source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Ask, CarriedTail, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import first


def tail_of(reply: Reply, tokens: int) -> str:
    """The end of a reply's text: so many of its tokens, by characters, from the next word on.

    >>> from comptroller.quantities import Cost, TokenCounts
    >>> made = Reply(Ask(), "length", "one two three four", cost=Cost(tokens=TokenCounts(output=4.0)))
    >>> tail_of(made, 2)
    'four'
    """
    made = float(reply.cost.tokens.output + reply.cost.tokens.reasoning)
    if not made > tokens:
        return reply.content
    kept = reply.content[len(reply.content) - round(len(reply.content) * tokens / made) :]
    return kept if " " not in kept or reply.content.endswith(" " + kept) else kept[kept.index(" ") + 1 :]


@dataclass(frozen=True, slots=True)
class ChunkedThinkingStrategy:
    """chunk: tokens of a thinking context.  carry: share of them carried over.  chunks: most of them."""

    # both double; the source compares C of 2K, 4K and 8K
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"chunk": (512, 2048, 8192), "chunks": (3, 5)}
    uses: ClassVar[tuple[str, ...]] = ("continuation",)
    chunk: int = 2048
    carry: float = 0.5
    # 8K and then 4K four times are the 24K of the source
    chunks: int = 5

    def __post_init__(self) -> None:
        at_least(2, chunk=self.chunk)
        at_least(1, chunks=self.chunks)
        between(0, 0.9, carry=self.carry)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks chunk by chunk until one ends by itself."""
        carried = round(self.chunk * self.carry)
        (reply,) = yield All(Ask(content=question.content, max_tokens=self.chunk))
        last = reply
        for _ in range(self.chunks - 1):
            if reply.finish != "length":
                break
            tail = CarriedTail(tail_of(reply, carried))
            (reply,) = yield All(Ask(after=reply, content=tail, max_tokens=self.chunk - carried))
            last = reply if reply.ended else last
        return first([last])

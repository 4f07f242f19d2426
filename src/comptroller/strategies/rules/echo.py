"""Echoic prompting: in the middle of a thought the question is put before the model once more.

Hao et al., Echoes as Anchors, arXiv 2602.06600: models that repeat the question at the head of their thoughts attend to
it later; echoic prompting re-grounds a thought midway without training. After `first` tokens the model's own turn goes
on with the question's text, then with its thought. The answer is a vote of n such chains.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Ask, AssistantPrefill, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import vote

ECHO = "\n\nThe question once more: {question}\n\n"


@dataclass(frozen=True, slots=True)
class EchoStrategy:
    """n: chains.  first: tokens of thought before the echo.  max_tokens: after it, 0 for no limit."""

    # doubling, see sample_and_vote
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (1, 2, 4), "first": (64, 256)}
    uses: ClassVar[tuple[str, ...]] = ("continuation",)
    n: int = 1
    first: int = 256
    max_tokens: int = 0

    def __post_init__(self) -> None:
        at_least(1, n=self.n, first=self.first)
        at_least(0, max_tokens=self.max_tokens)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for the heads of all chains, then echoes in those that did not end by themselves."""
        heads = yield All(*Ask(content=question.content, max_tokens=self.first).times(self.n))
        again = AssistantPrefill(ECHO.format(question=question.content))
        open_heads = [reply for reply in heads if reply.finish == "length"]
        rest = yield All(*(Ask(after=reply, content=again, max_tokens=self.max_tokens or None) for reply in open_heads))
        return vote([*(reply for reply in heads if reply.finish == "stop"), *rest, *open_heads])

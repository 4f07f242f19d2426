"""Sleep-time compute: notes on a context are generated before queries arrive, and each query is answered from them.

Lin et al., Sleep-time Compute, arXiv 2504.13171: cost per query = (T_sleep + t sum_j T_test,j) / queries, with
test-time tokens priced t times those of idle hours. The notes are made once per context by the `offline` strategy,
whose reply arrives as `question.prepared`; a query that comes before they are ready is answered from the context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import vote

PROMPT = (
    "Questions about the text above will come later. Work out now what they may need: write down the facts, the "
    "conclusions that follow from them, sums and comparisons with their results, and answers to the questions that are "
    "most likely to be asked. Write notes, not prose; leave out what the text does not support."
)
"""What the role `sleeper` is asked about a context, here and by the gateway."""


@dataclass(frozen=True, slots=True)
class ContextNotesStrategy:
    """The offline strategy: notes on a context, whose reply the queries continue. max_tokens: of the notes."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    max_tokens: int | None = None

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks the role `sleeper` once about the context."""
        content = f"{question.context}\n\n{PROMPT}"
        (reply,) = yield All(Ask("sleeper", content=content, max_tokens=self.max_tokens))
        return Answer.of(reply if reply.ended else None)


@dataclass(frozen=True, slots=True)
class SleepTimeStrategy:
    """n: samples per query after the notes.  notes_tokens: most tokens of notes, 0 for no limit."""

    # doubling, see sample_and_vote
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (1, 2, 4)}
    reads: ClassVar[tuple[str, ...]] = ("context",)
    n: int = 1
    notes_tokens: int = 0

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        at_least(0, notes_tokens=self.notes_tokens)

    @property
    def offline(self) -> ContextNotesStrategy:
        """The strategy to run once per context, before its queries arrive."""
        return ContextNotesStrategy(self.notes_tokens or None)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for samples that continue the notes, or the context where there are none yet, and votes."""
        notes = question.prepared
        text = f"{question.context}\n\n{question.content}" if question.context and notes is None else question.content
        replies = yield All(*Ask(after=notes, content=text).times(self.n))
        return vote(replies)

"""Budgeted memory: what a context holds about a question is written down in the tier it needs, and read instead.

BudgetMem, Zhang et al., arXiv 2602.06025: memory is made when a question comes, by modules in low, mid and high budget
tiers, which a router chooses by the question. Here the tiers are tokens of notes that the role `memory` writes about
the question from its context (0: the text itself is read), and the router is the predicted difficulty of the question;
the source trains one by reinforcement, which no public run records. Live the context is what the request names, or the
turns before the last; to write the notes it is read once, so that one answer by the same model never takes fewer
tokens: what saves is several answers (`n`), or a cheap model as `memory` beside a dear one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import GREEDY, All, Ask, FreshPrompt, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.success_prediction import success_predictor, text_signals
from comptroller.strategies.votes import vote

PROMPT = "{context}\n\n{question} Copy the sentences of the text above that say it."
"""Asked for the notes. Copying keeps figures as they are: of a model of 135 million parameters asked to write down what
helps, fewer answers from its notes were right."""


@dataclass(frozen=True, slots=True)
class BudgetMemoryStrategy:
    """tiers: tokens of notes, low to high.  levels: difficulties from which the next tier is used, one less than tiers.

    by: success predictor.  n: samples of the answer.
    """

    # from a sentence to a page
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"tiers": ((32, 96, 256), (64, 64, 64)), "n": (1, 2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("passage", "memory", "continuation")
    tiers: tuple[int, ...] = (32, 96, 256)
    # the thirds of the shipped predictor on MMLU, see difficulty_gate
    levels: tuple[float, ...] = (0.3, 0.4)
    by: str = "question_text"
    n: int = 1

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        success_predictor(self.by)
        if len(self.levels) != len(self.tiers) - 1 or sorted(self.levels) != list(self.levels) or min(self.tiers) < 0:
            raise InputError(f"budget_memory: rising levels, one fewer than tiers, not {self.levels}, {self.tiers}")

    def tier(self, text: str) -> int:
        """Tokens of notes for a question."""
        hard = 1 - success_predictor(self.by).chance(text_signals(text))
        return self.tiers[sum(hard > level for level in self.levels)]

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for the notes, then for answers that read the notes alone, and votes; without a context for answers."""
        text, limit = question.content, self.tier(question.content)
        whole = f"{question.context}\n\n{text}" if question.context else text
        if not limit or not question.context:
            return vote((yield All(*Ask(content=whole).times(self.n))))
        prompt = PROMPT.format(context=question.context, question=text)
        (notes,) = yield All(Ask("memory", content=prompt, max_tokens=limit, sampling=GREEDY))
        if not notes.ended:
            return vote((yield All(*Ask(content=whole).times(self.n))))
        fresh = FreshPrompt(f"{notes.content}\n\n{text}")
        return vote((yield All(*Ask(after=notes, content=fresh).times(self.n))))

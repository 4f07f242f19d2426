"""Difficulty gate: a fast strategy for easy questions and a slow one for hard ones.

SCALE, arXiv 2512.00466 (slow thinking if a difficulty score in [0, 1] exceeds a threshold), and ODAR, arXiv
2602.23681 (a learned estimator routes between a fast and a slow agent). Here the difficulty is 1 - p of a
success predictor over the question's text, or the score of a role that is asked (`judge`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import between
from comptroller.strategies.protocol import All, Ask, QuestionBudget, Run, Strategy, StrategyQuestion
from comptroller.strategies.rules.once import OnceStrategy
from comptroller.strategies.rules.sample_and_vote import SampleAndVoteStrategy
from comptroller.strategies.success_prediction import success_predictor, text_signals

PROMPT = "How hard is this question? Answer with a number from 0 (routine) to 1 (very hard).\n\n"


FAST, SLOW = OnceStrategy(), SampleAndVoteStrategy()
"""Defaults of the two strategies."""


@dataclass(frozen=True, slots=True)
class DifficultyGateStrategy:
    """fast, slow: any strategies.  threshold: difficulty in [0, 1] above which `slow` is used.  by: success predictor.

    judge: role whose score is the difficulty instead; `slow` is used if it gives none.
    """

    # on MMLU the shipped predictor sends 99.5 % of the questions to `slow` at 0.1, 28 % at 0.4, 1.4 % at 0.7 (measured)
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"threshold": (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)}
    fast: Strategy = FAST
    slow: Strategy = SLOW
    threshold: float = 0.4
    by: str = "question_text"
    judge: str = ""

    def __post_init__(self) -> None:
        between(0, 1, threshold=self.threshold)
        success_predictor(self.by)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Determines the difficulty, then runs one of the two strategies."""
        if self.judge:
            (judged,) = yield All(Ask(self.judge, content=PROMPT + question.content))
            easy = judged.score <= self.threshold
        else:
            easy = self.is_easy(question.content)
        return (yield from (self.fast if easy else self.slow).solve(question, budget, rng))

    def is_easy(self, text: str) -> bool:
        """Whether the predicted difficulty of a question is within the threshold."""
        return 1 - success_predictor(self.by).chance(text_signals(text)) <= self.threshold

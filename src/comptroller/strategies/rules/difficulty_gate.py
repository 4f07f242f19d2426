"""Difficulty gate: think fast about easy questions and slowly about hard ones.

SCALE, arXiv 2512.00466 (slow thinking if a difficulty score in [0, 1] exceeds a threshold), and ODAR, arXiv
2602.23681 (a learned estimator routes between a fast and a slow agent). Here the score is either a trained part
over the question's text, the chance that the fast way succeeds, or a role that is asked (`judge`).
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


@dataclass(frozen=True, slots=True)
class DifficultyGateStrategy:
    """fast, slow: any strategies.  threshold: difficulty above which it is slow.  by: the trained part.

    judge: a role to ask for the difficulty instead, its score; a judge that does not answer leaves it slow.
    """

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
        """The difficulty, then one of the two."""
        if self.judge:
            (judged,) = yield All(Ask(self.judge, content=PROMPT + question.content))
            difficulty = judged.score
        else:
            difficulty = 1 - success_predictor(self.by).chance(text_signals(question.content))
        chosen = self.fast if difficulty <= self.threshold else self.slow
        return (yield from chosen.solve(question, budget, rng))

"""Repair: answer, check, and revise with the checker's feedback until it accepts.

Self-Refine, Madaan et al., arXiv 2303.17651, with the feedback of a checker instead of the model's own: tests, a
schema, a solver. Unlike revision without a checker, it stops as soon as an answer is accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, first

PROMPT = "The check above found this answer wrong. Correct it and give the final answer."


@dataclass(frozen=True, slots=True)
class RepairStrategy:
    """rounds: most repairs.  accept: least score of an accepting check.  checker: the role that checks."""

    # doubling; every round costs a check and a revision, and rounds without records are left out of a study
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"rounds": (1, 2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("reviser",)
    rounds: int = 2
    # a modelled verdict is 0 or 1, so every value in (0, 1] decides alike
    accept: float = 0.5
    checker: str = "checker"

    def __post_init__(self) -> None:
        at_least(0, rounds=self.rounds)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Runs one chain: answer, check, repair, check. The last answer has confidence 0 if none is accepted."""
        (reply,) = yield All(Ask(content=question.content))
        last = first([reply]).sure(0.0)
        for turn in range(self.rounds + 1):
            if not candidates([reply]):
                break
            last = Answer.of(reply, 0.0)
            (check,) = yield All(Ask(self.checker, after=reply))
            if check.score >= self.accept:
                return last.sure(check.score)
            if check.finish == "budget" or turn == self.rounds:
                break
            (reply,) = yield All(Ask("reviser", after=check, content=PROMPT))
        return last

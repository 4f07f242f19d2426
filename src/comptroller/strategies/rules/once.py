"""Once: one greedy answer. The baseline beside every other strategy, and most often the one to beat."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.protocol import GREEDY, SAMPLED, All, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import first


@dataclass(frozen=True, slots=True)
class OnceStrategy:
    """Asks once. greedy: at temperature 0, otherwise one sample.  effort: empty for its own.  role: who is asked."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    greedy: bool = True
    effort: str = ""
    role: str = "solver"

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """One ask; its reply is the answer."""
        how = GREEDY if self.greedy else SAMPLED
        return first((yield All(Ask(self.role, content=question.content, sampling=how, effort=self.effort))))

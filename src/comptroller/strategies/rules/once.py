"""Once: one greedy answer. The baseline of every comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.protocol import GREEDY, SAMPLED, All, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.sampled_runs import FirstChoice, SampledRun
from comptroller.strategies.votes import first


@dataclass(frozen=True, slots=True)
class OnceStrategy:
    """Asks once. greedy: temperature 0, else one sample.  effort: empty for the service's default.  role: to ask."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    greedy: bool = True
    effort: str = ""
    role: str = "solver"

    @property
    def closed_form(self) -> SampledRun:
        """One sample, whichever it is."""
        return SampledRun(1, FirstChoice(), self.role, self.effort, self.greedy)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks once and returns the reply as the answer."""
        sampling = GREEDY if self.greedy else SAMPLED
        return first((yield All(Ask(self.role, content=question.content, sampling=sampling, effort=self.effort))))

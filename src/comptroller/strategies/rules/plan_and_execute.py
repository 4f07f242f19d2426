"""Plan and execute: a plan in a few steps, then one turn a step that goes on from all before, and the answer.

Plan-and-Solve, Wang et al., arXiv 2305.04091, with the plan and its steps as calls of their own, as agents make them. A
model for plans and a cheaper one for steps are two roles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, first

PLAN = "\n\nBefore answering, write a plan of at most {steps} short steps."
STEP = "Carry out step {step} of the plan."
LAST = "Give the final answer."


@dataclass(frozen=True, slots=True)
class PlanAndExecuteStrategy:
    """steps: turns between the plan and the answer.  planner: the role that plans; the solver does the rest."""

    # doubling; the source's plans have about three steps
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"steps": (1, 2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("turn",)
    steps: int = 2
    planner: str = "solver"

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Plans, carries out the steps, answers; the last turn that has an answer counts."""
        (turn,) = yield All(Ask(self.planner, content=question.content + PLAN.format(steps=self.steps)))
        last = Answer()
        for step in range(1, self.steps + 2):
            if not turn.ended:
                break
            content = LAST if step > self.steps else STEP.format(step=step)
            (turn,) = yield All(Ask(after=turn, content=content))
            if candidates([turn]):
                last = Answer.of(turn)
        return last if last.reply else first([turn])

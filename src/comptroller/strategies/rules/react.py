"""ReAct: a turn of thought and action, a tool's observation, the next turn, until the tool accepts or the steps end.

Yao et al., arXiv 2210.03629. The tool is a role: what the gateway's checkers run (tests, a solver, a command) gives
an observation and a score; a turn whose result it accepts ends the run. With `swap_after` the role `strong` takes over
once so many observations in a row were no better than the best before: an event, and not a count of steps, moves the
run to the dear model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, first

PROMPT = "That was the observation. Think about what it says, then act again: give the next answer."


@dataclass(frozen=True, slots=True)
class ReactStrategy:
    """steps: most turns, the budget of steps.  accept: least score of an accepting observation.

    tool: the role that acts.  swap_after: observations in a row without progress, after which `strong` goes on; 0 for
    never.
    """

    # doubling; the source stops at 7 steps on questions of facts
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"steps": (2, 4, 8)}
    uses: ClassVar[tuple[str, ...]] = ("reviser",)
    steps: int = 4
    # a modelled observation is 0 or 1, so every value in (0, 1] decides alike
    accept: float = 0.5
    tool: str = "checker"
    swap_after: int = 0
    strong: str = "strong"

    def __post_init__(self) -> None:
        at_least(1, steps=self.steps)
        at_least(0, swap_after=self.swap_after)
        between(0, 1, accept=self.accept)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Runs one chain of turns and observations. The last answer has confidence 0 if none is accepted."""
        (turn,) = yield All(Ask(content=question.content))
        last, best, idle, swapped = Answer(), -1.0, 0, False
        for step in range(self.steps):
            if not candidates([turn]):
                return last if last.reply else first([turn])
            last = Answer.of(turn, 0.0)
            (seen,) = yield All(Ask(self.tool, after=turn))
            if seen.score >= self.accept:
                return last.sure(seen.score)
            if seen.finish != "stop" or step + 1 == self.steps:
                break
            idle = 0 if seen.score > best else idle + 1
            best = max(best, seen.score) if seen.score == seen.score else best
            swapped = swapped or 0 < self.swap_after <= idle
            (turn,) = yield All(Ask(self.strong if swapped else "reviser", after=seen, content=PROMPT))
        return last

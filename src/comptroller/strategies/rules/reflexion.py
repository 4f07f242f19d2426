"""Reflexion: a trial, its check, a reflection in words on what went wrong, and a new trial that begins with it.

Shinn et al., arXiv 2303.11366. Unlike a repair a new trial does not go on from the failed one: it sees the question and
the reflections, so that its prompt stays short and a wrong path is left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, first

PROMPT = "The check above found this answer wrong. Say in one or two sentences why, and what to do instead."


@dataclass(frozen=True, slots=True)
class ReflexionStrategy:
    """trials: most attempts.  memory: reflections that a trial begins with, the last ones.

    accept: least score of an accepting check.  checker: the role that checks.
    """

    # doubling; the source keeps one to three reflections
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"trials": (2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("reviser",)
    trials: int = 3
    memory: int = 3
    # a modelled verdict is 0 or 1, so every value in (0, 1] decides alike
    accept: float = 0.5
    checker: str = "checker"

    def __post_init__(self) -> None:
        at_least(1, trials=self.trials, memory=self.memory)
        between(0, 1, accept=self.accept)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Runs trials one after the other. The last answer has confidence 0 if none is accepted."""
        last, learned = Answer(), list[str]()
        for trial in range(self.trials):
            notes = "".join(f"\n\nLearned before: {note}" for note in learned[-self.memory :])
            (reply,) = yield All(Ask(content=question.content + notes))
            if not candidates([reply]):
                return last if last.reply else first([reply])
            last = Answer.of(reply, 0.0)
            (check,) = yield All(Ask(self.checker, after=reply))
            if check.score >= self.accept:
                return last.sure(check.score)
            if check.finish != "stop" or trial + 1 == self.trials:
                break
            (thought,) = yield All(Ask("reviser", after=check, content=PROMPT))
            if not thought.ended:
                break
            learned.append(thought.content)
        return last

"""Cascade on a verdict: models from the cheapest on, until a checker accepts an answer.

FrugalGPT's order (Chen et al., arXiv 2305.05176) with the verdict of a check (tests, a schema, a solver) in place of a
learned score: the next model is asked only where the answer before fails. The last model's answer is taken unchecked.
A check that accepts wrong answers costs share solved, one that refuses right ones costs money: `break_even_fpr` says
how many wrong answers it may accept before the dear model alone would solve as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.strategies.checked_runs import CheckedRun
from comptroller.strategies.checks import between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.votes import candidates


@dataclass(frozen=True, slots=True)
class VerdictCascadeStrategy:
    """roles: cheapest first.  accept: least score of an accepting check.  checker: the role that checks."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    roles: tuple[str, ...] = ("weak", "strong")
    # a modelled verdict is 0 or 1, so every value in (0, 1] decides alike
    accept: float = 0.5
    checker: str = "checker"

    def __post_init__(self) -> None:
        between(0, 1, accept=self.accept)
        if len(self.roles) < 2 or len(set(self.roles)) < len(self.roles) or self.checker in self.roles:
            raise InputError(
                f"verdict_cascade: roles must be two or more different ones beside {self.checker!r}, not {self.roles}"
            )

    @property
    def closed_form(self) -> CheckedRun:
        """One sample of each model and a modelled check."""
        return CheckedRun(self.roles, self.accept, self.checker)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks one model after the other; an accepted answer has the verdict for its confidence."""
        last = Answer()
        for role in self.roles:
            (reply,) = yield All(Ask(role, content=question.content))
            if reply.finish == "budget":
                break
            if not candidates([reply]):
                continue
            last = Answer.of(reply)
            if role == self.roles[-1]:
                break
            (check,) = yield All(Ask(self.checker, after=reply))
            if check.score >= self.accept:
                return last.sure(check.score)
            last = last.sure(0.0)
            if check.finish == "budget":
                break
        return last


def break_even_fpr(weak: npt.ArrayLike, strong: npt.ArrayLike, tpr: float) -> float:
    """The share of wrong answers that a check may accept before the strong model alone solves as much as the cascade.

    weak, strong: (questions,), scores of the two on the same questions.  tpr: share of right answers that it accepts.
    With t = tpr, b = P(weak right, strong wrong) and c = P(weak wrong, strong right) the cascade solves
    P(strong) + t b - f c at a false-accept rate of f, so f* = t b / c, at most 1 (above it no check is too lenient).

    Of ten questions the weak model alone solves one and the strong one alone two:

    >>> break_even_fpr([1, 1, 1, 1, 0, 0, 0, 0, 0, 0], [1, 1, 1, 0, 1, 1, 0, 0, 0, 0], 1.0)
    0.5
    """
    first, second = np.asarray(weak, float), np.asarray(strong, float)
    gained, lost = float((first * (1 - second)).mean()), float(((1 - first) * second).mean())
    return 1.0 if tpr * gained >= lost else tpr * gained / lost

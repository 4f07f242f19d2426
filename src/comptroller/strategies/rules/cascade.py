"""Cascade: models from the cheapest on, until a reply is trusted.

FrugalGPT, Chen et al., arXiv 2305.05176: accept the answer of model i if a learned score g(q, a_i) >= tau_i, else
ask the next. Here g is a trained part over signals of the replies (`success_predictor.reply_signals`: likelihood,
length, truncation, agreement of several samples), so that tau is a probability of being right; the last model is
always
accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.stages import run_stages
from comptroller.strategies.success_prediction import reply_signals, success_predictor
from comptroller.strategies.votes import candidates, vote


@dataclass(frozen=True, slots=True)
class CascadeLevel:
    """Samples of one role and their vote. by: the trained part that says how likely it is right; none if empty."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    role: str
    samples: int
    by: str

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """All samples at once, then the vote."""
        replies = yield All(*Ask(self.role, content=question.content).times(self.samples))
        if not candidates(replies):
            return Answer()
        best = vote(replies)
        return best.sure(success_predictor(self.by).chance(reply_signals(replies))) if self.by else best


@dataclass(frozen=True, slots=True)
class CascadeStrategy:
    """roles: cheapest first.  threshold: least chance of being right that is accepted.  samples: of each model.

    by: the trained part, an id or a path.
    """

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"threshold": (0.5, 0.6, 0.7, 0.8, 0.9), "samples": (1, 2, 4)}
    roles: tuple[str, ...] = ("weak", "strong")
    threshold: float = 0.7
    samples: int = 1
    by: str = "reply_length"

    def __post_init__(self) -> None:
        at_least(1, samples=self.samples)
        between(0, 1, threshold=self.threshold)
        if len(self.roles) < 2 or len(set(self.roles)) < len(self.roles):
            raise InputError(f"cascade: roles must be two or more different ones, not {self.roles}")
        success_predictor(self.by)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Level by level; what was answered before stands where a later level has nothing to say."""
        return (yield from run_stages(self, question, budget, rng))

    def stage(self, role: str) -> CascadeLevel:
        """The samples of a role, and how far they are trusted; the last role is not judged."""
        return CascadeLevel(role, self.samples, "" if role == self.roles[-1] else self.by)

    def following(self, question: StrategyQuestion, ended: Mapping[str, Answer]) -> str | None:
        """The next dearer role, until an answer is trusted."""
        if len(ended) == len(self.roles):
            return None
        trusted = ended and ended[self.roles[len(ended) - 1]].confidence >= self.threshold
        return None if trusted else self.roles[len(ended)]

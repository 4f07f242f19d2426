"""Cascade: models from the cheapest on, until a reply is trusted.

FrugalGPT, Chen et al., arXiv 2305.05176: accept the answer of model i if a learned score g(q, a_i) >= tau_i, else
ask the next. Here g is a trained part over signals of the replies (`learned.reply_signals`: likelihood, length,
truncation, agreement of several samples), so that tau is a probability of being right; the last model is always
accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import at_least, between
from comptroller.strategies.learned import learned, reply_signals
from comptroller.strategies.protocol import All, Answer, Ask, Budget, Question, Run
from comptroller.strategies.votes import candidates, vote


@dataclass(frozen=True, slots=True)
class Cascade:
    """roles: cheapest first.  threshold: least chance of being right that is accepted.  samples: of each model.

    by: the trained part, an id or a path.
    """

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {
        "threshold": (0.5, 0.6, 0.7, 0.8, 0.9),
        "samples": (1, 2, 4),
    }
    roles: tuple[str, ...] = ("weak", "strong")
    threshold: float = 0.7
    samples: int = 1
    by: str = "reply_length"

    def __post_init__(self) -> None:
        at_least(1, samples=self.samples)
        between(0, 1, threshold=self.threshold)
        if len(self.roles) < 2 or len(set(self.roles)) < len(self.roles):
            raise InputError(f"cascade: roles must be two or more different ones, not {self.roles}")
        learned(self.by)

    def solve(self, question: Question, budget: Budget, rng: np.random.Generator) -> Run:
        """Level by level; what was answered before stands where a later level has nothing to say."""
        best = Answer()
        for role in self.roles:
            replies = yield All(*Ask(role, content=question.content).times(self.samples))
            if not candidates(replies):
                continue
            best = vote(replies)
            if role != self.roles[-1]:
                best = best.sure(learned(self.by).chance(reply_signals(replies)))
                if best.confidence >= self.threshold:
                    break
        return best

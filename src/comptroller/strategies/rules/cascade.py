"""Cascade: models from the cheapest on, until the predicted chance that a reply is right suffices.

FrugalGPT, Chen et al., arXiv 2305.05176: accept the answer of model i if a learned score g(q, a_i) >= tau_i, else
ask the next. Here g is a success predictor over signals of the replies (`success_prediction.reply_signals`:
likelihood, length, truncation, agreement of several samples), so tau is a probability of being right. The last model is
always accepted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import at_least, between
from comptroller.strategies.predicted_stages import PredictedStage
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Run, StrategyQuestion
from comptroller.strategies.stage_runs import StagedRun
from comptroller.strategies.stages import run_stages
from comptroller.strategies.success_prediction import reply_signals, success_predictor
from comptroller.strategies.votes import candidates, vote


@dataclass(frozen=True, slots=True)
class CascadeLevel:
    """One stage: samples of a role and their vote. by: predictor that the vote is right; empty for none."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {}
    role: str
    samples: int
    by: str

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for all samples at once and votes; the confidence is the predicted chance."""
        replies = yield All(*Ask(self.role, content=question.content).times(self.samples))
        if not candidates(replies):
            return Answer()
        best = vote(replies)
        return best.sure(success_predictor(self.by).chance(reply_signals(replies))) if self.by else best


@dataclass(frozen=True, slots=True)
class CascadeStrategy:
    """roles: cheapest first.  threshold: least predicted chance of being right to accept.  samples: of each model.

    by: the success predictor, an id or a path.
    """

    # below 0.5 an answer more likely wrong than right would be accepted; of all recorded replies of the model that
    # `reply_length` was trained on, 0.5 accepts 99.7 %, 0.8 95 % and 0.9 51 % (measured)
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"threshold": (0.5, 0.6, 0.7, 0.8, 0.9), "samples": (1, 2, 4)}
    roles: tuple[str, ...] = ("weak", "strong")
    # the middle of the grid
    threshold: float = 0.7
    samples: int = 1
    by: str = "reply_length"

    def __post_init__(self) -> None:
        at_least(1, samples=self.samples)
        between(0, 1, threshold=self.threshold)
        if len(self.roles) < 2 or len(set(self.roles)) < len(self.roles):
            raise InputError(f"cascade: roles must be two or more different ones, not {self.roles}")
        success_predictor(self.by)

    @property
    def closed_form(self) -> StagedRun:
        """The votes of the models in turn, all but the last trusted by the predictor."""
        levels = map(self.stage, self.roles)
        return StagedRun(tuple((one.role, PredictedStage(one.samples, self.threshold, one.by)) for one in levels))

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Runs the levels in turn; returns the last answer that rests on a reply."""
        return (yield from run_stages(self, question, budget, rng))

    def stage(self, role: str) -> CascadeLevel:
        """The level of a role; the last role has no predictor."""
        return CascadeLevel(role, self.samples, "" if role == self.roles[-1] else self.by)

    def following(self, question: StrategyQuestion, ended: Mapping[str, Answer]) -> str | None:
        """The next dearer role, None once an answer reaches the threshold or all roles have answered."""
        if len(ended) == len(self.roles):
            return None
        trusted = ended and ended[self.roles[len(ended) - 1]].confidence >= self.threshold
        return None if trusted else self.roles[len(ended)]

"""Best of n: n samples, of which the one with the highest score is the answer.

Cobbe et al., Training Verifiers to Solve Math Word Problems, arXiv 2110.14168 (verifier ranking), and the
`best-of-N` of Large Language Monkeys, arXiv 2407.21787. By `score`: the score in the reply itself; by `likelihood`: the
mean log-probability of its tokens; by `reward`: the score that the role `reward` gives each sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.best_choices import BestChoice, RewardedChoice
from comptroller.strategies.checks import at_least, require_known
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.sampled_runs import SampledRun
from comptroller.strategies.votes import WEIGHTS, best, candidates

BY = ("score", "likelihood", "reward")
"""Sources of a sample's score."""


@dataclass(frozen=True, slots=True)
class BestOfNStrategy:
    """n: samples.  by: score, likelihood or reward.  effort: empty for the service's default."""

    # sizes double, see sample_and_vote
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (2, 4, 8, 16, 32, 64)}
    n: int = 8
    by: str = "score"
    effort: str = ""

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        require_known("score", self.by, BY)

    @property
    def nested(self) -> str:
        """The parameter whose smaller values are prefixes of a run: none where a reward role is asked."""
        return "" if self.by == "reward" else "n"

    @property
    def closed_form(self) -> SampledRun:
        """The best over choices of the samples."""
        choice = RewardedChoice("reward") if self.by == "reward" else BestChoice(self.by)
        return SampledRun(self.n, choice, effort=self.effort)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for all samples at once, then for their rewards if needed, and takes the best."""
        replies = yield All(*Ask(content=question.content, effort=self.effort).times(self.n))
        if self.by != "reward":
            return self.choose(replies)
        samples = candidates(replies)
        judged = yield All(*(Ask("reward", after=reply) for reply in samples))
        rewards = {reply.ask.after: reply.score for reply in judged if not isnan(reply.score)}
        return best(replies, lambda reply: rewards.get(reply, -inf))

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The reply of the greatest score or likelihood, where no reward role is asked."""
        return best(replies, WEIGHTS[self.by])

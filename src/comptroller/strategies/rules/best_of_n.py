"""Best of n: n samples, the one that something scores highest.

Cobbe et al., Training Verifiers to Solve Math Word Problems, arXiv 2110.14168 (verifier ranking), and the
`best-of-N` of Large Language Monkeys, arXiv 2407.21787. By `score`: what the replies already carry; by
`likelihood`: the mean log-probability of their tokens; by `reward`: a role is asked about every sample.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isnan
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, require_known
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import WEIGHTS, best, candidates

BY = ("score", "likelihood", "reward")


@dataclass(frozen=True, slots=True)
class BestOfNStrategy:
    """n: samples.  by: score, likelihood or reward.  effort: empty for the service's own."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (2, 4, 8, 16, 32, 64)}
    n: int = 8
    by: str = "score"
    effort: str = ""

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        require_known("score", self.by, BY)

    @property
    def nested(self) -> str:
        """The parameter whose smaller values are prefixes of a run: none where a role is asked."""
        return "" if self.by == "reward" else "n"

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """All samples at once, their rewards if need be, then the best."""
        replies = yield All(*Ask(content=question.content, effort=self.effort).times(self.n))
        if self.by != "reward":
            return self.choose(replies)
        given = candidates(replies)
        judged = yield All(*(Ask("reward", after=reply) for reply in given))
        rewards = {reply.ask.after: reply.score for reply in judged if not isnan(reply.score)}
        return best(given, lambda reply: rewards.get(reply, -inf))

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The reply of the greatest score or likelihood."""
        return best(replies, WEIGHTS[self.by])

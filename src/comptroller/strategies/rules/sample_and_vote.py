"""Sample and vote (self-consistency): n samples, the most frequent answer.

Wang et al., Self-Consistency Improves Chain of Thought Reasoning, arXiv 2203.11171: the answer maximising
sum_i w_i 1{a_i = a}; w_i = 1, or the length-normalised probability of sample i. The weight may
also be the reply's score. Samples without an answer do not vote.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, require_known
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.sampled_runs import SampledRun
from comptroller.strategies.vote_odds import VoteChoice
from comptroller.strategies.votes import WEIGHTS, vote


@dataclass(frozen=True, slots=True)
class SampleAndVoteStrategy:
    """n: samples.  weight: plain, score or likelihood.  effort: empty for the service's default."""

    # doubling: coverage grows about linearly in log n (arXiv 2407.21787), and one replay gives all sizes;
    # 128 would cost as many calls as all smaller ones together
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (2, 4, 8, 16, 32, 64)}
    reads: ClassVar[tuple[str, ...]] = ("answer",)
    nested: ClassVar[str] = "n"
    n: int = 8
    weight: str = "plain"
    effort: str = ""

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        require_known("weight", self.weight, WEIGHTS)

    @property
    def closed_form(self) -> SampledRun:
        """The vote over choices of the samples."""
        return SampledRun(self.n, VoteChoice(self.weight), effort=self.effort)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for all samples at once and votes."""
        replies = yield All(*Ask(content=question.content, effort=self.effort).times(self.n))
        return self.choose(replies)

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The answer of the greatest summed weight."""
        return vote(replies, WEIGHTS[self.weight])

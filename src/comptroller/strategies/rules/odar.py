"""ODAR: easy questions to a fast model, hard ones to both, whose answers are fused by their own certainty.

ODAR, arXiv 2602.23681: a learned estimate of difficulty chooses the fast agent, or the fast and the slow one; the
fused answer minimises -(mean log-likelihood) + lambda times the varentropy, the variance of the surprisal of its
tokens, which is the risk. Thresholds and lambda are not in the public text: both are parameters. Difficulty is 1 - p of
a success predictor over the question's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.success_prediction import success_predictor, text_signals
from comptroller.strategies.votes import candidates


def free_energy(logprobs: Sequence[float], risk: float) -> float:
    """Mean surprisal plus `risk` times its variance, in nats and nats squared.

    >>> free_energy([-1.0, -3.0], 0.5)
    2.5
    """
    values = np.asarray(logprobs, float)
    return float(-values.mean() + risk * values.var())


@dataclass(frozen=True, slots=True)
class OdarStrategy:
    """roles: the fast and the slow one.  samples: of each.  threshold: difficulty above which both are asked.

    by: success predictor.  risk: weight of the varentropy.
    """

    # as difficulty_gate; lambda from none to as much as the likelihood
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"threshold": (0.2, 0.4, 0.6), "risk": (0.0, 0.5, 1.0)}
    reads: ClassVar[tuple[str, ...]] = ("likelihood",)
    roles: tuple[str, ...] = ("fast", "slow")
    samples: int = 2
    threshold: float = 0.4
    by: str = "question_text"
    risk: float = 0.5

    def __post_init__(self) -> None:
        at_least(1, samples=self.samples)
        at_least(0, risk=self.risk)
        between(0, 1, threshold=self.threshold)
        success_predictor(self.by)
        if len(self.roles) != 2 or len(set(self.roles)) != 2:
            raise InputError(f"odar: roles are a fast and a slow one, not {self.roles}")

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks one or both, all samples at once, and fuses."""
        hard = 1 - success_predictor(self.by).chance(text_signals(question.content)) > self.threshold
        asked = self.roles if hard else self.roles[:1]
        replies = yield All(*(ask for role in asked for ask in Ask(role, content=question.content).times(self.samples)))
        return self.fused(candidates(replies))

    def fused(self, replies: Sequence[Reply]) -> Answer:
        """The reply of the least free energy, which is also the confidence, with its sign turned.

        Raises:
            UnsupportedError: a reply carries no log-probabilities.
        """
        if any(not reply.logprobs for reply in replies):
            raise UnsupportedError("a reply carries no log-probabilities, so its risk is unknown")
        energy = {reply: free_energy(reply.logprobs or (), self.risk) for reply in replies}
        best = min(energy, key=energy.__getitem__, default=None)
        return Answer.of(best, -energy[best]) if best else Answer()

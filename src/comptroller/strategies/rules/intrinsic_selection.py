"""Intrinsic selection: of n samples the one that is surest of its end, by its own log-probabilities.

Giannone et al., Intrinsic Selection and Particle Resampling, arXiv 2606.08850: candidates are ranked by length-adjusted
tail entropy, without a verifier. The entropy of a position is estimated by the surprisal of the token that was drawn
there; the tail are the last `tail` of the tokens. How the source adjusts for length is not at hand: here what a line in
the logarithm of length explains among the samples is taken off, so that no sample wins by being short.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.strategies.checks import at_least, between, require_known
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import PICKS, candidates

Floats = npt.NDArray[np.float64]

FEWEST = 3
"""Samples from which a line in length is fitted: two lie on one whatever they are."""


def tail_entropy(logprobs: Sequence[float], tail: float) -> float:
    """Mean surprisal in nats of the last tokens.

    >>> tail_entropy([-3.0, -1.0, -0.5, -0.1], 0.5)
    0.3
    """
    kept = logprobs[-max(1, round(len(logprobs) * tail)) :]
    return -sum(kept) / len(kept)


def length_adjusted(entropies: Floats, lengths: Floats) -> Floats:
    """Entropies less what the line of least squares in log length says of them; as they are where lengths are alike.

    >>> length_adjusted(np.array([1.0, 2.0, 3.5]), np.exp([1.0, 2.0, 3.0])).round(3).tolist()
    [0.083, -0.167, 0.083]
    """
    log = np.log(lengths) - np.log(lengths).mean()
    if len(entropies) < FEWEST or not (log @ log) > 0:
        return entropies
    return np.asarray(entropies - entropies.mean() - log * (log @ entropies) / (log @ log))


@dataclass(frozen=True, slots=True)
class IntrinsicSelectionStrategy:
    """n: samples.  tail: share of the tokens, from the end.  pick: best, or vote weighted by exp(-entropy)."""

    # sizes double, see sample_and_vote
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (2, 4, 8, 16, 32, 64)}
    reads: ClassVar[tuple[str, ...]] = ("likelihood",)
    nested: ClassVar[str] = "n"
    n: int = 8
    # the share is not in the public text; the end holds the answer and the words before it
    tail: float = 0.2
    pick: str = "best"

    def __post_init__(self) -> None:
        at_least(1, n=self.n)
        between(0, 1, tail=self.tail)
        require_known("pick", self.pick, PICKS)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for all samples at once."""
        return self.choose((yield All(*Ask(content=question.content).times(self.n))))

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The sample of the least adjusted tail entropy, or the answer of the greatest weight.

        Raises:
            UnsupportedError: a sample carries no log-probabilities.
        """
        samples = candidates(replies)
        if not samples:
            return Answer()
        if any(not reply.logprobs for reply in samples):
            raise UnsupportedError("a sample carries no log-probabilities, so the entropy of its end is unknown")
        made = np.array([len(reply.logprobs or ()) for reply in samples], float)
        ends = np.array([tail_entropy(reply.logprobs or (), self.tail) for reply in samples])
        score = dict(zip(samples, np.exp(-length_adjusted(ends, made)).tolist(), strict=True))
        return PICKS[self.pick](samples, score.__getitem__)

"""Tournament: answers meet in pairs, a judge says which is better, and the highest rating wins.

The ranking of Gottweis et al., Towards an AI co-scientist, arXiv 2502.18864: Elo ratings from 1200, E = 1 / (1 +
10^((R_b - R_a) / 400)), R_a += K (S - E). Each round pairs neighbours in rating that have not met yet. The judge is
asked twice, once after each answer with the other beside it, so that the order favours neither; S is 1, 1/2 or 0.
Equal answers enter once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import candidates

START, STEP_SIZE = 1200.0, 32.0
"""First rating, as in the source; K = 32 as is common in chess for new players. Twice as much moves a rating twice as
far in a match: with three rounds both order the same unless judges contradict themselves."""
PROMPT = "Another answer to the same question is:\n\n{other}\n\nIs the answer above better than that? Say: yes or no."


def ratings_after(first: float, second: float, result: float) -> tuple[float, float]:
    """Ratings after a match. result: of the first, 1, 1/2 or 0.

    >>> ratings_after(1200.0, 1200.0, 1.0)
    (1216.0, 1184.0)
    """
    expected = 1 / (1 + 10 ** ((second - first) / 400))
    gain = STEP_SIZE * (result - expected)
    return first + gain, second - gain


def pairs(order: Sequence[Reply], met: set[frozenset[Reply]]) -> list[tuple[Reply, Reply]]:
    """Neighbours in the order that have not met; whoever finds nobody sits out."""
    free, found = list(order), []
    while free:
        one = free.pop(0)
        other = next((two for two in free if frozenset((one, two)) not in met), None)
        if other is not None:
            free.remove(other)
            found.append((one, other))
    return found


@dataclass(frozen=True, slots=True)
class TournamentStrategy:
    """n: samples.  rounds: of matches.  checker: the role that judges."""

    # sizes double; three rounds find the best of eight by knock-out
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"n": (4, 8, 16), "rounds": (2, 3, 4)}
    reads: ClassVar[tuple[str, ...]] = ("answer",)
    n: int = 8
    rounds: int = 3
    checker: str = "checker"

    def __post_init__(self) -> None:
        at_least(1, n=self.n, rounds=self.rounds)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for all samples, then plays the rounds; the first given of equal ratings wins."""
        samples = candidates((yield All(*Ask(content=question.content).times(self.n))))
        players = {reply.answer or reply.content: reply for reply in reversed(samples)}
        rating = dict.fromkeys(reversed(players.values()), START)
        met: set[frozenset[Reply]] = set()
        for _ in range(self.rounds):
            matches = pairs(sorted(rating, key=lambda reply: -rating[reply]), met)
            if not matches:
                break
            asks = {pair: (self._match(*pair), self._match(*pair[::-1])) for pair in matches}
            judged = yield All(*(ask for both in asks.values() for ask in both))
            score = {reply.ask: reply.score for reply in judged}
            for (one, other), (first, second) in asks.items():
                met.add(frozenset((one, other)))
                margin = score.get(first, 0.0) - score.get(second, 0.0)
                result = 0.5 + 0.5 * float(np.sign(margin)) if not isnan(margin) else 0.5
                rating[one], rating[other] = ratings_after(rating[one], rating[other], result)
        best = max(rating, key=rating.__getitem__, default=None)
        return Answer.of(best, rating[best] if best else 0.0)

    def _match(self, one: Reply, other: Reply) -> Ask:
        return Ask(self.checker, after=one, content=PROMPT.format(other=other.content))

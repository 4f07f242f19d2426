"""Generative verification: S solutions, V verdicts on each, the solution with the best mean verdict.

Singhi et al., When To Solve, When To Verify, arXiv 2504.01005: the score of a solution is the mean over V
verdicts (the probability of yes, or 0 or 1); best of S, or a vote weighted by the scores. A solution without an
answer, or without a verdict, scores 0. Its compute is S (1 + lambda V) solutions, lambda = T_V / T_S.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, require_known
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import PICKS, vote

PROMPT = "Check the solution above step by step, then say whether its final answer is correct: yes or no."


@dataclass(frozen=True, slots=True)
class GenerativeVerificationStrategy:
    """s: solutions.  v: verdicts on each; 0 for a plain vote.  pick: best, or vote weighted by the verdicts."""

    # both double: at s = 16 and v = 8 a question takes 16 solutions and 128 verdicts, twice as much with either doubled
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"s": (1, 2, 4, 8, 16), "v": (1, 2, 4, 8)}
    uses: ClassVar[tuple[str, ...]] = ("verifier",)
    reads_answers: ClassVar[bool] = True
    nested: ClassVar[str] = "s"
    s: int = 4
    v: int = 4
    pick: str = "best"

    def __post_init__(self) -> None:
        at_least(1, s=self.s)
        at_least(0, v=self.v)
        require_known("pick", self.pick, PICKS)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks for all solutions, then for all verdicts, and chooses."""
        replies = yield All(*Ask(content=question.content).times(self.s))
        solutions = [reply for reply in replies if reply.answer is not None] if self.v else []
        if not solutions:
            return self.choose(replies)
        asks = [ask for reply in solutions for ask in Ask("verifier", after=reply, content=PROMPT).times(self.v)]
        return self.choose((*replies, *(yield All(*asks))))

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The best of solutions by the verdicts that continue them; a plain vote where no verdict is asked."""
        made = [reply for reply in replies if reply.ask.after is None]
        solutions = [reply for reply in made if reply.answer is not None]
        if not self.v or not solutions:
            return vote(made)
        verdicts: dict[Reply, list[float]] = {reply: [] for reply in solutions}
        for verdict in replies:
            if verdict.ask.after is not None and not isnan(verdict.score):
                verdicts[verdict.ask.after].append(verdict.score)
        scores = {reply: sum(given) / len(given) if given else 0.0 for reply, given in verdicts.items()}
        return PICKS[self.pick](solutions, scores.__getitem__)

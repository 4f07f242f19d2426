"""CodeMonkeys: chains of attempts that are checked and repaired, many in parallel, and a selection by the checks.

Ehrlich et al., CodeMonkeys, arXiv 2501.14723: serial compute (edits after feedback of tests) times parallel compute
(several such machines), then a selection among their candidates by tests and votes. Chains run in step; one that is
accepted stops. Among accepted answers the commonest is taken; without one, the answer of the highest verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.rules.repair import PROMPT
from comptroller.strategies.votes import best, candidates, vote


@dataclass(frozen=True, slots=True)
class CodeMonkeysStrategy:
    """chains: in parallel.  rounds: most repairs of each.  accept: least score of an accepting check.

    checker: the role that checks.
    """

    # both double: the source runs 10 machines of at most 8 edits
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"chains": (2, 4, 8), "rounds": (1, 2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("reviser",)
    chains: int = 4
    rounds: int = 2
    # a modelled verdict is 0 or 1, so every value in (0, 1] decides alike
    accept: float = 0.5
    checker: str = "checker"

    def __post_init__(self) -> None:
        at_least(1, chains=self.chains)
        at_least(0, rounds=self.rounds)
        between(0, 1, accept=self.accept)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """All chains a round at a time: answer, check, repair what was not accepted."""
        verdicts: dict[Reply, float] = {}
        made: list[Reply] = []
        asks = Ask(content=question.content).times(self.chains)
        for turn in range(self.rounds + 1):
            answers = candidates((yield All(*asks)))
            made += answers
            checks = yield All(*(Ask(self.checker, after=reply) for reply in answers))
            verdicts |= {check.ask.after: check.score for check in checks if check.ask.after and not isnan(check.score)}
            refused = [check for check in checks if check.finish == "stop" and not check.score >= self.accept]
            if turn == self.rounds or not refused:
                break
            asks = tuple(Ask("reviser", after=check, content=PROMPT) for check in refused)
        return self._chosen(made, verdicts)

    def _chosen(self, made: Sequence[Reply], verdicts: Mapping[Reply, float]) -> Answer:
        accepted = [reply for reply in made if verdicts.get(reply, 0.0) >= self.accept]
        return vote(accepted) if accepted else best(made, lambda reply: verdicts.get(reply, 0.0)).sure(0.0)

"""Sequential revision: an answer, then rounds in which it is looked at again.

Snell et al., Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314 (revision chains, the answer chosen within
the chain); Madaan et al., Self-Refine, arXiv 2303.17651. Every round sees what came before it. The sequential
counterpart of `sample_and_vote`; `chains` of them run side by side, for any ratio of sequential to parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, require_known
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.votes import candidates, vote

PROMPT = "Look at your answer again, correct it where it is wrong, and give the final answer."


def _last(chains: Sequence[Sequence[Reply]]) -> Answer:
    ends = [candidates(chain)[-1] for chain in chains if candidates(chain)]
    return vote(ends)


def _every(chains: Sequence[Sequence[Reply]]) -> Answer:
    return vote([reply for chain in chains for reply in chain])


PICKS: Mapping[str, Callable[[Sequence[Sequence[Reply]]], Answer]] = {"last": _last, "vote": _every}
"""The end of each chain votes, or every round of each."""


@dataclass(frozen=True, slots=True)
class SequentialRevisionStrategy:
    """rounds: revisions after the first answer.  chains: side by side.  pick: last, or vote over all rounds."""

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"rounds": (1, 2, 4), "chains": (1, 2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("reviser",)
    rounds: int = 2
    chains: int = 1
    pick: str = "last"

    def __post_init__(self) -> None:
        at_least(0, rounds=self.rounds)
        at_least(1, chains=self.chains)
        require_known("pick", self.pick, PICKS)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """All chains round by round; one that was cut, failed or gave no answer goes no further."""
        replies = yield All(*Ask(content=question.content).times(self.chains))
        chains = [[reply] for reply in replies]
        for _ in range(self.rounds):
            going = {chain[-1]: chain for chain in chains if chain[-1].answer is not None}
            if not going:
                break
            for reply in (yield All(*(Ask("reviser", after=last, content=PROMPT) for last in going))):
                if reply.ask.after is not None:
                    going[reply.ask.after].append(reply)
        return PICKS[self.pick](chains)

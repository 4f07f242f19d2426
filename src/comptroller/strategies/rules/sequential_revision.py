"""Sequential revision: an answer, then rounds of revision.

Snell et al., Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314 (revision chains, the answer chosen within
the chain); Madaan et al., Self-Refine, arXiv 2303.17651. Every round sees all earlier rounds of its chain. The
sequential counterpart of `sample_and_vote`; `chains` run in parallel, for any ratio of sequential to parallel compute.
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


def _vote_of_ends(chains: Sequence[Sequence[Reply]]) -> Answer:
    ends = [candidates(chain)[-1] for chain in chains if candidates(chain)]
    return vote(ends)


def _vote_of_rounds(chains: Sequence[Sequence[Reply]]) -> Answer:
    return vote([reply for chain in chains for reply in chain])


PICKS: Mapping[str, Callable[[Sequence[Sequence[Reply]]], Answer]] = {"last": _vote_of_ends, "vote": _vote_of_rounds}
"""What votes: the last answer of each chain, or the answers of all rounds."""


@dataclass(frozen=True, slots=True)
class SequentialRevisionStrategy:
    """rounds: revisions after the first answer.  chains: in parallel.  pick: last, or vote over all rounds."""

    # both double: 4 rounds in 4 chains are 20 calls, 8 rounds 36; prompts grow with every round
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"rounds": (1, 2, 4), "chains": (1, 2, 4)}
    uses: ClassVar[tuple[str, ...]] = ("reviser",)
    reads_answers: ClassVar[bool] = True
    rounds: int = 2
    chains: int = 1
    pick: str = "last"

    def __post_init__(self) -> None:
        at_least(0, rounds=self.rounds)
        at_least(1, chains=self.chains)
        require_known("pick", self.pick, PICKS)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Runs all chains round by round; one without an answer (cut, failed or none extracted) stops."""
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

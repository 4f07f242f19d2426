"""Adaptive consistency: sample until the vote is decided.

Aggarwal et al., arXiv 2305.11860: after each sample stop if P(the top answer stays the majority) >= 0.95, by the
Beta or the Dirichlet rule; at most 40 samples. Two variants of its_hub (issues 262 and 266): sample in doubling
batches until a share of 0.75 agrees; keep several samples in flight and cancel the rest once the vote is decided.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between, require_known
from comptroller.strategies.protocol import All, Answer, Ask, Next, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.stopping import RULES
from comptroller.strategies.votes import count, tally, vote


@dataclass(frozen=True, slots=True)
class AdaptiveConsistencyStrategy:
    """Samples until the vote is decided.

    cap: most samples.  threshold: confidence at which sampling stops.  rule: beta, dirichlet or share.  width: samples
    in flight; unneeded ones are cancelled.  doubling: batches of 2, 2, 4, 8 ... instead, judged when complete.
    """

    # caps double, see sample_and_vote; by the Beta rule 3, 4 and 6 equal first answers reach 0.9, 0.95 and 0.99
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"cap": (4, 8, 16, 32, 64), "threshold": (0.9, 0.95, 0.99)}
    reads: ClassVar[tuple[str, ...]] = ("answer",)
    # 40 and 0.95 are the paper's; 80 matters only for questions still undecided at 40
    cap: int = 40
    threshold: float = 0.95
    rule: str = "beta"
    width: int = 1
    doubling: bool = False

    def __post_init__(self) -> None:
        at_least(1, cap=self.cap, width=self.width)
        between(0, 1, threshold=self.threshold)
        require_known("rule", self.rule, RULES)

    @property
    def nested(self) -> str:
        """The parameter whose smaller values are prefixes of a run; none with several samples in flight."""
        return "cap" if self.doubling or self.width == 1 else ""

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Samples in batches or in a window until the rule reaches the threshold."""
        ask = Ask(content=question.content)
        return (yield from (self._batches(ask) if self.doubling else self._window(ask)))

    def _batches(self, ask: Ask) -> Run:
        replies: list[Reply] = []
        while len(replies) < self.cap:
            size = min(max(len(replies), 2), self.cap - len(replies))
            batch = yield All(*ask.times(size))
            replies += batch
            if self.decided(replies) or any(reply.finish == "budget" for reply in batch):
                break
        return self.choose(replies)

    def _window(self, ask: Ask) -> Run:
        replies: list[Reply] = []
        counts: dict[str, float] = {}
        rule, asked = RULES[self.rule], min(self.width, self.cap)
        received = yield Next(*ask.times(asked))
        while received:
            replies += received
            count(counts, received[0])
            if received[0].finish == "budget" or rule(counts.values()) >= self.threshold:
                break
            more = ask.times(1) if asked < self.cap else ()
            asked += len(more)
            received = yield Next(*more)
        return self.choose(replies)

    def decided(self, replies: Sequence[Reply]) -> bool:
        """Whether the rule reaches the threshold on the replies so far."""
        return RULES[self.rule](tally(replies).values()) >= self.threshold

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The majority answer, with the confidence of the rule."""
        return vote(replies).sure(RULES[self.rule](tally(replies).values()))

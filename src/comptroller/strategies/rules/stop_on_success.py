"""Stop on success: sample until a checker or verifier accepts.

Repeated sampling with a verifier, Brown et al., Large Language Monkeys, arXiv 2407.21787: coverage is reached as
soon as one sample passes. A verifier with a false positive rate may accept a wrong sample before that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import Answer, Ask, Next, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.stopped_runs import StoppedRun
from comptroller.strategies.votes import candidates, first


@dataclass(frozen=True, slots=True)
class StopOnSuccessStrategy:
    """cap: most samples.  width: samples in flight.  accept: least score of an accepting check.

    checker: the role that checks; the score of its reply is the verdict.
    """

    # caps double, see sample_and_vote; a larger cap costs calls only on questions not solved before
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"cap": (2, 4, 8, 16, 32, 64)}
    # at a chance of 0.2 per sample 10 samples solve 89 %, 20 solve 99 %
    cap: int = 10
    width: int = 1
    # a modelled verdict is 0 or 1, so every value in (0, 1] decides alike
    accept: float = 0.5
    checker: str = "checker"

    def __post_init__(self) -> None:
        at_least(1, cap=self.cap, width=self.width)

    @property
    def nested(self) -> str:
        """The parameter whose smaller values are prefixes of a run; none with several samples in flight."""
        return "cap" if self.width == 1 else ""

    @property
    def closed_form(self) -> StoppedRun | None:
        """Samples one by one; none with several samples in flight."""
        return StoppedRun(self.cap, self.accept, self.checker) if self.width == 1 else None

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Checks each sample as it arrives; the first accepted one is the answer and the rest are cancelled."""
        ask, asked = Ask(content=question.content), min(self.width, self.cap)
        replies: list[Reply] = []
        received = yield Next(*ask.times(asked))
        while received:
            (reply,) = received
            replies.append(reply)
            if reply.ask.after is None and candidates([reply]):
                received = yield Next(Ask(self.checker, after=reply))
                continue
            if self._accepts(reply) or reply.finish == "budget":
                break
            more = ask.times(1) if asked < self.cap else ()
            asked += len(more)
            received = yield Next(*more)
        return self.choose(replies)

    def _accepts(self, reply: Reply) -> bool:
        return reply.ask.after is not None and reply.score >= self.accept

    def choose(self, replies: Sequence[Reply]) -> Answer:
        """The accepted sample; without one, the sample of the highest verdict at confidence 0."""
        checks = [reply for reply in replies if reply.ask.after is not None and not isnan(reply.score)]
        for check in checks:
            if self._accepts(check):
                return Answer.of(check.ask.after, check.score)
        if not checks:
            return first(reply for reply in replies if reply.ask.after is None).sure(0.0)
        return Answer.of(max(checks, key=lambda check: check.score).ask.after, 0.0)

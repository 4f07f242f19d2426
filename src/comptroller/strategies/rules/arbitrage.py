"""Arbitrage: a draft model writes each step, and the target model writes it again where the draft's is not good enough.

Reward-guided speculative decoding, Liao et al., arXiv 2501.19324: a draft's step is kept where its reward reaches a
threshold (0.7 in the public code). Arbitrage, arXiv 2512.05033: what counts is how much better the target's step would
be; its oracle makes both and keeps the target's where its reward passes the draft's by more than `margin`, the bound
that its trained router approaches. With `oracle` off the threshold decides, as no trained router ships.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.steps import BLANK, STOP, StepSearchStrategy, ends_solution, path, score_steps, usable


@dataclass(frozen=True, slots=True)
class ArbitrageStrategy(StepSearchStrategy):
    """roles: draft and target.  threshold: least reward of a draft's step that is kept.  depth: most steps.

    oracle: whether both write every step, and the target's is kept where it is better by more than `margin`.
    The others as in every search over steps; of the only solution, `pick` chooses nothing.
    """

    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"threshold": (0.5, 0.7, 0.9)}
    roles: tuple[str, ...] = ("draft", "target")
    threshold: float = 0.7
    depth: int = 16
    oracle: bool = False
    margin: float = 0.0

    def __post_init__(self) -> None:
        StepSearchStrategy.__post_init__(self)
        at_least(1, depth=self.depth)
        between(0, 1, threshold=self.threshold)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Step by step until one ends the solution."""
        last: Reply | None = None
        for _ in range(self.depth):
            step = yield from self._step(question, last)
            if step is None:
                break
            last = step
            if ends_solution(step, self.ends):
                break
        if last is None:
            return Answer()
        text = BLANK.join(step.content for step in path(last))
        return Answer(text, last.answer, last)

    def _step(self, question: StrategyQuestion, last: Reply | None) -> Any:
        """The next step: the draft's, or the target's; None where nobody wrote one."""
        draft = usable((yield All(self._ask(self.roles[0], question, last))))
        scores = yield from score_steps(draft, self.by)
        kept = draft[0] if draft else None
        reward = scores.get(kept, -inf) if kept else -inf
        if not self.oracle and reward >= self.threshold:
            return kept
        target = usable((yield All(self._ask(self.roles[1], question, last))))
        if not target or not self.oracle:
            return target[0] if target else kept
        better = yield from score_steps(target, self.by)
        return target[0] if better.get(target[0], -inf) - reward > self.margin or kept is None else kept

    def _ask(self, role: str, question: StrategyQuestion, last: Reply | None) -> Ask:
        return Ask(role, content=question.content, stop=STOP) if last is None else Ask(role, last, BLANK, stop=STOP)

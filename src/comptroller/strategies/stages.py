"""Strategies in stages: each stage is a strategy of its own, of one role, and the answers so far say which is next.

No stage sees another's replies, so a replay plays every stage once with each model that may have it, and puts the runs
of all combinations of models and settings together from those (`planning.staged`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import numpy as np

from comptroller.strategies.protocol import Answer, QuestionBudget, Run, Strategy, StrategyQuestion


@runtime_checkable
class StagedStrategy(Strategy, Protocol):
    """A strategy in stages, one for each of its roles."""

    @property
    def roles(self) -> tuple[str, ...]:
        """Who is asked, in the order of the stages."""
        ...

    def stage(self, role: str) -> Strategy:
        """What the role does; it asks that role alone."""
        ...

    def following(self, question: StrategyQuestion, ended: Mapping[str, Answer]) -> str | None:
        """The role whose stage comes next, given the answers of those before; `None` at the end."""
        ...


def run_stages(
    strategy: StagedStrategy, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator
) -> Run:
    """Stage after stage; what was answered before stands where a later one has nothing to say."""
    ended: dict[str, Answer] = {}
    last = Answer()
    while (role := strategy.following(question, ended)) is not None:
        ended[role] = yield from strategy.stage(role).solve(question, budget, rng)
        if ended[role].reply is not None:
            last = ended[role]
    return last

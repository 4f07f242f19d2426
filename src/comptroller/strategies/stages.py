"""Strategies in stages: each stage is a strategy of one role, and the answers so far decide which stage is next.

No stage sees another's replies. A replay therefore runs every stage once with each model that may play it, and
assembles the runs of all combinations of models and settings from those.
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
        """Roles in the order of the stages."""
        ...

    def stage(self, role: str) -> Strategy:
        """The strategy of one role; it asks no other role."""
        ...

    def following(self, question: StrategyQuestion, ended: Mapping[str, Answer]) -> str | None:
        """The role of the next stage, given the answers of the stages that ended, by role; None at the end."""
        ...


def run_stages(
    strategy: StagedStrategy, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator
) -> Run:
    """Runs the stages in turn. Returns the last answer that rests on a reply, an empty one where none does."""
    ended: dict[str, Answer] = {}
    last = Answer()
    while (role := strategy.following(question, ended)) is not None:
        ended[role] = yield from strategy.stage(role).solve(question, budget, rng)
        if ended[role].reply is not None:
            last = ended[role]
    return last

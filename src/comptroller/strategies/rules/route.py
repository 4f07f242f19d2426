"""Route: one model for each question, chosen before anything is generated.

RouteLLM, Ong et al., arXiv 2406.18665 (the strong model where the predicted chance that it wins reaches a threshold,
which is the quantile that meets a share of strong calls), and RouterBench, Hu et al., arXiv 2403.12031 (any number of
models: the greatest expected score less price times cost). Expected scores come from a trained router,
`strategies.routers`; `comptroller fit routers` trains one for your models and prints its quality beside random choice
and the oracle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.errors import InputError
from comptroller.strategies.checks import between
from comptroller.strategies.protocol import Answer, QuestionBudget, Run, Strategy, StrategyQuestion
from comptroller.strategies.routers import router
from comptroller.strategies.rules.once import OnceStrategy
from comptroller.strategies.stages import run_stages


@dataclass(frozen=True, slots=True)
class RouteStrategy:
    """roles: in the order of the router's models, the cheapest first.  by: the router, an id or a path.

    spend: target of the mean cost, from 0 (always the cheapest) to 1 (always the dearest); for two models the share of
    calls of the strong one.
    """

    # tenths of the way from the cheapest to the dearest model; all are read from the same recorded replies
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"spend": (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)}
    roles: tuple[str, ...] = ("weak", "strong")
    # the middle of the grid
    spend: float = 0.5
    by: str = "mmlu_linear"

    def __post_init__(self) -> None:
        between(0, 1, spend=self.spend)
        models = router(self.by).models
        if len(self.roles) != len(models) or len(set(self.roles)) < len(self.roles):
            raise InputError(
                f"route: {self.by} chooses among {len(models)} models ({', '.join(models)}), the cheapest first; "
                f"roles must be as many different ones, not {self.roles}"
            )

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks the chosen model once, greedily."""
        return (yield from run_stages(self, question, budget, rng))

    def stage(self, role: str) -> Strategy:
        """One greedy ask of the role."""
        return OnceStrategy(role=role)

    def following(self, question: StrategyQuestion, ended: Mapping[str, Answer]) -> str | None:
        """The role of the chosen model, then None."""
        return None if ended else self.roles[router(self.by).choose(question, self.spend)]

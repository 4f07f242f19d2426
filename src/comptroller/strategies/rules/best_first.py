"""Best-first search: the open step of the highest score anywhere in the tree is continued next.

Best-first search with a value function over steps, as in Koh et al., Tree Search for Language Model Agents, arXiv
2407.01476: a queue of open steps, a limit on expansions, `branch` continuations of each. It ends as soon as a step that
ends a solution scores highest of all that is open, so easy questions take few expansions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.steps import (
    StepScores,
    StepSearchStrategy,
    chosen_solution,
    ends_solution,
    first_steps,
    next_steps,
    score_steps,
    usable,
)


@dataclass(frozen=True, slots=True)
class BestFirstStrategy(StepSearchStrategy):
    """expansions: most steps that are continued.  branch: continuations of each.

    The others as in every search over steps.
    """

    # both double; the source expands up to 20 times with a branch of 5
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"expansions": (5, 10, 20), "branch": (2, 4)}
    expansions: int = 10
    branch: int = 4
    pick: str = "best"

    def __post_init__(self) -> None:
        StepSearchStrategy.__post_init__(self)
        at_least(1, expansions=self.expansions, branch=self.branch)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Continues the best open step until a last step is better, or the expansions are used."""
        scores: StepScores = {}
        ended: list[Reply] = []
        open_steps: list[Reply] = []
        seen: list[Reply] = []
        asks = first_steps(question, self.branch)
        for _ in range(self.expansions + 1):
            steps = usable((yield All(*asks)))
            seen += steps
            scores |= yield from score_steps(steps, self.by)
            ended += [step for step in steps if ends_solution(step, self.ends)]
            open_steps += [step for step in steps if step in scores and not ends_solution(step, self.ends)]
            best = max(open_steps, key=scores.__getitem__, default=None)
            top = max((scores.get(step, 0.0) for step in ended), default=None)
            if best is None or (top is not None and top >= scores[best]):
                break
            open_steps.remove(best)
            asks = next_steps(best, self.branch)
        return chosen_solution(self.pick, ended or seen, scores)

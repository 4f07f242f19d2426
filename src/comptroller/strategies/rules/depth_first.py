"""Depth-first search: the first promising step is followed to its end before the next one is tried.

Yao et al., Tree of Thoughts, arXiv 2305.10601, algorithm 2: the continuations of a state are visited in the order in
which they were proposed; a state whose value is not above a threshold is pruned, with all that would follow it; at most
so many steps are visited. Of the solutions the best is the answer, where none has ended the deepest step visited,
the first of several, as in the source's crosswords.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from comptroller.strategies.checks import at_least, between
from comptroller.strategies.protocol import All, Answer, QuestionBudget, Reply, Run, StrategyQuestion
from comptroller.strategies.steps import (
    StepScores,
    StepSearchStrategy,
    chosen_solution,
    ends_solution,
    first_steps,
    next_steps,
    path,
    score_steps,
    usable,
)


@dataclass(frozen=True, slots=True)
class DepthFirstStrategy(StepSearchStrategy):
    """steps: most that are visited.  branch: continuations of each.  depth: most steps of a path.

    prune: score that a step has to pass to be continued; below 0 for none.  The others as in every search over steps.
    """

    # the source visits 100 states of a crossword; half of them, and without pruning
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"steps": (50, 100), "prune": (-1.0, 0.0)}
    pick: str = "best"
    steps: int = 100
    branch: int = 5
    depth: int = 16
    prune: float = 0.0

    def __post_init__(self) -> None:
        StepSearchStrategy.__post_init__(self)
        at_least(1, steps=self.steps, branch=self.branch, depth=self.depth)
        between(-1, 1, prune=self.prune)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Visits step after step; what is proposed of a step is asked for when it is followed."""
        scores: StepScores = {}
        visited: list[Reply] = []
        open_steps = yield from self._proposals(first_steps(question, self.branch), scores)
        while open_steps and len(visited) < self.steps:
            step = open_steps.pop(0)
            visited.append(step)
            going = scores.get(step, -1.0) > self.prune and len(path(step)) < self.depth
            if going and not ends_solution(step, self.ends) and len(visited) < self.steps:
                more = yield from self._proposals(next_steps(step, self.branch), scores)
                open_steps = [*more, *open_steps]
        return self._chosen(visited, scores)

    def _proposals(self, asks: Sequence[Any], scores: StepScores) -> Generator[All, tuple[Reply, ...], list[Reply]]:
        """Steps in the order of asking; their scores are added."""
        steps = usable((yield All(*asks)))
        scores |= yield from score_steps(steps, self.by)
        return steps

    def _chosen(self, visited: Sequence[Reply], scores: StepScores) -> Answer:
        ended = [step for step in visited if ends_solution(step, self.ends)]
        if ended or not visited:
            return chosen_solution(self.pick, ended, scores)
        deepest = max(visited, key=lambda step: len(path(step)))
        return chosen_solution("best", [deepest], scores)

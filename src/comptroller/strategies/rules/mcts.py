"""Monte Carlo tree search over steps: the step of the greatest upper confidence bound is continued next.

LATS, Zhou et al., Language Agent Tree Search, arXiv 2310.04406: from the root down to the child that maximises
V + c sqrt(ln N / n), n visits of the child and N of its parent; `branch` continuations of what is reached, scored by a
value function in place of a rollout; the mean of their scores goes up to the root. Paths that have ended are left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, log, sqrt
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


@dataclass(slots=True, eq=False)
class SearchNode:
    """A step in the tree, the root without one. total: sum of scores that went up through it in `visits`.

    live: whether anything below, or the step itself, can still be continued.
    """

    step: Reply | None = None
    above: SearchNode | None = None
    below: list[SearchNode] = field(default_factory=list)
    total: float = 0.0
    visits: int = 0
    live: bool = True

    def bound(self, explore: float) -> float:
        """The upper confidence bound; infinite without a visit.

        >>> root = SearchNode(visits=4)
        >>> round(SearchNode(above=root, total=1.0, visits=2).bound(1.0), 4)
        1.3326
        """
        if not self.visits or self.above is None:
            return inf
        return self.total / self.visits + explore * sqrt(log(self.above.visits) / self.visits)

    def leaf(self, explore: float) -> SearchNode:
        """The step to continue next: down the greatest bounds among what is live."""
        node = self
        while node.below:
            node = max((child for child in node.below if child.live), key=lambda child: child.bound(explore))
        return node

    def grow(self, steps: Sequence[Reply], scores: StepScores, ends: str) -> None:
        """Adds scored steps below; their scores go up to the root, and so does that nothing is left to continue."""
        for step in (step for step in steps if step in scores):
            child = SearchNode(step, self, live=not ends_solution(step, ends))
            self.below.append(child)
            node: SearchNode | None = child
            while node is not None:
                node.total, node.visits, node = node.total + scores[step], node.visits + 1, node.above
        node = self
        while node is not None and not any(child.live for child in node.below):
            node.live, node = False, node.above


@dataclass(frozen=True, slots=True)
class MctsStrategy(StepSearchStrategy):
    """rounds: steps that are continued.  branch: continuations of each.  explore: c of the bound, against scores.

    The others as in every search over steps.
    """

    # LATS: 5 continuations, up to 50 rounds; c = 1
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"rounds": (4, 8, 16), "explore": (0.5, 1.0)}
    rounds: int = 8
    branch: int = 4
    explore: float = 1.0
    pick: str = "best"

    def __post_init__(self) -> None:
        StepSearchStrategy.__post_init__(self)
        at_least(1, rounds=self.rounds, branch=self.branch)
        at_least(0, explore=self.explore)

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Continues one step a round until the rounds are used or every path has ended."""
        root, scores = SearchNode(), dict[Reply, float]()
        seen: list[Reply] = []
        for _ in range(self.rounds):
            node = root.leaf(self.explore)
            asks = next_steps(node.step, self.branch) if node.step else first_steps(question, self.branch)
            steps = usable((yield All(*asks)))
            seen += steps
            found = yield from score_steps(steps, self.by)
            scores |= found
            node.grow(steps, found, self.ends)
            if not root.live:
                break
        ended = [step for step in seen if ends_solution(step, self.ends)]
        return chosen_solution(self.pick, ended or seen, scores)

"""Search level by level: all steps of a level are asked together, scored, and some are continued.

What differs between beam search, DVTS, REBASE and ETS is how many continuations each step gets (`shares`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from comptroller.strategies.checks import at_least
from comptroller.strategies.protocol import All, Answer, Ask, QuestionBudget, Reply, Run, StrategyQuestion
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


class SearchLevel(NamedTuple):
    """The steps of one level that have a score.

    open: that may be continued.  ended: that end a solution.  scores: of both.  room: solutions that may be in play
    beside those that have ended, on this level or before.  places: of the first asks, in the order of asking.  rng: of
    the run.
    """

    open: Sequence[Reply]
    ended: Sequence[Reply]
    scores: StepScores
    room: int
    places: Mapping[Ask, int]
    rng: np.random.Generator

    def best_first(self, steps: Sequence[Reply]) -> list[Reply]:
        """Steps by falling score; equal ones in the order in which they came."""
        return sorted(steps, key=lambda step: -self.scores[step])

    def place(self, step: Reply) -> int:
        """Which of the first asks a step comes from."""
        return self.places[path(step)[0].ask]


@dataclass(frozen=True, slots=True)
class LevelSearchStrategy(StepSearchStrategy):
    """width: solutions in play.  depth: most steps.  The others as in every search over steps."""

    width: int = 8
    # solutions of MATH have 5 to 15 steps; ETS and REBASE stop there too
    depth: int = 16

    def __post_init__(self) -> None:
        StepSearchStrategy.__post_init__(self)
        at_least(1, width=self.width, depth=self.depth)

    @abstractmethod
    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """How many continuations open steps get, asked for in this order; equal scores on the next level go by it."""

    def solve(self, question: StrategyQuestion, budget: QuestionBudget, rng: np.random.Generator) -> Run:
        """Asks level by level until every solution in play has ended."""
        asks = first_steps(question, self.width)
        places = {ask: place for place, ask in enumerate(asks)}
        ended: list[Reply] = []
        latest: list[Reply] = []
        scores: StepScores = {}
        for level in range(self.depth):
            steps = usable((yield All(*asks)))
            if not steps:
                break
            latest = steps
            scores |= yield from score_steps(steps, self.by)
            now = [step for step in steps if ends_solution(step, self.ends)]
            ended += now
            going = [step for step in steps if step in scores and step not in now]
            if not going or level + 1 == self.depth:
                break
            last = [step for step in now if step in scores]
            shares = self.shares(SearchLevel(going, last, scores, max(self.width - len(ended), 0), places, rng))
            asks = tuple(ask for step, count in shares.items() for ask in next_steps(step, count))
            if not asks:
                break
        return self.chosen(ended or latest, scores)

    def chosen(self, solutions: Sequence[Reply], scores: StepScores) -> Answer:
        """The answer among solutions."""
        return chosen_solution(self.pick, solutions, scores)

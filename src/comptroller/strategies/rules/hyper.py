"""HyPER: a pool of paths that expands while it explores and shrinks as it ends, then votes by length and confidence.

Qiu et al., HyPER, arXiv 2602.06527: a controller moves from exploration to exploitation as the pool of hypotheses
evolves, and answers are aggregated by length and confidence. Its controller reads token statistics of experts, which
no service tells. Here the pool is that of steps: paths that say the same are merged, of the rest a share is kept that
falls from 1 to `least` with the depth; every kept path goes on, what room is left expands all of them in turn in the
first half of the depth and the best one in the second. A path votes with the mean score of its steps, times its length
over the median where it is shorter.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from statistics import median
from typing import Any, ClassVar

from comptroller.strategies.checks import between
from comptroller.strategies.level_search import LevelSearchStrategy, SearchLevel
from comptroller.strategies.protocol import Answer, Reply
from comptroller.strategies.steps import StepScores, chosen_solution, path


def path_confidence(scores: Sequence[float], usual: float) -> float:
    """Mean score of a path's steps, less where it has fewer steps than usual.

    >>> path_confidence([0.5, 0.7], 4.0)
    0.3
    """
    return sum(scores) / len(scores) * min(1.0, len(scores) / usual)


@dataclass(frozen=True, slots=True)
class HyperStrategy(LevelSearchStrategy):
    """least: share of the distinct paths that is kept at full depth.  The others as in every search by levels."""

    # widths double; from keeping nearly all to one in four
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32), "least": (0.25, 0.5)}
    least: float = 0.25

    def __post_init__(self) -> None:
        LevelSearchStrategy.__post_init__(self)
        between(0, 1, least=self.least)

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """One continuation of each kept path, and the rest of the room as the phase has it."""
        distinct: dict[str, Reply] = {}
        for step in level.best_first(level.open):
            distinct.setdefault(step.content, step)
        paths = list(distinct.values())
        phase = min(1.0, len(path(paths[0])) / self.depth)
        count = min(level.room, max(1, ceil(len(paths) * (1 - (1 - self.least) * phase))))
        kept = paths[:count]
        more = level.room - len(kept)
        if phase < 0.5 and kept:
            return {step: 1 + (more + len(kept) - 1 - rank) // len(kept) for rank, step in enumerate(kept)}
        return {step: 1 + more * (rank == 0) for rank, step in enumerate(kept)}

    def chosen(self, solutions: Sequence[Reply], scores: StepScores) -> Answer:
        """The answer by length and confidence of whole paths."""
        if not solutions:
            return chosen_solution(self.pick, solutions, scores)
        paths = {end: [scores.get(step, 0.0) for step in path(end)] for end in solutions}
        usual = float(median(map(len, paths.values())))
        return chosen_solution(self.pick, solutions, {end: path_confidence(of, usual) for end, of in paths.items()})

"""DVTS, diverse verifier tree search: independent subtrees, each of which continues its best step alone.

Beeching et al., Scaling test-time compute with open models, 2024: N solutions in N / M subtrees; of the M steps that a
subtree samples the one of the highest reward is continued, M times. Subtrees never compete, so answers stay diverse.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from comptroller.strategies.checks import at_least
from comptroller.strategies.level_search import LevelSearchStrategy, SearchLevel
from comptroller.strategies.protocol import Reply


@dataclass(frozen=True, slots=True)
class DvtsStrategy(LevelSearchStrategy):
    """branch: steps that a subtree samples; width / branch subtrees, the last smaller where it does not divide."""

    # widths double; the source samples 4 steps in a subtree
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32), "branch": (2, 4)}
    branch: int = 4

    def __post_init__(self) -> None:
        LevelSearchStrategy.__post_init__(self)
        at_least(1, branch=self.branch)

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """All of a subtree's samples to its best step; none where that step ends its solution."""
        best: dict[int, Reply] = {}
        for step in level.best_first([*level.ended, *level.open]):
            best.setdefault(level.place(step) // self.branch, step)
        going = set(level.open)
        return {step: self._size(tree) for tree, step in best.items() if step in going}

    def _size(self, tree: int) -> int:
        """Samples of a subtree."""
        return min(self.branch, self.width - tree * self.branch)

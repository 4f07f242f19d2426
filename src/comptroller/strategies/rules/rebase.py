"""REBASE, reward-balanced search: continuations in proportion to the softmax of rewards.

Wu et al., Inference Scaling Laws, arXiv 2408.00724: of the width W that is left after ended solutions, the step of the
i-th highest reward R_i gets ceil(W_left exp(R_i / T) / sum of exp over the steps not yet served), W_left and the sum
falling as it goes. T = 0.2 as in the public code of ETS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import ceil, exp
from typing import Any, ClassVar

from comptroller.errors import InputError
from comptroller.strategies.level_search import LevelSearchStrategy, SearchLevel
from comptroller.strategies.protocol import Reply

TOLERANCE = 1e-9
"""What a share may pass a whole number by and still be that number: sums of exponentials are not exact. Ten times as
much changes no share of rewards that differ by more than 1e-9."""


def balanced_counts(rewards: Sequence[float], width: int, temperature: float) -> list[int]:
    """Continuations of steps whose rewards fall, `width` in all.

    >>> balanced_counts([0.9, 0.7, 0.1], 8, 0.2)
    [6, 2, 0]
    """
    weights = [exp((reward - rewards[0]) / temperature) for reward in rewards]
    left, rest, counts = width, sum(weights), []
    for weight in weights:
        counts.append(min(left, ceil(left * weight / rest - TOLERANCE)) if left else 0)
        left, rest = left - counts[-1], rest - weight
    return counts


@dataclass(frozen=True, slots=True)
class RebaseStrategy(LevelSearchStrategy):
    """temperature: of the softmax; small ones give all to the best step, large ones as much to each."""

    # widths double; temperatures of the public code of ETS and half of it, as in DORA's
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32), "temperature": (0.1, 0.2)}
    temperature: float = 0.2

    def __post_init__(self) -> None:
        LevelSearchStrategy.__post_init__(self)
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be above 0")

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """The room, balanced by the softmax of the scores."""
        steps = level.best_first(level.open)
        counts = balanced_counts([level.scores[step] for step in steps], level.room, self.temperature)
        return dict(zip(steps, counts, strict=True))

"""DORA, direction-oriented allocation: steps that say the same share the continuations of one direction.

Wang et al., Every Rollout Counts, arXiv 2506.15707: a step's quality q_i is the softmax of its score at temperature
T; steps with round(q_i W) = 0 are dropped and q is taken anew; the uniqueness g_i of a step is the diagonal of the
row-wise softmax of cosine similarities at temperature t; continuations are in proportion to q_i g_i. T = 0.1 and t =
0.01 as in the public code. The source embeds steps and rounds each share; here counts of words stand for embeddings,
and shares are rounded so that they add up to the width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.strategies.level_search import LevelSearchStrategy, SearchLevel
from comptroller.strategies.protocol import Reply
from comptroller.strategies.word_similarity import cosine_similarities

Floats = npt.NDArray[np.float64]


def softmax(values: npt.ArrayLike, temperature: float) -> Floats:
    """Row-wise softmax.

    >>> softmax([0.2, 0.2], 0.1).tolist()
    [0.5, 0.5]
    """
    scaled = np.asarray(values, float) / temperature
    weights = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=-1, keepdims=True))


def direction_weights(scores: Sequence[float], alike: Floats, temperature: float, sharpness: float) -> Floats:
    """Weights of steps, of sum 1: of two that say the same each has half of what a third of equal score has.

    >>> alike = np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1.0]])
    >>> direction_weights([0.5, 0.5, 0.5], alike, 0.1, 0.01).tolist()
    [0.25, 0.25, 0.5]
    """
    weights = softmax(scores, temperature) * np.diag(softmax(alike, sharpness))
    return np.asarray(weights / weights.sum())


def whole_shares(weights: Floats, count: int) -> list[int]:
    """Whole numbers in proportion to weights that add up to `count`, by largest remainder.

    >>> whole_shares(np.array([0.25, 0.25, 0.5]), 7)
    [2, 2, 3]
    """
    exact = weights * count
    shares = np.floor(exact + 1e-9).astype(int)
    order = np.argsort(-(exact - shares), kind="stable")
    shares[order[: count - int(shares.sum())]] += 1
    return [int(share) for share in shares]


@dataclass(frozen=True, slots=True)
class DoraStrategy(LevelSearchStrategy):
    """temperature: of scores.  sharpness: temperature of similarities.  The others as in every search by levels."""

    # widths double
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32)}
    temperature: float = 0.1
    sharpness: float = 0.01

    def __post_init__(self) -> None:
        LevelSearchStrategy.__post_init__(self)
        if not (self.temperature > 0 and self.sharpness > 0):
            raise InputError(f"dora: temperatures must be above 0, not {self.temperature} and {self.sharpness}")

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """The room by quality of steps and uniqueness of directions."""
        steps = level.best_first(level.open)
        quality = softmax([level.scores[step] for step in steps], self.temperature)
        kept = [step for step, share in zip(steps, quality, strict=True) if round(share * level.room) > 0] or steps[:1]
        alike = cosine_similarities([step.content for step in kept])
        weights = direction_weights([level.scores[step] for step in kept], alike, self.temperature, self.sharpness)
        return dict(zip(kept, whole_shares(weights, level.room), strict=True))

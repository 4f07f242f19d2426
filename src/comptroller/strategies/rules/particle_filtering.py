"""Particle filtering over steps: the steps of a level are resampled by the odds of their scores.

Puri et al., A Probabilistic Inference Approach to Inference-Time Scaling of LLMs, arXiv 2502.01618: N particles, the
weight of each softmax(logit(r_i) / T), so proportional to (r_i / (1 - r_i))^(1/T), and N of them drawn with replacement
to go on. A low score may survive by luck, which a reward model that errs calls for. In the source solutions that have
ended are drawn from too; here they keep their place, as in the other searches by levels.
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

SUREST = 1e-6
"""How near to 0 and 1 a score counts: beyond, odds of a million to one would be no odds but certainty."""


def particle_weights(scores: Sequence[float], temperature: float) -> npt.NDArray[np.float64]:
    """Weights of particles, of sum 1.

    >>> particle_weights([0.8, 0.5], 1.0).round(4).tolist()  # odds of 4 and of 1
    [0.8, 0.2]
    """
    kept = np.clip(np.asarray(scores, float), SUREST, 1 - SUREST)
    odds = np.log(kept / (1 - kept)) / temperature
    weights = np.exp(odds - odds.max())
    return np.asarray(weights / weights.sum())


@dataclass(frozen=True, slots=True)
class ParticleFilteringStrategy(LevelSearchStrategy):
    """temperature: of the odds; large ones make all particles alike.  The others as in every search by levels."""

    # widths double, as the source's particles
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32)}
    temperature: float = 1.0

    def __post_init__(self) -> None:
        LevelSearchStrategy.__post_init__(self)
        if not self.temperature > 0:
            raise InputError(f"temperature is {self.temperature}; it must be above 0")

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """The room, drawn with replacement by the weights."""
        steps = level.best_first(level.open)
        weights = particle_weights([level.scores[step] for step in steps], self.temperature)
        return dict(zip(steps, level.rng.multinomial(level.room, weights).tolist(), strict=True))

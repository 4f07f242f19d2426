"""Beam search over steps: of each level the best steps are kept, and each is continued as often.

Snell et al., Scaling LLM Test-Time Compute Optimally, arXiv 2408.03314, section 5.2: N beams of width M, the N / M
steps of the highest reward are kept and M continuations of each are sampled. Solutions that have ended take their place
out of the width.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from comptroller.strategies.checks import at_least
from comptroller.strategies.level_search import LevelSearchStrategy, SearchLevel
from comptroller.strategies.protocol import Reply


@dataclass(frozen=True, slots=True)
class BeamSearchStrategy(LevelSearchStrategy):
    """keep: steps of a level that are continued.  The others as in every search by levels."""

    # widths double; Snell et al. compare sqrt(N) and 4 kept
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32), "keep": (2, 4)}
    keep: int = 4

    def __post_init__(self) -> None:
        LevelSearchStrategy.__post_init__(self)
        at_least(1, keep=self.keep)

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """The room in equal parts to the best, what remains to the very best."""
        kept = level.best_first(level.open)[: min(self.keep, level.room)]
        return {step: (level.room + len(kept) - 1 - rank) // len(kept) for rank, step in enumerate(kept)}

"""ETS, efficient tree search: REBASE on steps that an integer program keeps, for shared prefixes and distinct ideas.

Hooper et al., ETS, arXiv 2502.13575. Of a level's steps i and their distinct ancestors j, kept ones maximise

    sum_i W_i x_i - cost (sum_j y_j + sum_i x_i) / (M + N) + (cover / K) sum_k z_k,   all binary,
    y_j >= x_i for ancestors j of i,   z_k <= sum of x_i in cluster k,   sum_i x_i >= 1,

W_i: continuations that REBASE gives, normalised to a sum of 1; N steps, M ancestors, K clusters of steps that say the
same. The source clusters embeddings; here they are counts of words, linked by their mean cosine distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from comptroller.strategies.checks import at_least
from comptroller.strategies.level_search import SearchLevel
from comptroller.strategies.protocol import Reply
from comptroller.strategies.rules.rebase import RebaseStrategy, balanced_counts
from comptroller.strategies.steps import path


@dataclass(frozen=True, slots=True)
class EtsStrategy(RebaseStrategy):
    """cost: of a kept node, against a REBASE share.  cover: of all clusters kept."""

    # costs that double around the source's 1; cover as its public code has it for widths of 16 to 64
    grid: ClassVar[Mapping[str, Sequence[Any]]] = {"width": (4, 8, 16, 32), "cost": (0.5, 1.0, 2.0)}
    cost: float = 1.0
    cover: float = 1.5

    def __post_init__(self) -> None:
        RebaseStrategy.__post_init__(self)
        at_least(0, cost=self.cost, cover=self.cover)

    def shares(self, level: SearchLevel) -> Mapping[Reply, int]:
        """The room, balanced over the steps that the program keeps."""
        if not level.room:
            return {}
        # a gateway that never searches so loads no solver
        from comptroller.strategies.tree_pruning import PruningCase, clusters_of, kept_steps

        steps = level.best_first(level.open)
        counts = balanced_counts([level.scores[step] for step in steps], level.room, self.temperature)
        numbers: dict[Reply, int] = {}
        above = [[numbers.setdefault(node, len(numbers)) for node in path(step)[:-1]] for step in steps]
        weights = [count / sum(counts) for count in counts]
        case = PruningCase(weights, above, clusters_of([step.content for step in steps]))
        kept = [steps[place] for place in kept_steps(case, self.cost, self.cover)]
        return RebaseStrategy.shares(self, level._replace(open=kept))

"""Groups of prompts by how hard they are for the model as it is: moving pass@k with hysteresis.

Source: Online Difficulty Classifier of GDRO (arXiv 2601.19280).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

EDGES = (0.2, 0.4, 0.6, 0.8)
"""Edges of the groups in moving pass@k: five groups of equal width. Twice as many hold too few of 100 prompts each."""

WINDOW = 8
"""Rounds over which pass@k of a prompt moves. One round tells right from wrong alone; at twice this a prompt needs
twice as many visits to be noticed."""

HYSTERESIS = 0.05
"""How far beyond an edge a prompt's pass@k must move before it changes its group; at twice this prompts of a group half
as wide as EDGES are never moved."""


@dataclass(slots=True)
class DifficultyGroups:
    """Prompts with the last outcomes of any of k rollouts. passes: of shape (prompts, window), NaN where not tried."""

    prompts: int
    passes: Floats = field(init=False)
    group: Ints = field(init=False)
    visits: Ints = field(init=False)

    def __post_init__(self) -> None:
        self.passes = np.full((self.prompts, WINDOW), np.nan)
        self.group = np.zeros(self.prompts, dtype=np.int64)
        self.visits = np.zeros(self.prompts, dtype=np.int64)

    def note(self, chosen: Ints, solved: npt.NDArray[np.bool_]) -> None:
        """Outcomes of k rollouts of some prompts: whether any was right.

        >>> groups = DifficultyGroups(2)
        >>> groups.note(np.array([0]), np.array([True]))
        >>> groups.group.tolist()
        [4, 0]
        """
        self.passes[chosen, self.visits[chosen] % WINDOW] = solved
        self.visits[chosen] += 1
        rate = np.nanmean(self.passes[chosen], axis=1)
        up = np.searchsorted(np.array(EDGES) + HYSTERESIS, rate, side="right")
        down = np.searchsorted(np.array(EDGES) - HYSTERESIS, rate, side="right")
        self.group[chosen] = np.clip(self.group[chosen], up, down)

    @property
    def shares(self) -> Floats:
        """Share of the prompts in each group."""
        return np.bincount(self.group, minlength=len(EDGES) + 1) / self.prompts


def group_means(values: Floats, group: Ints) -> Floats:
    """Mean of values by group, NaN where a group has none: not weighted by how many prompts it has."""
    count = np.bincount(group, minlength=len(EDGES) + 1)
    total = np.bincount(group, values, minlength=len(EDGES) + 1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)

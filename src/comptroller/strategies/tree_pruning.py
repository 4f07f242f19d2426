"""The steps that ETS keeps: an integer program over nodes of a tree and clusters of steps that say the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.sparse import csc_array
from scipy.spatial.distance import pdist

from comptroller.errors import UnsupportedError
from comptroller.highs import KNOWN, MixedIntegerProgram, solve
from comptroller.strategies.word_similarity import word_counts

Floats = npt.NDArray[np.float64]

SAME = 0.05
"""Cosine distance below which two groups of steps say the same, as in the public code of ETS."""


def clusters_of(texts: Sequence[str]) -> list[int]:
    """The cluster of each text, from 0: by counts of words, average linkage, cut at `SAME`.

    >>> clusters_of(["2 + 4 = 6", "2 + 4 = 6", "2 * 4 = 8"])
    [0, 0, 1]
    """
    if len(texts) < 2:
        return [0] * len(texts)
    labels = fcluster(linkage(pdist(word_counts(texts), "cosine"), "average"), SAME, "distance").tolist()
    renamed = {label: number for number, label in enumerate(dict.fromkeys(labels))}
    return [renamed[label] for label in labels]


@dataclass(frozen=True, slots=True)
class PruningCase:
    """What the program chooses from. weights: of steps, of sum 1.  ancestors: of each step, as numbers from 0 on.

    clusters: of each step, from 0 on.
    """

    weights: Sequence[float]
    ancestors: Sequence[Sequence[int]]
    clusters: Sequence[int]

    def value(self, kept: Sequence[int], cost: float, cover: float) -> float:
        """What the program maximises, of these steps.

        >>> case = PruningCase([0.5, 0.5], [[0], [0]], [0, 0])
        >>> round(case.value([0], 1.0, 1.0), 4), round(case.value([0, 1], 1.0, 1.0), 4)
        (0.8333, 1.0)
        """
        above = {node for step in kept for node in self.ancestors[step]}
        size = len(self.weights) + len({node for nodes in self.ancestors for node in nodes})
        covered = len({self.clusters[step] for step in kept}) / len(set(self.clusters))
        return sum(self.weights[step] for step in kept) - cost * (len(above) + len(kept)) / size + cover * covered


def kept_steps(case: PruningCase, cost: float, cover: float) -> list[int]:
    """The steps of the greatest value, by the integer program.

    Raises:
        UnsupportedError: the search passed the limit of the solver's nodes.
    """
    steps, branches = len(case.weights), 1 + max(map(max, filter(None, case.ancestors)), default=-1)
    groups = 1 + max(case.clusters)
    size = steps + branches
    price = np.concatenate(
        [cost / size - np.array(case.weights), np.full(branches, cost / size), np.full(groups, -cover / groups)]
    )
    rows: list[Floats] = []
    for step, above in enumerate(case.ancestors):
        for node in above:
            row = np.zeros(size + groups)
            row[step], row[steps + node] = 1.0, -1.0
            rows.append(row)
    for group in range(groups):
        row = np.zeros(size + groups)
        row[size + group] = 1.0
        row[:steps] -= np.asarray(case.clusters) == group
        rows.append(row)
    rows.append(np.concatenate([-np.ones(steps), np.zeros(branches + groups)]))
    upper = np.concatenate([np.zeros(len(rows) - 1), [-1.0]])
    columns = len(price)
    program = MixedIntegerProgram(
        price, csc_array(np.stack(rows)), np.full(len(rows), -np.inf), upper, np.ones(columns), np.ones(columns, bool)
    )
    found = solve(program, KNOWN)
    if found.values is None:
        raise UnsupportedError(f"ets: {steps} steps and {branches} ancestors are beyond the node limit of the solver")
    return np.flatnonzero(found.values[:steps] > 0.5).tolist()

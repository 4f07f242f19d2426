"""Ways that need not be looked at: another solves as much with no more dollars and no more calls of anybody."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from comptroller.planning.offer.dominance import dominated_rows

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def undominated_ways(
    own: Sequence[frozenset[int]], score: Floats, usd: Floats, calls: Mapping[int, Floats], left: Ints
) -> Ints:
    """Those of the ways `left` that in some class no other of them replaces; of equal ones the first stays.

    own: arms that own devices serve, of each way.  score, usd: (classes, ways).  calls: by arm, (classes, ways,
    buckets).  Shares of a class are chosen for each class alone, so a way that is replaced in every class is in
    some optimum not used. Only ways whose own arms are among another's can replace it.
    """
    groups: dict[frozenset[int], list[int]] = {}
    for way in left.tolist():
        groups.setdefault(own[way], []).append(way)
    kept: dict[frozenset[int], Ints] = {}
    for arms in sorted(groups, key=lambda arms: (len(arms), sorted(arms))):
        less = [found for others, found in kept.items() if others < arms]
        pool = np.sort(np.concatenate([*less, np.array(groups[arms], np.int64)]))
        kept[arms] = np.intersect1d(_minimal(arms, score, usd, calls, pool), groups[arms])
    return np.sort(np.concatenate(list(kept.values()))) if kept else left


def _minimal(arms: frozenset[int], score: Floats, usd: Floats, calls: Mapping[int, Floats], pool: Ints) -> Ints:
    replaced = np.ones(len(pool), bool)
    for number in range(len(score)):
        columns = [calls[arm][number, pool] for arm in sorted(arms)]
        values = np.column_stack([-score[number, pool], usd[number, pool], *columns])
        replaced &= dominated_rows(values)
    return pool[~replaced]

"""Classes of requests by size: their loads, and neighbours that make a pool together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.steady import UniformRequests
from comptroller.work.call import CallTable

SLICES = 4
"""Parts of a pool's requests by their work, each priced as equal requests; twice as many move capacities by 1 %."""


def load_of(calls: CallTable, which: npt.NDArray[np.bool_]) -> SlicedLoad:
    """Some of the calls in parts of equally many by their tokens, each as equal requests of its means.

    Shares stand in place of rates; arrivals are those of a Poisson process.
    """
    asked, written = (np.asarray(calls[name], np.float64)[which] for name in ("input_tokens", "output_tokens"))
    parts = np.array_split(np.argsort(asked + written, kind="stable"), min(SLICES, len(asked)))
    means = [np.array([values[part].mean() for part in parts]) for values in (asked, written)]
    share = np.array([len(part) for part in parts]) / len(asked)
    return SlicedLoad(UniformRequests(*means), share, 1.0, float((asked + written).max()))


def whole_groups(filled: Sequence[float]) -> list[list[int]]:
    """Places in groups of neighbours, each of which fills at least one; what is left at the end joins the last.

    >>> whole_groups([0.4, 0.7, 1.5, 0.2]), whole_groups([0.1, 0.2])
    ([[0, 1], [2, 3]], [[0, 1]])
    """
    groups, open_ = list[list[int]](), list[int]()
    for place in range(len(filled)):
        open_.append(place)
        if sum(filled[each] for each in open_) >= 1:
            groups.append(open_)
            open_ = []
    if not groups:
        return [open_]
    groups[-1] += open_
    return groups

"""Choices that need not be looked at: another is nowhere worse."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def dominated_rows(values: npt.NDArray[np.float64]) -> npt.NDArray[np.bool_]:
    """Rows for which another row is nowhere greater, and somewhere less or equal throughout but earlier.

    >>> dominated_rows(np.array([[1.0, 2.0], [1.0, 3.0], [0.0, 9.0], [1.0, 2.0]])).tolist()
    [False, True, False, True]
    """
    count = len(values)
    order = np.lexsort((np.arange(count), *values.T[::-1]))
    ranked, result = values[order], np.zeros(count, bool)
    for place in range(count):
        if not result[place]:
            later = np.flatnonzero(~result[place + 1 :]) + place + 1
            result[later] = (ranked[place] <= ranked[later]).all(axis=1)
    found = np.zeros(count, bool)
    found[order] = result
    return found

"""Sums of terms in logarithms, which no exponent overflows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def log_sum(*terms: Array) -> Array:
    """log of a sum of exponentials of the terms.

    >>> float(log_sum(np.log(1.0), np.log(3.0)).round(6))
    1.386294
    """
    return np.asarray(np.logaddexp.reduce(np.broadcast_arrays(*terms), axis=0))

"""How evenly those who share a fleet are served."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def jain_index(values: npt.ArrayLike) -> float:
    """Jain's index of fairness of what each of n parties gets: 1 where all get alike, 1/n where one gets everything.

    J = (sum x_i)^2 / (n sum x_i^2)

    x_i: what party i gets, not negative; unknown ones (NaN) are left out, and without any J is NaN. Source: Jain, Chiu,
    Hawe, A Quantitative Measure of Fairness, DEC-TR-301, 1984.

    >>> jain_index([1.0, 1.0, 1.0]), jain_index([1.0, 0.0]), round(jain_index([3.0, 1.0]), 3)
    (1.0, 0.5, 0.8)
    """
    got = np.asarray(values, np.float64)
    got = got[np.isfinite(got)]
    squares = float((got * got).sum())
    return float(got.sum()) ** 2 / (got.size * squares) if squares > 0 else float("nan")

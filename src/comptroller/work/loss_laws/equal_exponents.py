"""L = E + A / N^alpha + B / D^alpha: parameters and tokens grow alike with compute.

Source: Muennighoff et al., arXiv 2305.16264, section 3, who tie the exponents.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    >>> runs = {"params": np.array([1e9]), "tokens": np.array([1e10])}
    >>> LAW.loss(LAW.published, runs).round(3).tolist()
    [2.661]
    """
    return log_sum(x[0] - x[3] * np.log(runs[PARAMS]), x[1] - x[3] * np.log(runs[TOKENS]), x[2])


LAW = LossLaw(
    "equal_exponents",
    "E + A / N^alpha + B / D^alpha",
    "arXiv 2305.16264",
    ("a", "b", "floor", "alpha"),
    ((6.0, 7.5, 0.6, 0.35), (8.0, 9.0, 0.5, 0.45)),
    _log_loss,
    positive=("a", "b", "floor"),
    published={"a": 521.0, "b": 1488.0, "floor": 1.869, "alpha": 0.3526596},
)

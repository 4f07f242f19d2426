"""L = E + A / N^alpha + B / D^beta.

Source: Hoffmann et al., arXiv 2203.15556; published values are those of Epoch's refit (arXiv 2404.10102).
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    >>> runs = {"params": np.array([70e9]), "tokens": np.array([1.4e12])}
    >>> LAW.loss(LAW.published, runs).round(3).tolist()
    [1.973]
    """
    return log_sum(x[0] - x[3] * np.log(runs[PARAMS]), x[1] - x[4] * np.log(runs[TOKENS]), x[2])


LAW = LossLaw(
    "chinchilla",
    "E + A / N^alpha + B / D^beta",
    "arXiv 2203.15556",
    ("a", "b", "floor", "alpha", "beta"),
    ((6.0, 7.5, 0.6, 0.35, 0.37), (10.0, 10.0, 0.5, 0.5, 0.5), (4.0, 4.0, -0.5, 0.25, 0.25)),
    _log_loss,
    positive=("a", "b", "floor"),
    published={"a": 477.84, "b": 2143.86, "floor": 1.81724, "alpha": 0.34731, "beta": 0.36718},
)

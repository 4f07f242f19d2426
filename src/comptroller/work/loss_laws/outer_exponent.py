"""L = E + (A / N^alpha + B / D^beta)^gamma: parameters and tokens help each other.

Source: Busbridge et al., arXiv 2502.08606 (supervised law); Quartet, arXiv 2505.14669, has the same without precision.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    With gamma 1 Chinchilla's:

    >>> runs = {"params": np.array([70e9]), "tokens": np.array([1.4e12])}
    >>> values = {"a": 477.84, "b": 2143.86, "floor": 1.81724, "alpha": 0.34731, "beta": 0.36718, "gamma": 1.0}
    >>> LAW.loss(values, runs).round(3).tolist()
    [1.973]
    """
    inner = log_sum(x[0] - x[3] * np.log(runs[PARAMS]), x[1] - x[4] * np.log(runs[TOKENS]))
    return log_sum(x[5] * inner, x[2])


LAW = LossLaw(
    "outer_exponent",
    "E + (A / N^alpha + B / D^beta)^gamma",
    "arXiv 2502.08606",
    ("a", "b", "floor", "alpha", "beta", "gamma"),
    ((6.0, 7.5, 0.6, 0.35, 0.37, 1.0), (8.0, 9.0, 0.3, 0.45, 0.45, 0.6)),
    _log_loss,
    positive=("a", "b", "floor"),
)

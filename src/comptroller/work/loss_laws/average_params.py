"""L = E + A / M^alpha + B / D^beta, M: mean of the parameters that were active over training.

Source: The journey matters, arXiv 2501.12486: dense and gradually pruned models of one mean lie on one curve.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum

AVERAGE = "average_params"


def mean_params(full: float, kept: float, start: float, end: float) -> float:
    """Mean active parameters of a model pruned linearly to a share between two shares of its training.

    M = N (start + (end - start) (1 + kept) / 2 + (1 - end) kept). The best window is 0.25 to 0.75.

    >>> round(mean_params(1e9, 0.2, 0.25, 0.75) / 1e9, 6)
    0.6
    """
    return full * (start + (end - start) * (1 + kept) / 2 + (1 - end) * kept)


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    >>> runs = {"average_params": np.array([70e9]), "tokens": np.array([1.4e12])}
    >>> values = {"a": 477.84, "b": 2143.86, "floor": 1.81724, "alpha": 0.34731, "beta": 0.36718}
    >>> LAW.loss(values, runs).round(3).tolist()
    [1.973]
    """
    return log_sum(x[0] - x[3] * np.log(runs[AVERAGE]), x[1] - x[4] * np.log(runs[TOKENS]), x[2])


LAW = LossLaw(
    "average_params",
    "E + A / M^alpha + B / D^beta, M the mean of active parameters over training",
    "arXiv 2501.12486",
    ("a", "b", "floor", "alpha", "beta"),
    ((6.0, 7.5, 0.6, 0.35, 0.37), (4.0, 4.0, -0.5, 0.25, 0.25)),
    _log_loss,
    needs=(AVERAGE,),
    positive=("a", "b", "floor"),
)

"""L = E + A / N^alpha + C / K: the limit of compute on one text, by larger models and by more members of an ensemble.

Source: Pre-training under infinite compute, arXiv 2509.14786: on 200 M tokens L = 3.43 + 0.05 / N^1.02 (N in billions)
for one regularised model, excess as 1 / K over members; 3.34 for K without end of 300 M parameters, 3.17 for both.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum

MEMBERS = "members"
BILLION = 1e9


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    One model without end of parameters has 3.43 nats, of 300 M parameters 3.60:

    >>> runs = {"params": np.array([1e15, 3e8]), "members": np.array([1.0, 1.0])}
    >>> LAW.loss(LAW.published, runs).round(2).tolist()
    [3.43, 3.6]
    """
    size = x[1] - x[2] * np.log(runs[PARAMS] / BILLION)
    return log_sum(x[0], size, x[3] - np.log(runs[MEMBERS]))


LAW = LossLaw(
    "ensembles",
    "E + A / (N / 1e9)^alpha + C / K",
    "arXiv 2509.14786",
    ("floor", "a", "alpha", "c"),
    ((1.1, -3.0, 1.0, -1.3), (0.5, -1.0, 0.5, -2.0)),
    _log_loss,
    needs=(MEMBERS,),
    positive=("floor", "a", "c"),
    published={"floor": 3.17, "a": 0.05, "alpha": 1.02, "c": 0.26},
)
"""`c` is the difference of the two published limits without end of parameters, 3.43 - 3.17."""

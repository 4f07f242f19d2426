"""L = ((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D: no floor.

Source: Kaplan et al., arXiv 2001.08361, equation 1.5 and section 1.2.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    >>> runs = {"params": np.array([8.8e13, 1e9]), "tokens": np.array([1e30, 1e30])}
    >>> LAW.loss(LAW.published, runs).round(3).tolist()
    [1.0, 2.376]
    """
    inner = log_sum(x[2] / x[3] * (x[0] - np.log(runs[PARAMS])), x[1] - np.log(runs[TOKENS]))
    return np.asarray(x[3] * inner)


LAW = LossLaw(
    "kaplan",
    "((N_c / N)^(alpha_N / alpha_D) + D_c / D)^alpha_D",
    "arXiv 2001.08361",
    ("n_c", "d_c", "alpha_n", "alpha_d"),
    ((32.0, 31.0, 0.076, 0.095), (28.0, 28.0, 0.1, 0.15)),
    _log_loss,
    positive=("n_c", "d_c"),
    published={"n_c": 8.8e13, "d_c": 5.4e13, "alpha_n": 0.076, "alpha_d": 0.095},
)

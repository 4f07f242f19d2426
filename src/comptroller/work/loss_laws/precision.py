"""L = E + (A / (N e_N(P))^alpha + B / (D e_D(Q))^beta)^gamma with e(P) = 1 - exp(-P / c).

P: bits of the forward pass, which cost parameters; Q: of the backward pass, which cost tokens. The law of Quartet
(arXiv 2505.14669) with effective shares as functions of bits, as Kumar et al. (arXiv 2411.04330) have them.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum

FORWARD, BACKWARD = "forward_bits", "backward_bits"


def effective_share(bits: Array, constant: float) -> Array:
    """Parameters or tokens that so many bits leave.

    Quartet's 4-bit formats leave 0.64 of the parameters; a constant of 3.915 says so:

    >>> effective_share(np.array([4.0, 16.0]), 3.915).round(2).tolist()
    [0.64, 0.98]
    """
    return np.asarray(-np.expm1(-bits / constant))


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    Without loss of precision Chinchilla's:

    >>> runs = {"params": np.array([70e9]), "tokens": np.array([1.4e12]), "forward_bits": np.array([16.0])}
    >>> runs["backward_bits"] = np.array([16.0])
    >>> values = {"a": 477.84, "b": 2143.86, "floor": 1.81724, "alpha": 0.34731, "beta": 0.36718, "gamma": 1.0}
    >>> LAW.loss({**values, "forward": 0.1, "backward": 0.1}, runs).round(3).tolist()
    [1.973]
    """
    params = np.log(runs[PARAMS] * effective_share(runs[FORWARD], float(np.exp(x[6]))))
    tokens = np.log(runs[TOKENS] * effective_share(runs[BACKWARD], float(np.exp(x[7]))))
    return log_sum(x[5] * log_sum(x[0] - x[3] * params, x[1] - x[4] * tokens), x[2])


LAW = LossLaw(
    "precision",
    "E + (A / (N e(P))^alpha + B / (D e(Q))^beta)^gamma, e(P) = 1 - exp(-P / c)",
    "arXiv 2505.14669, 2411.04330",
    ("a", "b", "floor", "alpha", "beta", "gamma", "forward", "backward"),
    ((6.0, 7.5, 0.6, 0.35, 0.37, 1.0, 1.0, 0.0), (6.0, 7.5, 0.6, 0.35, 0.37, 1.0, 0.0, 1.0)),
    _log_loss,
    needs=(FORWARD, BACKWARD),
    positive=("a", "b", "floor", "forward", "backward"),
)

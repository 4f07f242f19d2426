"""L = E + A / N'^alpha + B / D'^beta with D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), and N' alike.

U: unique tokens; U_N: parameters that are the best for them, N' = U_N + U_N R_N (1 - exp(-(N / U_N - 1) / R_N)).
Source: Muennighoff et al., arXiv 2305.16264, equations 5 and 6; github.com/huggingface/datablations.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum

UNIQUE = "unique_tokens"


def worth(amount: Array, unique: Array, repeats: float) -> Array:
    """What an amount is worth of which only a part is unique.

    >>> worth(np.array([1.0, 5.0]), np.array([1.0, 1.0]), 15.387756).round(3).tolist()
    [1.0, 4.522]
    """
    more = np.maximum(amount / unique - 1.0, 0.0)
    return np.asarray(np.minimum(amount, unique) - unique * repeats * np.expm1(-more / repeats))


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    All tokens are unique; of a billion parameters such a text can use most:

    >>> runs = {"params": np.array([1e9]), "tokens": np.array([1e10]), "unique_tokens": np.array([1e10])}
    >>> LAW.loss(LAW.published, runs).round(3).tolist()
    [2.666]
    """
    alpha, repeats = x[3], np.exp(x[4:6])
    unique = np.minimum(runs[UNIQUE], runs[TOKENS])
    best = (np.exp(x[0] - x[1]) * unique**alpha) ** (1.0 / alpha)
    tokens = worth(runs[TOKENS], unique, float(repeats[0]))
    params = worth(runs[PARAMS], np.minimum(best, runs[PARAMS]), float(repeats[1]))
    return log_sum(x[0] - alpha * np.log(params), x[1] - alpha * np.log(tokens), x[2])


LAW = LossLaw(
    "data_constrained",
    "E + A / N'^alpha + B / D'^alpha, D' = U + U R_D (1 - exp(-(D / U - 1) / R_D)), N' alike",
    "arXiv 2305.16264",
    ("a", "b", "floor", "alpha", "repeats_tokens", "repeats_params"),
    ((6.25, 7.3, 0.63, 0.35, 2.7, 1.7), (8.0, 9.0, 0.5, 0.45, 1.0, 1.0)),
    _log_loss,
    needs=(UNIQUE,),
    positive=("a", "b", "floor", "repeats_tokens", "repeats_params"),
    published={
        "a": 521.0, "b": 1488.0, "floor": 1.869, "alpha": 0.3526596, "repeats_tokens": 15.387756,
        "repeats_params": 5.309743,
    },
)  # fmt: skip

"""L = d + a n^-b prod over passes of ((k + 1) / k)^-b_k, b_k = b (1/2)^(k / tau): the utility of a text halves.

n: unique tokens, which a run sees D / n times. Source: Scaling laws for data filtering (arXiv 2404.07177; github.com/
locuslab/scaling_laws_data_filtering, objective.py). Mixtures of pools average b_k; a table of runs has one pool each.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum

UNIQUE = "unique_tokens"
MOST_PASSES = 256
"""Passes that are summed; after ten half-lives a pass changes a loss by a thousandth of what the first one did."""


def pass_utilities(half_life: float, passes: int = MOST_PASSES) -> Array:
    """Utility of passes 2, 3, ... over that of the first: (1/2)^(k / tau), k = 1, 2, ...

    >>> pass_utilities(1.0, 3).tolist()
    [0.5, 0.25]
    """
    return np.asarray(0.5 ** (np.arange(1, passes) / half_life))


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    With an endless half-life the utility of fresh text: (D)^-b

    >>> runs = {"params": np.ones(2), "tokens": np.array([2e9, 8e9]), "unique_tokens": np.array([2e9, 2e9])}
    >>> LAW.loss({"a": 40.0, "b": 0.2, "floor": 1e-9, "half_life": 1e6}, runs).round(3).tolist()
    [0.552, 0.418]
    """
    unique = np.minimum(runs[UNIQUE], runs[TOKENS])
    whole = np.minimum(runs[TOKENS] / unique, MOST_PASSES)
    number = np.arange(2, MOST_PASSES + 1)
    step = np.log(number / (number - 1.0))
    utility = pass_utilities(float(np.exp(x[3])))
    done = np.clip(whole[:, None] - number[None, :] + 1.0, 0.0, 1.0)
    gain = (done * step * utility).sum(axis=1)
    return log_sum(x[0] - x[1] * (np.log(unique) + gain), x[2])


LAW = LossLaw(
    "filtering",
    "E + a n^-b prod ((k + 1) / k)^(-b (1/2)^(k / tau)) over passes k",
    "arXiv 2404.07177",
    ("a", "b", "floor", "half_life"),
    ((7.0, 0.3, 0.5, 1.0), (3.0, 0.15, -1.0, 2.0)),
    _log_loss,
    needs=(UNIQUE,),
    positive=("a", "floor", "half_life"),
)

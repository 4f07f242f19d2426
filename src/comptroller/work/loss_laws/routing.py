"""log L = a log N + b log E' + c log N log E' + d, 1 / E' = 1 / (E - 1 + 1 / (1 / E_0 - 1 / E_max)) + 1 / E_max.

E: experts; E' saturates at E_max. Source: Unified scaling laws for routed language models (arXiv 2202.01169,
equations 1 and 6); github.com/google-deepmind/scaling_laws_for_routing has their 5,799 rows.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, Array, Columns, LossLaw

EXPERTS = "experts"


def saturated_experts(experts: Array, least: float, most: float) -> Array:
    """E' between `least`, of one expert, and `most`.

    >>> saturated_experts(np.array([1.0, 1e9]), 1.5, 300.0).round(2).tolist()
    [1.5, 300.0]
    """
    inner = experts - 1.0 + 1.0 / (1.0 / least - 1.0 / most)
    return np.asarray(1.0 / (1.0 / inner + 1.0 / most))


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    One expert of E_0 = 1 is dense: log L = a log N + d

    >>> runs = {"params": np.array([1e9]), "experts": np.array([1.0])}
    >>> values = {"a": -0.08, "b": -0.1, "c": 0.004, "d": 2.6, "least": 1.0, "span": 300.0}
    >>> LAW.log_loss(LAW.transformed(values), runs).round(3).tolist()
    [0.942]
    """
    least = np.exp(x[4])
    size = np.log(saturated_experts(runs[EXPERTS], float(least), float(least + np.exp(x[5]))))
    n = np.log(runs[PARAMS])
    return np.asarray(x[0] * n + x[1] * size + x[2] * n * size + x[3])


LAW = LossLaw(
    "routing",
    "log L = a log N + b log E' + c log N log E' + d, E' experts that saturate",
    "arXiv 2202.01169",
    ("a", "b", "c", "d", "least", "span"),
    ((-0.08, -0.1, 0.004, 2.6, 0.4, 5.7), (-0.1, -0.05, 0.0, 3.0, 0.0, 4.0)),
    _log_loss,
    needs=(EXPERTS,),
    positive=("least", "span"),
)

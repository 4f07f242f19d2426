"""L = E + A / N^alpha + B / D^beta + d, d = t 2^(-k P) + p 2^(-c P) / (N^f S_q^o) + l 2^(-m P) / (N^n S_f^x S_q^r).

P: bits of the weights; S = D / (N P / 8) tokens a byte, S_q = share x S those in quantisation-aware training, S_f the
others. Source: Compute-optimal quantisation-aware training, arXiv 2509.22935 (757 runs), whose optimal share is
`work.scaling_stages.qat_share`. Of its last term's sign in S_f reports differ; it is fitted.
"""

from __future__ import annotations

import numpy as np

from comptroller.work.loss_laws import PARAMS, TOKENS, Array, Columns, LossLaw
from comptroller.work.loss_laws._terms import log_sum

BITS, SHARE = "bits", "qat_share"
LN2 = float(np.log(2.0))


def _log_loss(x: Array, runs: Columns) -> Array:
    """
    With many bits Chinchilla's:

    >>> runs = {"params": np.array([70e9]), "tokens": np.array([1.4e12])}
    >>> runs |= {"bits": np.array([200.0]), "qat_share": np.array([0.5])}
    >>> LAW.log_loss(np.array(LAW.starts[0]), runs).round(1).tolist()
    [0.7]
    """
    n, d, bits = np.log(runs[PARAMS]), np.log(runs[TOKENS]), runs[BITS]
    size = d - n - np.log(bits / 8.0)
    aware, plain = size + np.log(runs[SHARE]), size + np.log1p(-runs[SHARE])
    first = x[5] - np.exp(x[6]) * LN2 * bits
    second = x[7] - np.exp(x[8]) * LN2 * bits - x[9] * n - x[10] * aware
    third = x[11] - np.exp(x[12]) * LN2 * bits - x[13] * n - x[14] * plain - x[15] * aware
    return log_sum(x[0] - x[3] * n, x[1] - x[4] * d, x[2], first, second, third)


LAW = LossLaw(
    "quantisation",
    "E + A / N^alpha + B / D^beta + t 2^(-k P) + p 2^(-c P) / (N^f S_q^o) + l 2^(-m P) / (N^n S_f^x S_q^r)",
    "arXiv 2509.22935",
    ("a", "b", "floor", "alpha", "beta", "t", "k", "p", "c", "f", "o", "l", "m", "n", "x", "r"),
    ((6.0, 7.5, 0.6, 0.35, 0.37, -1.0, 0.0, 1.0, 0.0, 0.1, 0.3, 0.0, 0.0, 0.1, -0.2, 0.3),),
    _log_loss,
    needs=(BITS, SHARE),
    positive=("a", "b", "floor", "t", "k", "p", "c", "l", "m"),
)

"""Laws of stages beyond the first pass over text: repetition, quantisation-aware training, reinforcement learning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

REPEAT_VALUE = 15.387756
"""R*_D of Muennighoff et al. (arXiv 2305.16264; github.com/huggingface/datablations): passes after which repeated text
has lost all but 1 / e of its worth. At twice this a hundred passes over text would be worth half more."""

QAT_CONSTANT = 6.7297
"""a of the optimal share of quantisation-aware training (arXiv 2509.22935), over 757 runs of 1 to 6 bits."""


def repeated_tokens(tokens: npt.ArrayLike, unique: float) -> Array:
    """Tokens of fresh text that so many tokens of a limited text are worth.

    D' = U + U R* (1 - exp(-(D / U - 1) / R*)), D below U as it is. Source: arXiv 2305.16264, equation 5.

    >>> repeated_tokens([1e9, 4e9], 1e9).round(-7).tolist()
    [1000000000.0, 3730000000.0]
    """
    d = np.asarray(tokens, float)
    passes = np.maximum(d / unique - 1.0, 0.0)
    return np.asarray(np.minimum(d, unique) + unique * REPEAT_VALUE * -np.expm1(-passes / REPEAT_VALUE))


def qat_share(params: npt.ArrayLike, tokens: npt.ArrayLike, bits: float) -> Array:
    """Share of the tokens that quantisation-aware training takes at best.

    f = exp(log S - a / log S) / S, S = D / (N bits / 8) tokens a byte of weights. Source: arXiv 2509.22935.

    >>> [round(float(qat_share(1.0, s, 8.0)), 3) for s in (10, 100, 1000, 10000)]
    [0.054, 0.232, 0.377, 0.482]
    """
    size = np.log(np.maximum(np.asarray(tokens, float) / (np.asarray(params, float) * bits / 8.0), 1.0 + 1e-9))
    return np.asarray(np.exp(-QAT_CONSTANT / size))


def rl_share(compute: npt.ArrayLike, midpoint: float, exponent: float) -> Array:
    """Share of its gain that reinforcement learning has made: 1 / (1 + (C_mid / C)^B).

    Source: ScaleRL (arXiv 2510.13786), R = R_0 + (A - R_0) / (1 + (C_mid / C)^B).

    >>> rl_share([0.0, 1.0, 3.0], 1.0, 1.0).tolist()
    [0.0, 0.5, 0.75]
    """
    c = np.asarray(compute, float)
    with np.errstate(divide="ignore"):
        return np.asarray(1.0 / (1.0 + (midpoint / c) ** exponent))


def selected_share(rate: npt.ArrayLike, samples: int, true_positive: float, false_positive: float) -> Array:
    """Share of questions solved by one of k samples that a verifier accepts, or any of them where it accepts none.

    P = (1 - r^k) p t / (p t + (1 - p) f) + r^k p (1 - t) / r, r = 1 - p t - (1 - p) f: samples are alike, so that an
    accepted one is right with the odds of its being right and accepted.

    >>> selected_share(0.3, 1, 0.9, 0.2).round(6).item(), selected_share(0.3, 8, 1.0, 0.0).round(4).item()
    (0.3, 0.9424)
    """
    p = np.asarray(rate, float)
    right, wrong = p * true_positive, (1 - p) * false_positive
    none = 1.0 - right - wrong
    accepted = np.where(right + wrong > 0, right / np.maximum(right + wrong, 1e-300), 0.0)
    rejected = np.where(none > 0, p * (1 - true_positive) / np.maximum(none, 1e-300), 0.0)
    return np.asarray((1 - none**samples) * accepted + none**samples * rejected)

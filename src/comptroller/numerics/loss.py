"""What a format costs a model: a constant of the model times the relative noise of its matrices."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from comptroller.errors import InputError


def divergence(constant: float, qsnr_db: float) -> float:
    """KL = C 10^(-QSNR / 10), nats per token: linear in the power of the noise.

    >>> round(divergence(35.0, 20.0), 3)
    0.35
    """
    return constant * 10 ** (-qsnr_db / 10)


def fitted_constant(qsnr_db: Sequence[float], kl: Sequence[float]) -> float:
    """C of a model: the geometric mean of KL 10^(QSNR / 10) over formats.

    Raises:
        InputError: fewer than two formats, or a loss that is not above 0.

    >>> fitted_constant([20.0, 30.0], [0.3, 0.03])
    30.0
    """
    if len(kl) < 2 or min(kl) <= 0 or not np.isfinite(qsnr_db).all():
        raise InputError("a constant needs two formats that each lose something")
    return float(np.round(np.exp(np.mean(np.log(kl) + np.log(10) / 10 * np.asarray(qsnr_db))), 10))


def held_out_errors(qsnr_db: Sequence[float], kl: Sequence[float]) -> list[float]:
    """Relative error of every format's loss predicted from the others.

    >>> [round(error, 3) for error in held_out_errors([20.0, 30.0, 40.0], [0.3, 0.03, 0.0033])]
    [-0.047, -0.047, 0.1]
    """
    errors = []
    for i, (db, value) in enumerate(zip(qsnr_db, kl, strict=True)):
        others = [(d, k) for j, (d, k) in enumerate(zip(qsnr_db, kl, strict=True)) if j != i]
        constant = fitted_constant([d for d, _ in others], [k for _, k in others])
        errors.append(value / divergence(constant, db) - 1)
    return errors

"""What a format costs a model: a published row where there is one, else the model's constant times the noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.format import Format
from comptroller.facts.quality import QualityFacts

NORMAL_90 = 1.645


@dataclass(frozen=True, slots=True)
class KnownLoss:
    """Divergence (nats per token) with a 90 % interval, perplexity ratio where published, and where it is from.

    kl is None where a table gives perplexity only.
    """

    kl: float | None
    low: float | None
    high: float | None
    ratio: float | None
    source: str


def known_loss(facts: QualityFacts, fmt: Format, qsnr_db: float | None = None) -> KnownLoss:
    """The loss of a model in a format; a published row overrides a prediction.

    qsnr_db: of what the model's matrices put out in the format (`measure.quality.noise_db`); needed for a prediction.

    Raises:
        UnsupportedError: no row, and no constant or a divergence beyond what the constant was fitted on; says what to
            measure.
    """
    row = facts.published(fmt.id)
    if row:
        error = NORMAL_90 * (row.kl_error or 0.0)
        low, high = (None, None) if row.kl is None else (row.kl - error, row.kl + error)
        return KnownLoss(row.kl, low, high, facts.ratio(row), f"published: {facts.sources[row.source].title}")
    measure = f"measure it: comptroller measure quality MODEL {fmt.id} --text FILE"
    if facts.constant is None or qsnr_db is None:
        raise UnsupportedError(f"{facts.id} has no row for {fmt.id} and nothing to predict it from; {measure}")
    kl = divergence(facts.constant.kl_per_noise, qsnr_db)
    if kl > facts.constant.most_kl:
        raise UnsupportedError(
            f"{facts.id} in {fmt.id}: {kl:.2g} nats, its constant holds up to {facts.constant.most_kl:.2g}; {measure}"
        )
    factor = math.exp(NORMAL_90 * facts.constant.error)
    return KnownLoss(kl, kl / factor, kl * factor, None, f"predicted from {facts.constant.formats} formats")


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

"""What a format costs a model: a published row where there is one, else the model's constant times the noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.format import Format
from comptroller.facts.quality import QualityFacts
from comptroller.numerics.loss import divergence

NORMAL_90 = 1.645
"""Half the width of a 90 % interval of a normal distribution, in standard deviations."""


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

"""One budget of compute over domains whose losses follow laws of their own: more steps where they buy more.

Each domain gets an expert of its own (HDEE, arXiv 2502.19385: hard domains need more). Along its optimum of parameters
and tokens a domain's loss is E + K C^-g; the weighted mean of losses is least where the marginal losses are alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.work.scaling_law import ScalingLaw

Array = npt.NDArray[np.float64]

HALVINGS = 200
"""Bisections of the logarithm of the price over 200 decades: to the last digit of a double."""


@dataclass(frozen=True, slots=True)
class DomainShare:
    """Compute of a domain. loss, even_loss: with it, and with an even share.  beyond: whether its law's hold-out does
    not reach so far."""

    family: str
    flops: float
    share: float
    params: float
    tokens: float
    loss: float
    even_loss: float
    beyond: bool


def frontier_law(law: ScalingLaw) -> tuple[float, float, float]:
    """E, K and g of the loss along the optimum, L = E + K C^-g, g = alpha beta / (alpha + beta).

    >>> from comptroller.work.scaling_law import CHINCHILLA
    >>> floor, scale, power = frontier_law(CHINCHILLA)
    >>> round(floor + scale * 5.76e23**-power, 4) == round(float(CHINCHILLA.loss(*CHINCHILLA.optimum(5.76e23))), 4)
    True
    """
    power = law.alpha * law.beta / (law.alpha + law.beta)
    params, tokens = law.optimum(1.0)
    return law.floor, float(law.loss(params, tokens)) - law.floor, power


def split_compute(laws: Sequence[ScalingLaw], flops: float) -> Array:
    """FLOPs of each domain, so that the mean of their losses is least.

    K g C^-(g + 1) = lambda for all, which gives C(lambda); lambda is where they add up to the budget.

    >>> from comptroller.work.scaling_law import CHINCHILLA
    >>> split_compute([CHINCHILLA, CHINCHILLA], 2e20).round(-14).tolist()
    [1e+20, 1e+20]
    """
    _, scale, power = np.array([frontier_law(law) for law in laws]).T

    def at(log_price: float) -> Array:
        return np.asarray(np.exp((np.log(scale * power) - log_price) / (power + 1.0)))

    low, high = -460.0, 460.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at(middle).sum() > flops else (low, middle)
    found = at(high)
    return np.asarray(found * flops / found.sum())


def domain_shares(families: Sequence[tuple[str, ScalingLaw, float]], flops: float) -> tuple[DomainShare, ...]:
    """Every domain's part of a budget beside an even one. families: name, law, and FLOPs that its hold-out supports."""
    split = split_compute([law for _, law, _ in families], flops)
    found = []
    for (name, law, reach), own in zip(families, split, strict=True):
        params, tokens = law.optimum(own)
        even = law.loss(*law.optimum(flops / len(families)))
        found.append(DomainShare(
            name, float(own), float(own / flops), float(params), float(tokens), float(law.loss(params, tokens)),
            float(even), bool(own > reach),
        ))  # fmt: skip
    return tuple(found)

"""Integers against floats of the same width: QSNR by crest factor, and the crest factor at which floats win."""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import pairwise

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm

from comptroller.facts.format import Format
from comptroller.numerics.error import BlockDistribution, CumulativeMoments, crest_factor, predicted_qsnr_db
from comptroller.numerics.grid import Floats
from comptroller.numerics.rotation import rotate, rotation_size

PHASES = 16
"""Sizes within an octave over which power-of-two scales are averaged: a 16th of an octave is 4 % in size."""

MOST = 12.0
"""Where the normal distribution is cut off, in standard deviations: the mass beyond is 4e-33."""


def integer_qsnr_db(top: float, crest: float, block: int) -> float:
    """QSNR of symmetric integers up to `top` in blocks with an exact scale, dB.

    QSNR = 10 log10(12 M^2 / k^2 * g / (g - 1)): steps of amax / M, uniform noise, none on the largest.

    top: M, the largest code.  crest: k = sqrt(E[amax^2] / E[x^2]) of blocks.  block: g, elements of a block.

    >>> round(integer_qsnr_db(127, 2.3885, 32), 2)
    45.44
    """
    return 10 * math.log10(12 * top**2 / crest**2 * block / (block - 1))


@lru_cache(maxsize=1)
def _normal() -> CumulativeMoments:
    return CumulativeMoments.of(norm(), MOST)


def spread_with_crest(crest: float, block: int) -> BlockDistribution:
    """Gaussian blocks whose largest element is `crest` times their root mean square, of any size in an octave.

    crest: between that of a uniform block, sqrt(g / (1 + (g - 1) / 3)), and sqrt(g).
    """
    every = _normal()

    def excess(largest: float) -> float:
        rest = CumulativeMoments(every.at, every.below, largest).second
        return largest / math.sqrt((largest**2 + (block - 1) * rest) / block) - crest

    largest = float(brentq(excess, 1e-3, 1e3))
    factors = 2.0 ** (np.arange(PHASES) / PHASES)
    others = tuple(
        CumulativeMoments(every.at * f, every.below * [[1], [f], [f * f]], min(largest, MOST) * f) for f in factors
    )
    return BlockDistribution(largest * factors, factors**-2 / PHASES, others, block, 2 * largest)


def crossover(integers: Format, floats: Format) -> float | None:
    """The crest factor of Gaussian blocks from which floats lose less than integers; None if they never do.

    Both formats have the same block. A block of g cannot exceed a crest factor of sqrt(g).
    """
    block = integers.levels[0].block

    def gain(crest: float) -> float:
        spread = spread_with_crest(crest, block)
        return predicted_qsnr_db(integers, spread) - predicted_qsnr_db(floats, spread)

    crests = np.linspace(math.sqrt(block / (1 + (block - 1) / 3)) * 1.005, math.sqrt(block) * 0.99, 30)
    gains = [gain(float(crest)) for crest in crests]
    turns = (i for i, (one, other) in enumerate(pairwise(gains)) if one > 0 >= other)
    turn = next(turns, None)
    return None if turn is None else float(brentq(gain, crests[turn], crests[turn + 1], xtol=1e-3))


def hadamard_effect(x: Floats, fmt: Format) -> tuple[float, float]:
    """Crest factors of the blocks of a tensor before and after the rotation that fits the format."""
    size = rotation_size(x.shape[-1], fmt)
    block = fmt.levels[0].block if fmt.levels and fmt.levels[0].block else x.shape[-1]
    return crest_factor(x, block), crest_factor(rotate(x, size), block)

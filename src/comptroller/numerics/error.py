"""How much a format loses: measured on samples, and in closed form from a distribution.

QSNR = 10 log10(E[x^2] / E[(x - q(x))^2]), in dB: the signal over the noise of quantisation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.facts.format import Format
from comptroller.numerics.grid import ElementGrid, Floats, grid
from comptroller.numerics.quantise import round_trip
from comptroller.numerics.scales import BlockStatistic, scales_of

Array = npt.NDArray[np.float64]

POINTS = 30_000
"""Points of a distribution's moments, at steps of 0.046 %: the trapezoid rule errs by about the square of it."""


def qsnr_db(x: Floats, fmt: Format) -> float:
    """Measured QSNR of a tensor in a format, dB; infinite where nothing is lost."""
    noise = np.square(x - round_trip(x, fmt), dtype=np.float64).sum()
    return 10 * math.log10(np.square(x, dtype=np.float64).sum() / noise) if noise else math.inf


def crest_factor(x: Floats, block: int) -> float:
    """k = sqrt(E[amax^2] / E[x^2]) of the blocks of a tensor.

    >>> crest_factor(np.array([[1.0, -1.0, 1.0, 1.0]], np.float32), 4)
    1.0
    """
    blocks = x.reshape(-1, block).astype(np.float64)
    return float(np.sqrt(np.square(np.abs(blocks).max(axis=1)).mean() / np.square(blocks).mean()))


@dataclass(frozen=True, slots=True)
class CumulativeMoments:
    """Cumulative moments 0, 1, 2 of a magnitude below each of a list of points, cut off at `most`."""

    at: Array
    below: Array
    most: float

    def between(self, edges: Array) -> Array:
        """Moments of each interval of ascending edges, (3, intervals), of a distribution that ends at `most`."""
        points = np.append(edges.clip(max=self.most), self.most)
        cumulated = np.stack([np.interp(points, self.at, row) for row in self.below])
        return np.diff(cumulated[:, :-1], axis=1) / max(float(cumulated[0, -1]), 1e-300)

    @property
    def second(self) -> float:
        """E[x^2]."""
        return float(self.between(np.array([0.0, self.most]))[2, 0])

    @classmethod
    def of(cls, distribution: Any, most: float) -> CumulativeMoments:
        """Of a symmetric distribution of scipy.stats, by the trapezoid rule."""
        at = np.concatenate([[0.0], np.geomspace(most * 1e-6, most, POINTS)])
        density = 2 * distribution.pdf(at)
        steps = np.diff(at) / 2
        curves = (density * at**k for k in range(3))
        below = [np.concatenate([[0.0], np.cumsum((y[1:] + y[:-1]) * steps)]) for y in curves]
        return cls(at, np.stack(below), most)


@dataclass(frozen=True, slots=True)
class BlockDistribution:
    """What blocks hold: groups of blocks by their largest element.

    largest, weight: of groups.  others: moments of the other magnitudes of a group, per element.
    block: elements.  whole: the largest of the tensor.
    """

    largest: Array
    weight: Array
    others: tuple[CumulativeMoments, ...]
    block: int
    whole: float

    @property
    def power(self) -> float:
        """E[x^2] per element."""
        rest = np.array([moments.second for moments in self.others])
        return float(self.weight @ (np.square(self.largest) + (self.block - 1) * rest)) / self.block


def spread_of(distribution: Any, block: int, elements: float = 2.0**24, groups: int = 96) -> BlockDistribution:
    """Independent draws of a symmetric distribution of scipy.stats, in blocks.

    The largest of a block has the distribution function F^g, F that of a magnitude; the others follow the magnitude
    cut off at the largest.  elements: of the tensor, which bounds its largest.

    >>> from scipy.stats import norm
    >>> round(math.sqrt(float(np.square((s := spread_of(norm(), 32)).largest) @ s.weight)), 2)
    2.39
    """
    whole = float(distribution.isf(0.5 / elements))
    every = CumulativeMoments.of(distribution, whole)
    tails = 1 - np.geomspace(1 / groups, block / elements, groups)
    share = np.unique(np.concatenate([np.linspace(0, 1, groups + 1)[:-1], tails, [1.0]]))
    middle = (share[1:] + share[:-1]) / 2
    largest = np.interp(middle ** (1 / block), every.below[0] / every.below[0, -1], every.at)
    others = tuple(CumulativeMoments(every.at, every.below, float(m)) for m in largest)
    return BlockDistribution(largest, np.diff(share), others, block, whole)


def spread_in(x: Floats, block: int, groups: int = 32) -> BlockDistribution:
    """The blocks of a tensor by the phase of their largest element within its octave.

    What a block loses relative to its largest element depends on the phase only, if scales are powers of two, and
    not even on that if they are exact; so blocks of all sizes share a group, each with the weight of its power.
    """
    blocks = np.sort(np.abs(x.reshape(-1, block).astype(np.float64)), axis=1)
    blocks = blocks[blocks[:, -1] > 0]
    mantissa = np.frexp(blocks[:, -1])[0]
    blocks = blocks[np.argsort(mantissa)]
    cuts = [cut for cut in np.array_split(blocks, groups) if len(cut)]
    seen = [_group(cut) for cut in cuts]
    weight = [len(cut) / len(blocks) * power for cut, (power, _) in zip(cuts, seen, strict=True)]
    largest = np.array([moments.most for _, moments in seen])
    whole = float(blocks[:, -1].max())
    return BlockDistribution(largest, np.array(weight), tuple(moments for _, moments in seen), block, whole)


def _group(cut: Array) -> tuple[float, CumulativeMoments]:
    """Power of a group in units of its representative, and moments of the others relative to their largest."""
    top = cut[:, -1:]
    octave = np.frexp(math.sqrt(np.square(top).mean()))[1]
    most = float(np.ldexp(np.frexp(top)[0].mean(), octave))
    ratio = (cut[:, :-1] / top * most).reshape(-1)
    weight = np.repeat(np.square(top[:, 0]), cut.shape[1] - 1)
    order = np.argsort(ratio)
    ratio, weight = ratio[order], weight[order] / weight.sum()
    below = np.stack([np.append(0.0, np.cumsum(weight * ratio**k)) for k in range(3)])
    return float(np.square(top / most).mean()), CumulativeMoments(np.append(0.0, ratio), below, most)


def predicted_qsnr_db(fmt: Format, spread: BlockDistribution) -> float:
    """QSNR of a block format from what its blocks hold, without quantising anything, dB.

    noise(m) = sum over the values c of the grid of integral (x - c s)^2 p(x | |x| < m) dx, over the reals nearest to
    c s, s = s(m) the stored scale of a block with largest element m; averaged over m, the largest counted apart.
    It takes saturation, subnormals and the rounding of scales in; INT v.s. FP (arXiv 2510.25602) approximates it.

    Raises:
        UnsupportedError: zero points, scales by the mean, sparsity and lattices have no such form here; measure them.
    """
    level = fmt.levels[0] if fmt.levels else None
    plain = level and level.fit != "absmean" and not level.zero_bits and fmt.of == 1
    if not level or not plain or (fmt.element.kind == "codebook" and not fmt.element.values):
        raise UnsupportedError(f"{fmt.id}: no closed form (zero points, sparsity, sketches); measure it on samples")
    cells = grid(fmt.element, level.fit)
    scale = _scales(fmt, cells, spread)
    pairs = zip(scale, spread.largest, spread.others, strict=True)
    noise = np.array([_noise(cells, s, m, others, spread.block) for s, m, others in pairs])
    return 10 * math.log10(spread.power / float(spread.weight @ noise))


def _scales(fmt: Format, cells: ElementGrid, spread: BlockDistribution) -> Array:
    """Stored scales of the groups, with one more block that holds the largest of the tensor."""
    largest = np.append(spread.largest, spread.whole).astype(np.float32)
    scales = scales_of(fmt, cells, BlockStatistic(largest, -largest, largest), len(largest))
    return np.abs(scales.scale[:-1].astype(np.float64))


def _noise(cells: ElementGrid, scale: float, largest: float, others: CumulativeMoments, block: int) -> float:
    """Mean squared error per element of a block; half of the elements on either side of zero."""
    if scale == 0:
        return float(largest**2 + (block - 1) * others.second) / block
    values = cells.values() * scale
    edges = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    total = 0.0
    for sign in (1.0, -1.0):
        kept = np.sort(sign * edges).clip(0)
        points = values if sign > 0 else -values[::-1]
        mass, first, second = others.between(kept)
        total += float((second - 2 * points * first + points**2 * mass).sum()) / 2
    peak = float(np.abs(np.abs(values) - largest).min())
    return ((block - 1) * total + peak**2) / block

"""Request lengths: weighted points, buckets that conserve tokens, and draws that conserve means."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # its parts are imported when they are used

from comptroller.work.trace import Floats, Ints

STRATA = 64
"""Strata of equal probability of a continuous distribution. The mean is exact at any number; the standard deviation is
1 % low at sigma 0.5, 6 % at 1 and 23 % at 1.5, and at twice this 0.6, 4 and 18 %. Input times output lengths give the
square of this number of points, 4,096, so that twice this costs four times the memory and time of bucketing."""

TAIL = 0.02
"""Share of the weight in the open bucket at either end. With 8 buckets the mean square of lognormal lengths (sigma 0.8)
is 5.1 % low, at half this 4.5 %, at twice this 6.6 %."""


@dataclass(frozen=True, slots=True)
class RequestSizeTable:
    """Points of a joint distribution of request sizes, in tokens, all of shape (points,); the weights sum to one.

    input_most, output_most: the longest request that a point represents.
    """

    input_tokens: Floats
    output_tokens: Floats
    weight: Floats
    input_most: Floats
    output_most: Floats


@dataclass(frozen=True, slots=True)
class LengthBucketEdges:
    """Inner bucket edges: n edges make n + 1 buckets, [.., e0), [e0, e1) .. [en, ..)."""

    input: Floats
    output: Floats


def points(input_tokens: npt.ArrayLike, output_tokens: npt.ArrayLike) -> RequestSizeTable:
    """One point for each recorded request, all of equal weight."""
    inputs, outputs = np.asarray(input_tokens, np.float64), np.asarray(output_tokens, np.float64)
    return RequestSizeTable(inputs, outputs, np.full(len(inputs), 1 / len(inputs)), inputs, outputs)


def product(inputs: LengthStrata, outputs: LengthStrata) -> RequestSizeTable:
    """The points of independent inputs and outputs."""
    grid = [np.repeat(column, len(outputs.tokens)) for column in (inputs.tokens, inputs.weight, inputs.most)]
    tile = [np.tile(column, len(inputs.tokens)) for column in (outputs.tokens, outputs.weight, outputs.most)]
    return RequestSizeTable(grid[0], tile[0], grid[1] * tile[1], grid[2], tile[2])


@dataclass(frozen=True, slots=True)
class LengthStrata:
    """Strata of one length, all of shape (strata,): mean tokens, weight and greatest length of each."""

    tokens: Floats
    weight: Floats
    most: Floats


def fixed_strata(tokens: float) -> LengthStrata:
    """One stratum for a constant length."""
    return LengthStrata(np.array([tokens]), np.ones(1), np.array([tokens]))


def lognormal_strata(median: float, sigma: float, most: float) -> LengthStrata:
    """A lognormal length cut at `most` (longer ones are set to it), in strata of equal probability.

    Each stratum is at its conditional mean, so that the mean of the whole is exact:
    E[X; a < X < b] = m exp(s^2/2) (Phi(ln(b/m)/s - s) - Phi(ln(a/m)/s - s)), the partial expectation of a
    lognormal with median m and sigma s (Crow and Shimizu, Lognormal Distributions, 1988, chapter 1).

    >>> strata = lognormal_strata(1000.0, 0.5, 1e7)
    >>> round(float(strata.tokens @ strata.weight), 3), round(1000 * float(np.exp(0.125)), 3)
    (1133.148, 1133.148)
    """
    z = scipy.special.ndtri(np.arange(STRATA + 1) / STRATA)
    cut = np.log(most / median) / sigma
    below = np.minimum(z, cut)
    partial = median * np.exp(sigma**2 / 2) * np.diff(scipy.special.ndtr(below - sigma))
    over = 1 / STRATA - np.diff(scipy.special.ndtr(below))
    tokens = (partial + most * over) * STRATA
    longest = np.where(z[1:] >= cut, most, np.ceil(median * np.exp(sigma * below[1:])))
    return LengthStrata(tokens, np.full(STRATA, 1 / STRATA), longest)


def geometric_edges(tokens: Floats, weight: Floats, buckets: int) -> Floats:
    """Inner edges of at most `buckets` buckets, in equal ratios between the `TAIL` and 1 - `TAIL` quantiles.

    Ratios, because lengths and costs span orders of magnitude; the outer buckets are open.
    """
    order = np.argsort(tokens, kind="stable")
    below = np.cumsum(weight[order])
    low, high = tokens[order][np.searchsorted(below, [TAIL, 1 - TAIL]).clip(max=len(tokens) - 1)]
    if buckets < 2:
        return np.empty(0)
    return np.unique(np.round(np.geomspace(max(low, 1.0), max(high, 1.0), buckets - 1)))


def edges_of(sizes: RequestSizeTable, grid: tuple[int, int]) -> LengthBucketEdges:
    """Inner edges of at most grid[0] x grid[1] buckets."""
    return LengthBucketEdges(
        geometric_edges(sizes.input_tokens, sizes.weight, grid[0]),
        geometric_edges(sizes.output_tokens, sizes.weight, grid[1]),
    )


def bucketed_sizes(sizes: RequestSizeTable, edges: LengthBucketEdges) -> RequestSizeTable:
    """One point for each bucket that is not empty, with its weight, mean lengths and greatest lengths.

    Weights and tokens are conserved: sum(weight) and sum(weight * tokens) are those of `sizes`.
    """
    row = np.searchsorted(edges.input, sizes.input_tokens, side="right")
    column = np.searchsorted(edges.output, sizes.output_tokens, side="right")
    cells, cell = np.unique(row * (len(edges.output) + 1) + column, return_inverse=True)
    weight: Floats = np.bincount(cell, sizes.weight, len(cells)).astype(np.float64)
    most = [np.zeros(len(cells)), np.zeros(len(cells))]
    np.maximum.at(most[0], cell, sizes.input_most)
    np.maximum.at(most[1], cell, sizes.output_most)
    return RequestSizeTable(
        np.bincount(cell, sizes.weight * sizes.input_tokens, len(cells)) / weight,
        np.bincount(cell, sizes.weight * sizes.output_tokens, len(cells)) / weight,
        weight,
        most[0],
        most[1],
    )


def bucketed_means(values: Floats, inputs: Ints, outputs: Ints, edges: LengthBucketEdges) -> Floats:
    """Mean of what requests have, by bucket, in the order of `bucketed_sizes`."""
    row = np.searchsorted(edges.input, inputs, side="right")
    column = np.searchsorted(edges.output, outputs, side="right")
    _, cell = np.unique(row * (len(edges.output) + 1) + column, return_inverse=True)
    return np.asarray(np.bincount(cell, values) / np.bincount(cell))


def whole(tokens: Floats, rng: np.random.Generator) -> Ints:
    """The lengths rounded up or down at random, so that their expectation is unchanged."""
    return np.floor(tokens + rng.random(len(tokens))).astype(np.int64)


def within(low: Floats, high: Floats, mean: Floats, rng: np.random.Generator) -> Floats:
    """One random value in each [low, high], with the given means; all of shape (values,).

    It is uniform below the mean with probability (high - mean) / (high - low), else uniform above it; the midpoints of
    both parts, with these probabilities, average to the mean.
    """
    width = high - low
    lower = rng.random(len(low)) * width < high - mean
    start, end = np.where(lower, low, mean), np.where(lower, mean, high)
    return start + (end - start) * rng.random(len(low))

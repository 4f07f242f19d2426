"""What a plain vote scores over all choices of n of N samples, exactly, from counts of answers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def expected_vote(counts: Ints, score: Floats, ns: npt.ArrayLike) -> Floats:
    """Mean score of the plain vote over all choices of n of the N samples, from counts: questions x len(ns).

    counts, score: questions x answers, how often each was given and what it scores. An answer with m votes wins
    if all others have fewer, and ties are shared: with u uniform, P = int_0^1 prod_j [C_j^{<m} + u C_j^{=m}] du over
    products of polynomials in x whose coefficient k counts the ways to draw k votes; the integral is exact by
    Gauss-Legendre. Cost grows with n^3 x answers^2: milliseconds a question for all n up to 100 of 4 answers (34 s for
    10,000 questions, 0.2 s up to n = 8).

    >>> expected_vote(np.array([[2, 1]]), np.array([[1.0, 0.0]]), [1, 3]).round(12).tolist()
    [[0.666666666667, 1.0]]
    """
    sizes = np.atleast_1d(np.asarray(ns, np.int64))
    most, answers = int(sizes.max()), counts.shape[1]
    ways = np.exp(log_choose(counts[:, :, None], np.arange(most + 1)))
    total = np.exp(log_choose(counts.sum(axis=1)[:, None], sizes))
    found = np.zeros((len(counts), len(sizes)))
    for votes in range(1, most + 1):
        nodes, weights = np.polynomial.legendre.leggauss((min(most // votes, answers) + 1) // 2 or 1)
        for node, share in zip((nodes + 1) / 2, weights / 2, strict=True):
            below = ways[:, :, : votes + 1] * np.where(np.arange(votes + 1) < votes, 1.0, node)
            for winner in range(answers):
                losing = _product(np.delete(below, winner, axis=1), most - votes)
                reach = sizes >= votes
                won = ways[:, winner, votes, None] * losing[:, np.where(reach, sizes - votes, 0)]
                found += share * score[:, winner, None] * np.where(reach, won, 0.0)
    return np.asarray(found / total)


def _product(factors: Floats, degree: int) -> Floats:
    """Product over the middle axis of polynomials, cut at a degree: rows x (degree + 1)."""
    product = np.zeros((len(factors), degree + 1))
    product[:, 0] = 1.0
    for factor in np.moveaxis(factors, 1, 0):
        grown = np.zeros_like(product)
        for power in range(min(factor.shape[1], degree + 1)):
            grown[:, power:] += factor[:, power, None] * product[:, : degree + 1 - power]
        product = grown
    return product


def log_choose(n: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Logarithm of C(n, k); minus infinity outside 0 <= k <= n."""
    n, k = np.broadcast_arrays(np.asarray(n, float), np.asarray(k, float))
    inside = (k >= 0) & (k <= n)
    low, high = np.where(inside, k, 0.0), np.where(inside, n, 0.0)
    return np.where(inside, gammaln(high + 1) - gammaln(low + 1) - gammaln(high - low + 1), -np.inf)

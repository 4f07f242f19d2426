"""Stopping rules: whether agreement among samples suffices, from the counts of answers so far.

Aggarwal et al., Let's Sample Step by Step: Adaptive-Consistency, arXiv 2305.11860, and its public code
(`stopping_criterias.py`). Every rule maps counts to a number that is compared with a threshold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

TOP = 5
"""Most frequent answers that the Dirichlet rule compares, as in the paper's code.

Fewer answers give a larger probability: after counts 6, 5, 4, 3, 2 and ten of 1 it is 0.463 with 5, 0.454 with 8
and 0.437 with all, far below any threshold in use. With ten a call takes 1.2 times as long (measured).
"""
POINTS = 4001
"""Points of Simpson's rule. The error for counts 4, 0 is 1e-10; with 8,001 points it is 2e-15 (measured)."""
REMEMBERED = 1 << 16
"""Probabilities cached per process, by counts. With up to 64 samples the Beta rule has 1,089 pairs, so all fit."""


@lru_cache(maxsize=REMEMBERED)
def beta_majority(first: int, second: int) -> float:
    """Probability that the top answer is more probable than the second, from their counts v1 >= v2.

    P = 1 - I_{1/2}(v1 + 1, v2 + 1) (arXiv 2305.11860, Beta criterion), a binomial tail for whole counts.

    >>> beta_majority(4, 0), beta_majority(3, 0)
    (0.96875, 0.9375)
    """
    tosses = first + second + 1
    below: int = sum(comb(tosses, k) for k in range(first + 1))
    return below / (1 << tosses)


@lru_cache(maxsize=REMEMBERED)
def dirichlet_majority(counts: tuple[int, ...]) -> float:
    """Probability that the first answer is the most probable of all, from its count and the others'.

    P(p_1 = max_i p_i) for p ~ Dirichlet(v + 1) (arXiv 2305.11860, Dirichlet criterion). The paper integrates by
    Monte Carlo; here p_i are normalised gammas, so P = int g(x; v_1 + 1) prod_i G(x; v_i + 1) dx, by quadrature.

    >>> round(dirichlet_majority((4, 0)), 5), round(dirichlet_majority((1, 1, 1)), 5)
    (0.96875, 0.33333)
    """
    shape = max(counts) + 1
    # 12 standard deviations above the mean of the largest gamma; the tail beyond is below double precision
    high = shape + 12.0 * np.sqrt(shape) + 40.0
    x = np.linspace(0.0, high, POINTS)
    density = _poisson(x, counts[0])
    for count in counts[1:]:
        density = density * (1 - sum((_poisson(x, k) for k in range(count + 1)), np.zeros_like(x)))
    step = x[1] - x[0]
    weights = np.where(np.arange(x.size) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return float(density @ weights * step / 3)


def _poisson(x: Floats, count: int) -> Floats:
    """Poisson probability of a count at means x, which is the gamma density of shape count + 1 at x."""
    logs = np.cumsum(np.log(np.arange(1, count + 1))) if count else np.zeros(1)
    with np.errstate(divide="ignore"):
        powers = count * np.log(x) if count else np.zeros_like(x)
    probability: Floats = np.exp(powers - x - logs[-1])
    return probability


def _descending(counts: Iterable[float]) -> list[int]:
    return sorted(map(int, counts), reverse=True)


def beta(counts: Iterable[float]) -> float:
    """The Beta rule: the probability that the top answer leads the second, other answers ignored.

    >>> beta([1, 4, 2])
    0.7734375
    """
    top = _descending(counts)
    return beta_majority(top[0] if top else 0, top[1] if len(top) > 1 else 0)


def dirichlet(counts: Iterable[float]) -> float:
    """The Dirichlet rule over the `TOP` most frequent answers; with fewer than three answers it is the Beta rule."""
    top = _descending(counts)[:TOP]
    return dirichlet_majority(tuple(top)) if len(top) > 2 else beta(top)


def share(counts: Iterable[float]) -> float:
    """The share of the top answer among all; 0 for a single sample, which shows no agreement.

    >>> share([3, 1]), share([1])
    (0.75, 0.0)
    """
    top = _descending(counts)
    return top[0] / sum(top) if sum(top) > 1 else 0.0


RULES: Mapping[str, Callable[[Iterable[float]], float]] = {"beta": beta, "dirichlet": dirichlet, "share": share}
"""Name of a rule -> confidence in the top answer, in [0, 1], from the counts of all answers."""

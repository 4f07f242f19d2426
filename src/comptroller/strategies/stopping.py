"""When agreement among samples is enough: rules over the counts of answers so far.

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
"""Answers that the Dirichlet rule looks at, as in the paper's code."""


@lru_cache(maxsize=1 << 16)
def beta_majority(first: int, second: int) -> float:
    """Probability that the top answer beats the second in the long run, from their counts v1 >= v2.

    P = 1 - I_{1/2}(v1 + 1, v2 + 1) (arXiv 2305.11860, Beta criterion), a binomial tail for whole counts.

    >>> beta_majority(4, 0), beta_majority(3, 0)
    (0.96875, 0.9375)
    """
    tosses = first + second + 1
    below: int = sum(comb(tosses, k) for k in range(first + 1))
    return below / (1 << tosses)


@lru_cache(maxsize=1 << 16)
def dirichlet_majority(counts: tuple[int, ...]) -> float:
    """Probability that the first answer is the most probable of all, from its count and the others'.

    P(p_1 = max_i p_i) for p ~ Dirichlet(v + 1) (arXiv 2305.11860, Dirichlet criterion). The paper integrates by
    Monte Carlo; here p_i are normalised gammas, so P = int g(x; v_1 + 1) prod_i G(x; v_i + 1) dx, by quadrature.

    >>> round(dirichlet_majority((4, 0)), 5), round(dirichlet_majority((1, 1, 1)), 5)
    (0.96875, 0.33333)
    """
    most = max(counts) + 1
    high = most + 12.0 * np.sqrt(most) + 40.0
    x = np.linspace(0.0, high, 4001)
    density = _poisson(x, counts[0])
    for count in counts[1:]:
        density = density * (1 - sum((_poisson(x, k) for k in range(count + 1)), np.zeros_like(x)))
    step = x[1] - x[0]
    weights = np.where(np.arange(x.size) % 2, 4.0, 2.0)
    weights[[0, -1]] = 1.0
    return float(density @ weights * step / 3)


def _poisson(x: Floats, count: int) -> Floats:
    logs = np.cumsum(np.log(np.arange(1, count + 1))) if count else np.zeros(1)
    with np.errstate(divide="ignore"):
        powers = count * np.log(x) if count else np.zeros_like(x)
    found: Floats = np.exp(powers - x - logs[-1])
    return found


def _top(counts: Iterable[float]) -> list[int]:
    return sorted(map(int, counts), reverse=True)


def beta(counts: Iterable[float]) -> float:
    """The Beta rule over all counts: the top two are looked at.

    >>> beta([1, 4, 2])
    0.7734375
    """
    top = _top(counts)
    return beta_majority(top[0] if top else 0, top[1] if len(top) > 1 else 0)


def dirichlet(counts: Iterable[float]) -> float:
    """The Dirichlet rule; with fewer than three distinct answers it is the Beta rule."""
    top = _top(counts)[:TOP]
    return dirichlet_majority(tuple(top)) if len(top) > 2 else beta(top)


def share(counts: Iterable[float]) -> float:
    """The share of the top answer; one sample agrees with nobody yet.

    >>> share([3, 1]), share([1])
    (0.75, 0.0)
    """
    top = _top(counts)
    return top[0] / sum(top) if sum(top) > 1 else 0.0


RULES: Mapping[str, Callable[[Iterable[float]], float]] = {"beta": beta, "dirichlet": dirichlet, "share": share}
"""The rules by name."""

"""How many rollouts a prompt gets: a shadow price that keeps the mean, and the rules that it carries out.

Rollout-GDRO (arXiv 2601.19280): each group takes the number of rollouts of greatest value less price, and the price
moves until the mean is the budget. What is valued is a choice: variance of the gradient gives the square-root rule,
coverage equal marginal gains.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.strategies.allocation import allocate

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

STEP = 0.5
"""Relative step of the price for a mean that is off by all of the budget. At twice this the price swings for groups
whose number changes by several rollouts at one price."""

LEAST, MOST = 2, 4
"""Fewest rollouts, which a group-relative advantage needs, and most as a multiple of the mean. At twice the multiple
the hardest prompts take a fifth of all rollouts for a point of coverage."""


@dataclass(slots=True)
class RolloutPrice:
    """The price of a rollout, and the mean that it keeps. mean: the budget, rollouts a prompt."""

    mean: float
    price: float

    def move(self, used: float) -> None:
        """After a round that used so many rollouts a prompt: mu <- mu exp(step (used - mean) / mean).

        >>> price = RolloutPrice(8.0, 1.0)
        >>> price.move(12.0)
        >>> round(price.price, 3)
        1.284
        """
        self.price *= float(np.exp(STEP * (used - self.mean) / self.mean))

    def counts(self, value: Floats, options: Ints) -> Ints:
        """Rollouts of each group at the price: argmax over options of value - price n. value: (groups, options)."""
        return np.asarray(options[(value - self.price * options).argmax(axis=1)])


def rollout_options(mean: int, most: int) -> Ints:
    """Numbers of rollouts that a prompt may get: at most `MOST` times the mean, and what is recorded.

    >>> rollout_options(4, 8).tolist()
    [2, 3, 4, 5, 6, 7, 8]
    """
    return np.arange(min(LEAST, mean), min(MOST * mean, most) + 1)


def variance_value(variance: Floats, options: Ints) -> Floats:
    """What rollouts take off the variance of a group's gradient, v / n_least - v / n; of shape (groups, options)."""
    return np.asarray(variance[:, None] * (1.0 / options[0] - 1.0 / options))


def square_root_counts(variance: Floats, shares: Floats, mean: float) -> Floats:
    """Rollouts that make sum of share x variance / n least at a mean: n = mean sqrt(v) / sum of share sqrt(v).

    The price of the next rollout is (sum of share sqrt(v) / mean)^2. Neyman (1934); arXiv 2601.19280, section 4.

    >>> square_root_counts(np.array([0.25, 0.04]), np.array([0.5, 0.5]), 7.0).round(6).tolist()
    [10.0, 4.0]
    """
    root = np.sqrt(variance)
    return np.asarray(mean * root / (shares @ root))


def neutral_counts(value: Floats, group: Ints, options: Ints, mean: float) -> tuple[Ints, float]:
    """Whole rollouts of each prompt that are worth most at a mean, and the price of the next.

    value: of shape (groups, options), of a prompt.  group: of each prompt. Prompts of one group differ by a step where
    the mean would otherwise not be used up.

    >>> value = variance_value(np.array([0.25, 0.0]), np.arange(2, 9))
    >>> neutral_counts(value, np.array([0, 0, 1, 1]), np.arange(2, 9), 4.0)[0].tolist()
    [6, 6, 2, 2]
    """
    found = allocate(value[group], options.astype(float), mean * len(group))
    return np.asarray(options[found.choice]), found.shadow_price

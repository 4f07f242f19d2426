"""The triangle test: of three answers, two by a reference and one by an endpoint, is the endpoint's the odd one?

From sensory science (ISO 4120): if the endpoint is what the reference is, each of the three is the odd one with chance
1/3, whatever the answers are and however they vary, so that the count over prompts is binomial and the test exact. It
needs no model of noise: the reference answers twice, and its own difference is the measure.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Floats = npt.NDArray[np.float64]

CHANCE = 1 / 3
"""Of being the odd one among three alike."""

MOST_PROMPTS = 100_000
"""Prompts up to which a number is looked for: an audit of more is one that the books make better."""


@dataclass(frozen=True, slots=True)
class TriangleDesign:
    """A test that is fixed before anything is asked.

    prompts: at which an odd one is found.  critical: least count of the endpoint as the odd one that rejects.
    false_alarm: chance of rejecting what is alike.  power: chance of rejecting what is odd with chance `odd`.
    """

    prompts: int
    critical: int
    false_alarm: float
    power: float
    odd: float


def at_least(count: int, prompts: int, chance: float) -> float:
    """Chance of at least so many odd ones: sum over j >= count of C(n, j) p^j (1 - p)^(n - j).

    >>> round(at_least(3, 3, 1 / 3), 4)
    0.037
    """
    return float(sum(comb(prompts, j) * chance**j * (1 - chance) ** (prompts - j) for j in range(count, prompts + 1)))


def critical_count(prompts: int, false_alarm: float) -> int:
    """The least count that is rarer than `false_alarm` among alike; one more than the prompts where none is.

    >>> critical_count(10, 0.05), critical_count(2, 0.05)
    (7, 3)
    """
    tail, count = 0.0, prompts + 1
    while count > 0:
        tail += comb(prompts, count - 1) * CHANCE ** (count - 1) * (1 - CHANCE) ** (prompts - count + 1)
        if tail > false_alarm:
            return count
        count -= 1
    return count


def design(odd: float, false_alarm: float, power: float) -> TriangleDesign:
    """The fewest prompts at which an endpoint that is odd with chance `odd` is told with the power asked for.

    Raises:
        InputError: the chances are impossible, or no number of prompts up to `MOST_PROMPTS` is enough.

    >>> design(0.9, 0.05, 0.9)
    TriangleDesign(prompts=5, critical=4, false_alarm=0.04526748971193416, power=0.9185399999999999, odd=0.9)
    """
    if not (CHANCE < odd <= 1 and 0 < false_alarm < 1 and 0 < power < 1):
        raise InputError(
            f"audit: the chance of being odd ({odd:g}) must lie above 1/3, up to 1; false alarms ({false_alarm:g}) and "
            f"power ({power:g}) between 0 and 1"
        )
    prompts = 1
    while prompts <= MOST_PROMPTS:
        critical = critical_count(prompts, false_alarm)
        reached = at_least(critical, prompts, odd) if critical <= prompts else 0.0
        if reached >= power:
            return TriangleDesign(prompts, critical, at_least(critical, prompts, CHANCE), reached, odd)
        prompts += 1 if prompts < 200 else prompts // 50
    raise InputError(f"audit: more than {MOST_PROMPTS} prompts would be needed to tell {odd:g} from 1/3")


def odd_ones(first: Floats, second: Floats, across: Floats) -> npt.NDArray[np.int64]:
    """Which of three is the odd one, by their distances: 2 the endpoint's, 0 or 1 the reference's, -1 where none is.

    first: distance of the endpoint's answer from the reference's first one, second: from its second one, across:
    between the two, all (prompts,). The odd one is who is not in the closest pair; where two pairs are equally close
    there is none, and the prompt says nothing.

    >>> odd_ones(np.array([5.0, 1.0, 0.0]), np.array([6.0, 4.0, 0.0]), np.array([1.0, 3.0, 0.0])).tolist()
    [2, 1, -1]
    """
    pairs = np.stack([second, first, across])
    least = np.nanmin(pairs, axis=0)
    unique = (pairs == least).sum(axis=0) == 1
    return np.asarray(np.where(unique, pairs.argmin(axis=0), -1))


@dataclass(frozen=True, slots=True)
class TriangleResult:
    """What came of it. informative: prompts with an odd one.  count: at which it was the endpoint's.  p_value: chance
    of as many or more among alike.  share: count / informative, NaN without any."""

    prompts: int
    informative: int
    count: int
    p_value: float

    @property
    def share(self) -> float:
        """Share of the informative prompts at which the endpoint is the odd one."""
        return self.count / self.informative if self.informative else float("nan")


def triangle_test(odd: npt.NDArray[np.int64]) -> TriangleResult:
    """The exact one-sided binomial test of the endpoint being the odd one, over the prompts that have one.

    >>> triangle_test(np.array([2, 2, 2, 2, 0, -1]))
    TriangleResult(prompts=6, informative=5, count=4, p_value=0.04526748971193416)
    """
    informative, count = int((odd >= 0).sum()), int((odd == 2).sum())
    return TriangleResult(len(odd), informative, count, at_least(count, informative, CHANCE))

"""Statistical laws fitted to evidence, one module each: `comptroller fit laws` runs every module here with a `LAW`.

A law turns evidence into findings: numbers with an interval and, where it can be measured, the held-out error of the
law. What the evidence does not support raises an error.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import nan

from comptroller.errors import InputError, UnknownIdError
from comptroller.work.evidence import Evidence, EvidenceCounts

Known = Evidence | EvidenceCounts
"""Recorded replies, or only their counts."""

MARGIN = 0.02
"""Difference in score that does not matter, unless the query has another: two points. A 90 % interval of that
half-width needs 1,700 paired questions where the paired difference has a standard deviation of 0.5; twice the margin
needs a quarter of them."""

LEVEL = 0.9
"""Coverage of intervals, as in `EquivalenceTest`, whose two tests at 5 % belong to a 90 % interval."""

DRAWS = 1000
"""Resamples. The share of draws below the 5 % end of an interval then has a standard error of 0.7 points. On 200
questions an end varies by 0.003 to 0.004 between seeds; at twice this by 0.0025 to 0.003, in twice the time."""

LEAST_DRAWS = 20
"""Fewest resamples that put one draw beyond either end of a 90 % interval; at twice this there would be two."""


@dataclass(frozen=True, slots=True)
class LawQuery:
    """Options of laws.

    at: numbers of samples to report; each law has its own if none is given.  beyond: whether to extrapolate past the
    range in which the error can be measured.  margin: difference in score that does not matter.  level: coverage of
    intervals.  draws: resamples.  seed: of the resampling; another one moves intervals by their Monte Carlo error.

    Raises:
        InputError: a number is outside its range.
    """

    at: tuple[int, ...] = ()
    beyond: bool = False
    margin: float = MARGIN
    level: float = LEVEL
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        too_few = self.draws < LEAST_DRAWS
        if any(k < 1 for k in self.at) or not 0 < self.level < 1 or not self.margin > 0 or too_few:
            raise InputError("laws: at must be 1 or more, level between 0 and 1, margin above 0, draws 20 or more")


@dataclass(frozen=True, slots=True)
class LawFinding:
    """One number that a law gives.

    subject: the arm, pair or task that it describes.  quantity: what the number is.  low, high: its interval, NaN where
    it has none.
    """

    law: str
    subject: str
    quantity: str
    value: float
    low: float = nan
    high: float = nan
    note: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceLaw:
    """A law: its name, one line on what it states, the function that fits it, and what evidence must hold for it.

    The function returns no findings where the evidence lacks the columns that the law needs.
    """

    name: str
    says: str
    find: Callable[[Known, LawQuery], list[LawFinding]]
    needs: str


@lru_cache(maxsize=1)
def laws() -> tuple[EvidenceLaw, ...]:
    """All laws of the package, sorted by name."""
    names = [item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_")]
    modules: list[EvidenceLaw] = [importlib.import_module(f"{__name__}.{name}").LAW for name in names]
    return tuple(sorted(modules, key=lambda law: law.name))


def law(name: str) -> EvidenceLaw:
    """A law by name.

    Raises:
        UnknownIdError: there is none of that name.

    >>> from comptroller.work.evidence_readers import read_evidence
    >>> findings = law("coverage").find(read_evidence("own").counts(), LawQuery(at=(1,), draws=20))
    >>> sorted({finding.quantity for finding in findings})
    ['pass@1']
    """
    by_name = {item.name: item for item in laws()}
    if name not in by_name:
        raise UnknownIdError("law", name, by_name)
    return by_name[name]

"""Laws that evidence obeys, one module each: a module with a `LAW` in this folder is fitted by `fit laws`.

A law turns evidence into findings: numbers with the interval they are known to, and what was measured about the
law's own error. What the evidence cannot support is refused, not guessed.
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


@dataclass(frozen=True, slots=True)
class LawQuery:
    """What is asked of laws.

    at: numbers of samples to answer for.  beyond: whether to extrapolate past the range in which the error could be
    measured.  margin: difference in score that does not matter.  level: of intervals.  draws: resamples.  seed: of
    the resampling.

    Raises:
        InputError: a number is outside its range.
    """

    at: tuple[int, ...] = ()
    beyond: bool = False
    margin: float = 0.02
    level: float = 0.9
    draws: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if any(k < 1 for k in self.at) or not 0 < self.level < 1 or not self.margin > 0 or self.draws < 20:
            raise InputError("laws: at must be 1 or more, level between 0 and 1, margin above 0, draws 20 or more")


@dataclass(frozen=True, slots=True)
class LawFinding:
    """One number that a law gives. low, high: its interval, NaN where it has none.  subject: of whom it speaks."""

    law: str
    subject: str
    quantity: str
    value: float
    low: float = nan
    high: float = nan
    note: str = ""


@dataclass(frozen=True, slots=True)
class EvidenceLaw:
    """A law: its name, what it says, and the function that finds it in evidence.

    The function returns no findings where the evidence lacks what the law is about.
    """

    name: str
    says: str
    find: Callable[[Known, LawQuery], list[LawFinding]]


@lru_cache(maxsize=1)
def laws() -> tuple[EvidenceLaw, ...]:
    """The laws this package knows, by name."""
    names = [item.name for item in pkgutil.iter_modules(__path__) if not item.name.startswith("_")]
    found: list[EvidenceLaw] = [importlib.import_module(f"{__name__}.{name}").LAW for name in names]
    return tuple(sorted(found, key=lambda law: law.name))


def law(name: str) -> EvidenceLaw:
    """A law by name.

    Raises:
        UnknownIdError: there is none of that name.
    """
    known = {one.name: one for one in laws()}
    if name not in known:
        raise UnknownIdError("law", name, known)
    return known[name]

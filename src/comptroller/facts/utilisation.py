"""Utilisation of measured training runs by family and bits: what somebody who knows devices and hours alone may assume.

`calibration/utilisation.toml` is written by `benchmarks/fit_utilisation.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, build, folder, parse_toml

_STRICT = ConfigDict(extra="forbid")
Share = Annotated[float, Field(gt=0, le=1)]

ANY_ACCELERATOR = "any"
"""Family of the entry that holds for accelerators that nobody measured."""


@dataclass(frozen=True, config=_STRICT)
class UtilisationShare:
    """MFU of measured runs: 10th percentile, median, 90th percentile. bits: of the arithmetic, 16 or fewer."""

    family: str
    bits: int
    low: Share
    middle: Share
    high: Share
    rows: int
    groups: int


@dataclass(frozen=True, config=_STRICT)
class MeasuredUtilisation:
    """All of them."""

    date: date
    command: str
    shares: tuple[UtilisationShare, ...]
    sources: Mapping[str, FactSource]

    def of(self, family: str, bits: int) -> UtilisationShare:
        """That of a family, else that of all families with so many bits, else of 16 bits.

        >>> found = measured_utilisation()
        >>> found.of("hopper", 16).family, found.of("tpu_v9", 16).family
        ('hopper', 'any')
        """
        known = {(one.family, one.bits): one for one in self.shares}
        keys = ((family, bits), (ANY_ACCELERATOR, bits), (ANY_ACCELERATOR, 16))
        return next(known[key] for key in keys if key in known)


@lru_cache(maxsize=1)
def measured_utilisation() -> MeasuredUtilisation:
    """The shipped file.

    >>> all(one.low < one.middle < one.high for one in measured_utilisation().shares)
    True
    """
    path = folder("calibration") / "utilisation.toml"
    return build(MeasuredUtilisation, parse_toml(path), path.name)

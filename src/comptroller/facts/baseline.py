"""Baseline calibration: four constants, the same for every device, engine and format.

Accuracy reports compare the fitted calibration with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, locate, read

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class BaselineShare:
    """A share of a datasheet rate."""

    fraction: float


@dataclass(frozen=True, config=_STRICT)
class BaselineLatency:
    """The least time of a call."""

    latency_s: float


@dataclass(frozen=True, config=_STRICT)
class BaselineFacts:
    """Share of peak FLOP/s, share of bandwidth, least time of a kernel and of a message between devices."""

    id: str
    name: str
    compute: BaselineShare
    bandwidth: BaselineShare
    kernel: BaselineLatency
    message: BaselineLatency
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]


@lru_cache(maxsize=1)
def baseline_facts() -> BaselineFacts:
    """The baseline constants that ship with the package.

    >>> baseline_facts().bandwidth.fraction
    0.8
    """
    return read(BaselineFacts, locate("calibration", "baseline"))

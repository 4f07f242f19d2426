"""The crudest calibration: the same four constants for every device, engine and format."""

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
    """A least time per call."""

    latency_s: float


@dataclass(frozen=True, config=_STRICT)
class BaselineFacts:
    """Share of peak FLOP/s and of bandwidth, least time of a kernel and of a message."""

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
    """The shipped constants.

    >>> baseline_facts().bandwidth.fraction
    0.8
    """
    return read(BaselineFacts, locate("calibration", "baseline"))

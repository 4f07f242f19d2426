"""Places outside of devices where blocks of a KV cache can lie: host memory, drives, pools behind a link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.facts.reader import FactSource, entry_of, fact_of

CACHE_TIERS = "cache_tiers"
"""Folder of the tiers."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class CacheTier:
    """One kind of place.

    link: over which a device loads from it: to its `host`, over the `network` of its node, or the tier's `own`.
    bytes_per_s: of an own link, reading, for each device.  access_s: seconds until a block begins to come, beside its
    bytes.  shared: whether all replicas have one together.  passes_host: whether what comes from it also crosses the
    device's link to its host.  write_bytes_per_s: of an own link, writing; as it reads, where not stated.  duplex:
    whether reads and writes do not take from each other.
    """

    id: str
    name: str
    link: Literal["host", "network", "own"]
    shared: bool
    passes_host: bool
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    bytes_per_s: Annotated[float, Field(gt=0)] | None = None
    access_s: Annotated[float, Field(ge=0)] = 0.0
    write_bytes_per_s: Annotated[float, Field(gt=0)] | None = None
    duplex: bool = True
    note: str = ""


def cache_tier(name: str) -> CacheTier:
    """The tier of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> cache_tier("nvme_pcie5").bytes_per_s
    13000000000.0
    """
    return fact_of(CacheTier, entry_of(CACHE_TIERS, name))

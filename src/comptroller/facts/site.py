"""Sites: where compute runs and what things cost there, on which day."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.reader import FactSource, locate, read

_STRICT = ConfigDict(extra="forbid")
Term = Literal["on_demand", "spot", "reserved", "owned"]


@dataclass(frozen=True, config=_STRICT)
class AcceleratorOffer:
    """A dated price for one accelerator: a later entry succeeds it, nothing is overwritten.

    usd_per_s: per device.  devices: the smallest number rented together.  provider: who sells it.
    Rented offers include electricity; `owned` ones do not, and pay the site's price for it.
    """

    accelerator: str
    term: Term
    usd_per_s: Annotated[float, Field(gt=0)]
    since: date
    provider: str
    devices: int = Field(default=1, ge=1)
    available: int | None = None
    instance: str = ""


@dataclass(frozen=True, config=_STRICT)
class Site:
    """A place: its offers, its electricity and its grid."""

    id: str
    name: str
    electricity_usd_per_j: float
    grid_gco2e_per_j: float
    pue: Annotated[float, Field(ge=1)]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    offers: tuple[AcceleratorOffer, ...] = ()
    country: str = ""
    note: str = ""

    def offer(self, accelerator: str, term: Term, on: date | None = None) -> AcceleratorOffer:
        """The price in force on a day (the latest one, if no day is given); the cheapest of its providers.

        Raises:
            UnsupportedError: the site has no such offer; an unknown price is never 0.
        """
        dated: dict[tuple[str, str], AcceleratorOffer] = {}
        for entry in sorted(self.offers, key=lambda item: item.since):
            matches = entry.accelerator == accelerator and entry.term == term
            if matches and (on is None or entry.since <= on):
                dated[entry.provider, entry.instance] = entry
        if not dated:
            have = sorted({f"{item.accelerator} ({item.term})" for item in self.offers})
            raise UnsupportedError(f"{self.id} has no {term} offer for {accelerator}; it has {', '.join(have)}")
        return min(dated.values(), key=lambda item: (item.usd_per_s, item.provider))


@lru_cache(maxsize=64)
def site(name: str) -> Site:
    """The site of an id or of a user's own TOML file.

    >>> site("us_neocloud").pue >= 1.0
    True
    """
    return read(Site, locate("sites", name))

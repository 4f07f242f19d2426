"""Sites: where compute runs, with dated rental prices, electricity price and grid carbon intensity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.reader import FactSource, entry_of, fact_of

_STRICT = ConfigDict(extra="forbid")
Term = Literal["on_demand", "spot", "reserved", "owned"]


@dataclass(frozen=True, config=_STRICT)
class AcceleratorOffer:
    """A dated price of one accelerator at a site; a price change is a new entry with a later `since`.

    usd_per_s: per device.  devices: the smallest number that is rented together.  available: most devices to be had.
    Offers to rent include electricity; `owned` ones do not, their electricity is paid at the site's price.
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
    """A place to run, with its offers of accelerators, price of electricity and carbon intensity of the grid.

    pue: power usage effectiveness, power at the meter over that of the servers.
    """

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
        """The offer in force on a day (the latest if none is given); the cheapest if several providers have one.

        Raises:
            UnsupportedError: the site has no such offer; an unknown price is never 0.
        """
        in_force: dict[tuple[str, str], AcceleratorOffer] = {}
        for entry in sorted(self.offers, key=lambda item: item.since):
            matches = entry.accelerator == accelerator and entry.term == term
            if matches and (on is None or entry.since <= on):
                in_force[entry.provider, entry.instance] = entry
        if not in_force:
            offered = sorted({f"{item.accelerator} ({item.term})" for item in self.offers})
            raise UnsupportedError(f"{self.id} has no {term} offer for {accelerator}; it has {', '.join(offered)}")
        return min(in_force.values(), key=lambda item: (item.usd_per_s, item.provider))


def site(name: str) -> Site:
    """The site of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> site("us_neocloud").pue >= 1.0
    True
    """
    return fact_of(Site, entry_of("sites", name))

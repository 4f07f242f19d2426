"""Sites: where compute runs, with dated rental prices, electricity price and grid carbon intensity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.reader import FactSource, entry_of, fact_of

_STRICT = ConfigDict(extra="forbid")
Term = Literal["on_demand", "spot", "reserved", "owned"]


@dataclass(frozen=True, config=_STRICT)
class AcceleratorOffer:
    """A dated price of one accelerator at a site; a price change is a new entry with a later `since`.

    usd_per_s: per device.  devices: the smallest number that is rented together; of a named instance, all it has.
    available: most devices to be had.
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

    def joins(self, devices: int, node_devices: int) -> bool:
        """Whether so many devices of a replica are joined by the links of a node: an instance of fewer than a node has
        keeps them apart."""
        return not self.instance or self.devices >= min(devices, node_devices)


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
        in_force = self._in_force(accelerator, term, on)
        if not in_force:
            offered = sorted({f"{item.accelerator} ({item.term})" for item in self.offers})
            raise UnsupportedError(f"{self.id} has no {term} offer for {accelerator}; it has {', '.join(offered)}")
        return min(in_force, key=lambda item: (item.usd_per_s, item.provider))

    def offers_for(
        self, device: Accelerator, term: Term, devices: int, on: date | None = None
    ) -> tuple[AcceleratorOffer, ...]:
        """The offers in force that so many joined devices can be rented by, less those that another of them undercuts.

        An offer undercuts another that costs no less for a device and is not sold in smaller numbers. Cheapest first.
        """
        fitting = [item for item in self._in_force(device.id, term, on) if item.joins(devices, device.node_devices)]
        kept: list[AcceleratorOffer] = []
        for item in sorted(fitting, key=lambda item: (item.usd_per_s, item.devices, item.provider)):
            if all(item.devices < other.devices for other in kept):
                kept.append(item)
        return tuple(kept)

    def _in_force(self, accelerator: str, term: Term, on: date | None) -> list[AcceleratorOffer]:
        """The latest entry of every provider and instance, by a day."""
        found: dict[tuple[str, str], AcceleratorOffer] = {}
        for entry in sorted(self.offers, key=lambda item: item.since):
            matches = entry.accelerator == accelerator and entry.term == term
            if matches and (on is None or entry.since <= on):
                found[entry.provider, entry.instance] = entry
        return list(found.values())


def site(name: str) -> Site:
    """The site of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> site("us_neocloud").pue >= 1.0
    True
    """
    return fact_of(Site, entry_of("sites", name))

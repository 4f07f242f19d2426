"""Sites: where compute runs, with dated rental prices, electricity price and grid carbon intensity."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Annotated, Literal, get_args

from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.reader import FactSource, entry_of, fact_of

_STRICT = ConfigDict(extra="forbid")
Term = Literal["on_demand", "spot", "reserved", "owned"]

ProviderKind = Literal["cloud", "neocloud", "marketplace", "own"]
"""Who rents out: a cloud of computers of all kinds, one that is mainly of accelerators, a marketplace of other people's
machines, or oneself: hardware or a contract of one's own."""

PROVIDER_KINDS: tuple[ProviderKind, ...] = get_args(ProviderKind)

COMPANY_KINDS: tuple[ProviderKind, ...] = ("cloud", "neocloud", "own")
"""Kinds that a company can rent from: all but marketplaces, whose prices are those of one host on one day, without a
contract for the data or for the next day."""


@dataclass(frozen=True, config=_STRICT)
class AcceleratorOffer:
    """A dated price of one accelerator at a site; a price change is a new entry with a later `since`.

    usd_per_s: per device.  devices: the smallest number that is rented together; of a named instance, all it has.
    available: most devices to be had, all together; no limit is known if not given.
    Offers to rent include electricity; `owned` ones do not, their electricity is paid at the site's price.
    """

    accelerator: str
    term: Term
    usd_per_s: Annotated[float, Field(gt=0)]
    since: date
    provider: str
    devices: int = Field(default=1, ge=1)
    available: int | None = Field(default=None, ge=1)
    instance: str = ""

    def joins(self, devices: int, node_devices: int) -> bool:
        """Whether so many devices of a replica are joined by the links of a node: an instance of fewer than a node has
        keeps them apart."""
        return not self.instance or self.devices >= min(devices, node_devices)

    def has(self, devices: int) -> bool:
        """Whether so many devices are to be had."""
        return self.available is None or self.available >= devices

    def rented(self, devices: int) -> int:
        """How many devices are rented to have so many.

        >>> AcceleratorOffer("t4", "on_demand", 1e-4, date(2026, 1, 1), "A", devices=8).rented(9)
        16
        """
        return -(-devices // self.devices) * self.devices


@dataclass(frozen=True, config=_STRICT)
class SellerAllowlist:
    """Of whom may be rented. providers: by name, none for all.  kinds: theirs; none for those of the named providers,
    or `COMPANY_KINDS` where none is named."""

    providers: tuple[str, ...] = ()
    kinds: tuple[ProviderKind, ...] = ()

    def allows(self, provider: str, kind: ProviderKind) -> bool:
        """Whether a provider of a kind is among them.

        >>> SellerAllowlist().allows("Vast.ai", "marketplace")
        False
        >>> SellerAllowlist(("Vast.ai",)).allows("Vast.ai", "marketplace")
        True
        """
        kinds = self.kinds or (PROVIDER_KINDS if self.providers else COMPANY_KINDS)
        return kind in kinds and (not self.providers or provider in self.providers)


COMPANIES = SellerAllowlist()
"""All that a company can rent from."""

EVERYBODY = SellerAllowlist(kinds=PROVIDER_KINDS)
"""Marketplaces too."""


@dataclass(frozen=True, config=_STRICT)
class Site:
    """A place to run, with its offers of accelerators, price of electricity and carbon intensity of the grid.

    pue: power usage effectiveness, power at the meter over that of the servers.  kinds: of its providers, by name; one
    that has none is the user's own.
    """

    id: str
    name: str
    electricity_usd_per_j: float
    grid_gco2e_per_j: float
    pue: Annotated[float, Field(ge=1)]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    offers: tuple[AcceleratorOffer, ...] = ()
    kinds: Mapping[str, ProviderKind] = Field(default_factory=dict)
    country: str = ""
    note: str = ""

    @model_validator(mode="after")
    def _known_providers(self) -> Site:
        if nobody := sorted(set(self.kinds) - set(self.providers)):
            raise ValueError(f"kinds: {nobody[0]!r} offers nothing here; providers: {', '.join(self.providers)}")
        return self

    @property
    def providers(self) -> tuple[str, ...]:
        """Who offers anything, by name."""
        return tuple(sorted({item.provider for item in self.offers}))

    def kind_of(self, provider: str) -> ProviderKind:
        """The kind of a provider."""
        return self.kinds.get(provider, "own")

    def offers_for(
        self,
        device: Accelerator,
        term: Term,
        devices: int,
        on: date | None = None,
        sellers: SellerAllowlist = COMPANIES,
    ) -> tuple[AcceleratorOffer, ...]:
        """The offers in force that so many joined devices can be rented by, less those that another of them undercuts.

        An offer undercuts another that costs no less for a device and is not sold in smaller numbers, unless it is
        itself to be had in limited number: what it lacks then comes from the other. Cheapest first.
        """
        known = self.in_force(device.id, term, on, sellers)
        fitting = [item for item in known if item.joins(devices, device.node_devices) and item.has(devices)]
        kept: list[AcceleratorOffer] = []
        for item in sorted(fitting, key=_by_price_and_pack):
            if all(item.devices < other.devices for other in kept if other.available is None):
                kept.append(item)
        return tuple(kept)

    def offer_for_fleet(
        self, device: Accelerator, term: Term, replicas: tuple[int, int], sellers: SellerAllowlist = COMPANIES
    ) -> AcceleratorOffer:
        """The offer by which replicas, (their number, devices of each), are rented for least, with all that comes
        together.

        Raises:
            UnsupportedError: the site has none for so many; an unknown price is never 0.
        """
        number, devices = replicas
        fitting = self.offers_for(device, term, devices, sellers=sellers)
        known = [item for item in fitting if item.has(item.rented(number * devices))]
        if not known:
            offered = sorted({f"{item.accelerator} ({item.term}, {item.provider})" for item in self.offers})
            raise UnsupportedError(f"{self.id} has no {term} offer for {device.id}; it has {', '.join(offered)}")
        return min(known, key=lambda item: (item.usd_per_s * item.rented(number * devices), item.devices))

    def in_force(
        self, accelerator: str, term: Term, on: date | None = None, sellers: SellerAllowlist = COMPANIES
    ) -> list[AcceleratorOffer]:
        """The latest entry of every allowed provider and instance, by a day."""
        found: dict[tuple[str, str], AcceleratorOffer] = {}
        for entry in sorted(self.offers, key=lambda item: item.since):
            matches = entry.accelerator == accelerator and entry.term == term
            if matches and (on is None or entry.since <= on):
                found[entry.provider, entry.instance] = entry
        return [item for item in found.values() if sellers.allows(item.provider, self.kind_of(item.provider))]


def _by_price_and_pack(item: AcceleratorOffer) -> tuple[float, int, bool, str, str]:
    """Of equal offers, those without a limit first: they undercut the others."""
    return item.usd_per_s, item.devices, item.available is not None, item.provider, item.instance


def site(name: str) -> Site:
    """The site of an id, or of a path to a user's own TOML file.

    Raises:
        UnknownIdError: neither exists; lists the nearest ids.
        FactError: the file is malformed; names file and field.

    >>> site("us_neocloud").pue >= 1.0
    True
    """
    return fact_of(Site, entry_of("sites", name))

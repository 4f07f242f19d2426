"""Prices of calls to API providers, with their history: the genai-prices package, and dated entries of the user's own.

A price is that of one provider for one model from one day on. A price change is a new entry; nothing is overwritten. An
unknown price is an error that names the model.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comptroller.errors import SIMILARITY, FactError, InputError, UnsupportedError
from comptroller.facts.reader import parse_toml

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, ModelPrice, Provider
    from genai_prices.units import UnitRegistry

STANDARD = "standard"
TIERS: Mapping[str, Mapping[str, str]] = {
    STANDARD: {},
    "batch": {"processing": "batch"},
    "flex": {"service_tier": "flex"},
    "priority": {"service_tier": "priority"},
    "fast": {"service_tier": "fast"},
}
"""Service tier -> the context under which genai-prices lists its prices."""

INCLUDED: Mapping[str, str] = {"cache_read_tokens": "input_tokens", "output_reasoning_tokens": "output_tokens"}
"""Unit -> the unit that counts it where a price lists it not apart. A prompt that was found in a cache is still a
prompt, at the full rate where no discount is listed; reasoning is generated output. Audio, images, video, citations
and cache writes are units of another kind, dearer as a rule: a price that does not list them says nothing of them."""

OWN_UNITS: Mapping[str, tuple[str, int]] = {
    "input": ("input_tokens", 10**6),
    "output": ("output_tokens", 10**6),
    "cached": ("cache_read_tokens", 10**6),
    "cache_write": ("cache_write_tokens", 10**6),
    "cache_write_1h": ("cache_write_1h_tokens", 10**6),
    "reasoning": ("output_reasoning_tokens", 10**6),
    "citation": ("output_citation_tokens", 10**6),
    "image_tokens": ("input_image_tokens", 10**6),
    "image_output": ("output_image_tokens", 10**6),
    "audio": ("input_audio_tokens", 10**6),
    "audio_output": ("output_audio_tokens", 10**6),
    "video": ("input_video_tokens", 10**6),
    "video_output": ("output_video_tokens", 10**6),
    "image": ("images", 1),
    "search": ("web_searches", 1),
    "request": ("requests", 1),
}
"""Key in a user's file -> (unit, number of units that the price is for)."""

KEPT = 4096
"""Most prices that a book keeps in memory, one per service, tier and minute (some prices depend on the time of day): 68
h of one service, about 6 MB. A look-up in genai-prices takes 8 ms, one in memory 0.05 ms. A full memory is emptied, at
twice this half as often."""

DIGEST_DIGITS = 16
"""Hexadecimal digits of a price's id, 64 bits: two of a million prices share one with a chance of 3e-8. Ids stand in
ledgers, so that a change would give old prices new ids."""

PICO = 10**12
"""Picodollars in a dollar."""

Rate = tuple[tuple[int, Decimal], ...]
"""Steps (start, picodollars per unit): the rate for prompts of more than `start` tokens; the first start is 0."""


@dataclass(frozen=True)
class ProviderPrice:
    """The price of one provider for one model from a day on.

    tier: service tier, a key of `TIERS`.  since: the first day; None where only one price is known.
    rates: steps in picodollars per unit, by unit; no steps for a unit that is sold apart, at a price not listed.
    source: where the price was read.
    """

    provider: str
    model: str
    tier: str
    since: date | None
    rates: Mapping[str, Rate]
    source: str

    @cached_property
    def document(self) -> str:
        """The price as canonical JSON, which receipts store."""
        rates = {u: [[start, f"{rate.normalize():f}"] for start, rate in r] for u, r in self.rates.items()}
        since = self.since.isoformat() if self.since else None
        about = {"provider": self.provider, "model": self.model, "tier": self.tier, "since": since}
        return json.dumps(about | {"rates": rates, "source": self.source}, sort_keys=True)

    @cached_property
    def id(self) -> str:
        """The first `DIGEST_DIGITS` of the SHA-256 of the document."""
        return hashlib.sha256(self.document.encode()).hexdigest()[:DIGEST_DIGITS]

    @classmethod
    def parse(cls, document: str) -> ProviderPrice:
        """The price of a canonical JSON document.

        >>> price = ProviderPrice("p", "m", "standard", None, {"input_tokens": ((0, Decimal(3)),)}, "contract")
        >>> ProviderPrice.parse(price.document) == price
        True
        """
        fields = json.loads(document)
        rates = {u: tuple((s, Decimal(r)) for s, r in steps) for u, steps in fields["rates"].items()}
        since = date.fromisoformat(fields["since"]) if fields["since"] else None
        return cls(fields["provider"], fields["model"], fields["tier"], since, rates, fields["source"])

    def listed(self, unit: str) -> str | None:
        """The unit whose rate the price lists for a unit: itself, or the one that counts it; None if neither is listed.

        >>> price = ProviderPrice("p", "m", "standard", None, {"input_tokens": ((0, Decimal(3)),)}, "contract")
        >>> price.listed("cache_read_tokens"), price.listed("input_audio_tokens")
        ('input_tokens', None)
        """
        name = next((name for name in (unit, INCLUDED.get(unit)) if name in self.rates), None)
        return name if name and self.rates[name] else None

    def rate(self, unit: str, prompt_tokens: int) -> Decimal:
        """Picodollars per unit for a prompt of this length.

        Raises:
            UnsupportedError: the price lists neither the unit nor one that counts it (`INCLUDED`).
        """
        name = self.listed(unit)
        if name is None:
            raise UnsupportedError(f"{self.provider}/{self.model}: no price for {unit}")
        return next(rate for start, rate in reversed(self.rates[name]) if prompt_tokens > start or not start)


@dataclass(frozen=True)
class PriceBook:
    """The prices of API providers: the user's own files first, then genai-prices if it is installed."""

    own: tuple[ProviderPrice, ...] = ()
    _looked_up: dict[tuple[str, str, datetime], ProviderPrice] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, files: Iterable[Path] = ()) -> PriceBook:
        """A book with the entries of a user's own TOML files.

        Raises:
            FactError: names file, entry and what is allowed.
        """
        return cls(tuple(price for file in files for price in _prices_of_file(file)))

    def price(self, service: str, at: datetime, tier: str = STANDARD) -> ProviderPrice:
        """The price of `provider/model` at a moment (UTC if it has no zone), to the minute.

        Raises:
            UnsupportedError: no price is known; names the model and the nearest that have one.
            InputError: the tier is unknown.
        """
        if tier not in TIERS:
            raise InputError(f"service tier {tier!r}: allowed are {', '.join(TIERS)}")
        moment = (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)).replace(second=0, microsecond=0)
        key = (service, tier, moment)
        if key not in self._looked_up:
            if len(self._looked_up) >= KEPT:
                self._looked_up.clear()
            own = self._own_price(service, moment.date(), tier)
            self._looked_up[key] = own or _catalogue_price(service, moment, tier)
        return self._looked_up[key]

    def _own_price(self, service: str, day: date, tier: str) -> ProviderPrice | None:
        """The user's own entry that is in force on a day; None if the service has none then.

        Raises:
            UnsupportedError: entries are in force, but none of this tier; the catalogue's does not stand in for it.
        """
        own = [p for p in self.own if f"{p.provider}/{p.model}" == service]
        in_force = [(p.since, p) for p in own if p.since is not None and p.since <= day]
        of_tier = [(since, p) for since, p in in_force if p.tier == tier]
        if in_force and not of_tier:
            raise UnsupportedError(
                f"no {tier} price for {service} in {in_force[0][1].source}; add an entry with its tier"
            )
        return max(of_tier, key=lambda item: item[0])[1] if of_tier else None


def services_of_model(repository: str) -> tuple[str, ...]:
    """The services `provider/model` of genai-prices that sell the model of a repository; none without the package.

    Names are compared without publisher, the words instruct, it and chat, and punctuation; forms of the model (fp8,
    turbo, free, batch) have other names and are left out.
    """
    if not repository or find_spec("genai_prices") is None:
        return ()
    from genai_prices.data_snapshot import get_snapshot

    wanted, snapshot = _plain_name(repository), get_snapshot()
    names = (f"{p.id}/{m.id}" for p in snapshot.providers for m in p.models if _plain_name(m.id) == wanted)
    return tuple(sorted(names))


def _plain_name(name: str) -> str:
    """The name of a model for comparison.

    >>> _plain_name("meta-llama/Meta-Llama-3.1-70B-Instruct"), _plain_name("openai/gpt-oss-120b:batch")
    ('llama-3-1-70b', 'gpt-oss-120b-batch')
    """
    last = re.sub("[^a-z0-9]+", "-", name.lower().rpartition("/")[2]).removeprefix("meta-")
    return re.sub("-(instruct|it|chat)$", "", last)


def _prices_of_file(file: Path) -> list[ProviderPrice]:
    """The entries of a user's file, with rates in dollars per million tokens (or per image, search or request)."""
    entries = parse_toml(file).get("prices")
    if not isinstance(entries, list) or not entries:
        raise FactError(file.name, "prices", "must be entries", "[[prices]] provider, model, since, input, output")
    return [_price_of_entry(file.name, f"prices.{number}", entry) for number, entry in enumerate(entries)]


def _price_of_entry(file: str, place: str, entry: Mapping[str, Any]) -> ProviderPrice:
    keys = {"provider", "model", "since", "tier", "source", "above"}
    unknown = sorted(entry.keys() - keys - OWN_UNITS.keys())
    if unknown:
        raise FactError(file, f"{place}.{unknown[0]}", "unknown key", ", ".join([*sorted(keys), *OWN_UNITS]))
    if not isinstance(entry.get("since"), date) or not entry.get("source"):
        raise FactError(file, place, "needs a day and a source", 'since = 2026-01-31, source = "contract 7"')
    if entry.get("tier", STANDARD) not in TIERS:
        raise FactError(file, f"{place}.tier", "unknown", ", ".join(TIERS))
    steps = [(0, entry), *((above.get("tokens", 0), above) for above in entry.get("above", ()))]
    rates: dict[str, Rate] = {}
    for start, step in sorted(steps, key=lambda item: item[0]):
        for word in OWN_UNITS.keys() & step.keys():
            unit, per = OWN_UNITS[word]
            rates[unit] = (*rates.get(unit, ()), (start, _pusd(file, f"{place}.{word}", step[word]) / per))
    without_start = sorted(unit for unit, steps in rates.items() if steps[0][0])
    if without_start or not rates:
        raise FactError(file, place, f"no price for short prompts: {', '.join(without_start) or 'nothing is priced'}")
    provider, model = entry.get("provider"), entry.get("model")
    if not all(isinstance(name, str) and name for name in (provider, model)):
        raise FactError(file, place, "needs provider and model")
    tier = entry.get("tier", STANDARD)
    return ProviderPrice(str(provider), str(model), tier, entry["since"], rates, entry["source"])


def _pusd(file: str, place: str, value: object) -> Decimal:
    """Picodollars of a price in dollars. It must be text or a whole number, so that no rounding occurs."""
    try:
        dollars = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        dollars = None
    if dollars is None or not dollars.is_finite() or dollars < 0:
        raise FactError(file, place, f"{value!r} is no price", 'dollars as text, such as "0.15"')
    return dollars * PICO


def _catalogue_price(service: str, moment: datetime, tier: str) -> ProviderPrice:
    """A price from genai-prices."""
    try:
        from genai_prices import __version__
        from genai_prices.data_snapshot import get_snapshot
    except ImportError as error:
        raise UnsupportedError(f"no price for {service}: pip install 'comptroller[prices]', or list it") from error
    provider_id, _, name = service.partition("/")
    snapshot = get_snapshot()
    try:
        provider, model = snapshot.find_provider_model(name, None, provider_id, None)
    except LookupError as error:
        listed = [f"{p.id}/{m.id}" for p in snapshot.providers for m in p.models]
        near = ", ".join(difflib.get_close_matches(service, listed, n=3, cutoff=SIMILARITY)) or "none is near"
        raise UnsupportedError(f"no price for {service}; nearest: {near}") from error
    rates = _tier_rates(provider, model, moment, tier)
    if not {"input_tokens", "output_tokens"} & rates.keys():
        raise UnsupportedError(f"no price for {service}: genai-prices {__version__} lists none per token")
    return ProviderPrice(provider.id, model.id, tier, _since(model, moment), rates, f"genai-prices {__version__}")


def _tier_rates(provider: Provider, model: ModelInfo, moment: datetime, tier: str) -> dict[str, Rate]:
    """The rates of a tier: of tokens those that the tier lists itself, of anything else (searches) also the standard's.

    A kind of token that the standard tier prices apart and this one does not is there without steps: unknown.
    """
    context = TIERS[tier]
    standard = {unit: steps for unit, steps in _rates(model.get_prices(moment, None)).items() if steps}
    if not context:
        return standard
    variants = [variant for variant in model.price_variants or () if variant.when == context]
    active = next((v for v in variants if v.constraint is None or v.constraint.active(moment)), None)
    if active is None:
        raise UnsupportedError(f"no {tier} price for {provider.id}/{model.id}")
    own = {unit: steps for unit, steps in _rates(active.prices).items() if steps}
    return {unit: () if unit.endswith("_tokens") else steps for unit, steps in standard.items()} | own


def _since(model: ModelInfo, moment: datetime) -> date | None:
    """The first day of the price at a moment; None where only one price is listed."""
    if not isinstance(model.prices, list):
        return None
    starts = (getattr(item.constraint, "start_date", None) for item in model.prices)
    return max((day for day in starts if day is not None and day <= moment.date()), default=None)


@lru_cache(maxsize=1)
def _units() -> UnitRegistry:
    from genai_prices.data_units import unit_data
    from genai_prices.units import UnitRegistry

    return UnitRegistry(unit_data)


def _rates(price: ModelPrice) -> dict[str, Rate]:
    from genai_prices.types import TieredPrices

    rates: dict[str, Rate] = {}
    for unit in _units().units.values():
        listed = getattr(price, unit.price_key)
        if isinstance(listed, TieredPrices):
            steps = ((0, listed.base), *((tier.start, tier.price) for tier in listed.tiers))
        else:
            steps = ((0, listed),) if listed is not None else ()
        rates[unit.usage_key] = tuple((start, rate * PICO / unit.per) for start, rate in steps)
    return rates

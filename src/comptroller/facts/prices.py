"""Prices of calls to API providers, with their history: the genai-prices package, and dated entries of the user's own.

A price is what one provider asked for one model from one day on. A later entry succeeds it, nothing is overwritten;
an unknown price is an error that names the model.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from comptroller.errors import FactError, InputError, UnsupportedError
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
"""Service tiers -> the context under which genai-prices lists them."""

PARENTS: Mapping[str, str] = {
    "cache_read_tokens": "input_tokens",
    "cache_write_tokens": "input_tokens",
    "cache_write_1h_tokens": "cache_write_tokens",
    "output_reasoning_tokens": "output_tokens",
    "output_citation_tokens": "output_tokens",
    "input_image_tokens": "input_tokens",
    "output_image_tokens": "output_tokens",
    "input_audio_tokens": "input_tokens",
    "output_audio_tokens": "output_tokens",
    "input_video_tokens": "input_tokens",
    "output_video_tokens": "output_tokens",
}
"""A unit that a price does not list is sold as its parent."""
OWN_UNITS: Mapping[str, tuple[str, int]] = {
    "input": ("input_tokens", 10**6),
    "output": ("output_tokens", 10**6),
    "cached": ("cache_read_tokens", 10**6),
    "cache_write": ("cache_write_tokens", 10**6),
    "cache_write_1h": ("cache_write_1h_tokens", 10**6),
    "reasoning": ("output_reasoning_tokens", 10**6),
    "image_tokens": ("input_image_tokens", 10**6),
    "image": ("images", 1),
    "search": ("web_searches", 1),
    "request": ("requests", 1),
}
"""Words in a user's file -> the unit, and how many of it the price is for."""

KEPT = 4096
"""Prices that a book remembers, by minute: some providers' prices go by the time of day."""

Rate = tuple[tuple[int, Decimal], ...]
"""Picodollars per unit from a prompt of more than so many tokens on; the first entry is for 0."""


@dataclass(frozen=True)
class ProviderPrice:
    """What a provider asks for a model from a day on.

    rates: picodollars per unit, by unit.  since: None where only one price is known.  source: where it was read.
    """

    provider: str
    model: str
    tier: str
    since: date | None
    rates: Mapping[str, Rate]
    source: str

    @cached_property
    def document(self) -> str:
        """The price as canonical JSON: what receipts keep."""
        rates = {u: [[start, f"{rate.normalize():f}"] for start, rate in r] for u, r in self.rates.items()}
        since = self.since.isoformat() if self.since else None
        about = {"provider": self.provider, "model": self.model, "tier": self.tier, "since": since}
        return json.dumps(about | {"rates": rates, "source": self.source}, sort_keys=True)

    @cached_property
    def id(self) -> str:
        """A digest of the document."""
        return hashlib.sha256(self.document.encode()).hexdigest()[:16]

    @classmethod
    def parse(cls, document: str) -> ProviderPrice:
        """The price of a document.

        >>> price = ProviderPrice("p", "m", "standard", None, {"input_tokens": ((0, Decimal(3)),)}, "contract")
        >>> ProviderPrice.parse(price.document) == price
        True
        """
        found = json.loads(document)
        rates = {u: tuple((s, Decimal(r)) for s, r in steps) for u, steps in found["rates"].items()}
        since = date.fromisoformat(found["since"]) if found["since"] else None
        return cls(found["provider"], found["model"], found["tier"], since, rates, found["source"])

    def rate(self, unit: str, prompt_tokens: int) -> Decimal:
        """Picodollars per unit for a prompt of this length: its own price, else its parent's.

        Raises:
            UnsupportedError: neither has a price.
        """
        name: str | None = unit
        while name is not None:
            if name in self.rates:
                return next(rate for start, rate in reversed(self.rates[name]) if prompt_tokens > start or not start)
            name = PARENTS.get(name)
        raise UnsupportedError(f"{self.provider}/{self.model}: no price for {unit}")


@dataclass(frozen=True)
class PriceBook:
    """Where prices are looked up: the user's own files first, then genai-prices if it is installed."""

    own: tuple[ProviderPrice, ...] = ()
    _found: dict[tuple[str, str, datetime], ProviderPrice] = field(default_factory=dict, compare=False)

    @classmethod
    def read(cls, files: Iterable[Path] = ()) -> PriceBook:
        """A book with the entries of a user's own TOML files.

        Raises:
            FactError: names file, entry and what is allowed.
        """
        return cls(tuple(price for file in files for price in _own(file)))

    def price(self, service: str, at: datetime, tier: str = STANDARD) -> ProviderPrice:
        """The price of `provider/model` at a moment.

        Raises:
            UnsupportedError: no price is known; names the model and the nearest that have one.
            InputError: the tier is unknown.
        """
        if tier not in TIERS:
            raise InputError(f"service tier {tier!r}: allowed are {', '.join(TIERS)}")
        moment = (at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)).replace(second=0, microsecond=0)
        asked = (service, tier, moment)
        if asked not in self._found:
            if len(self._found) >= KEPT:
                self._found.clear()
            self._found[asked] = self._own_price(service, moment.date(), tier) or _catalogue_price(
                service, moment, tier
            )
        return self._found[asked]

    def _own_price(self, service: str, day: date, tier: str) -> ProviderPrice | None:
        """The user's latest entry that is in force on a day."""
        mine = [p for p in self.own if f"{p.provider}/{p.model}" == service and p.tier == tier]
        valid = [(p.since, p) for p in mine if p.since is not None and p.since <= day]
        return max(valid, key=lambda item: item[0])[1] if valid else None


def _own(file: Path) -> list[ProviderPrice]:
    """The entries of a file: provider, model, since, source, and dollars per million tokens (or per image ...)."""
    entries = parse_toml(file).get("prices")
    if not isinstance(entries, list) or not entries:
        raise FactError(file.name, "prices", "must be entries", "[[prices]] provider, model, since, input, output")
    return [_own_price(file.name, f"prices.{number}", entry) for number, entry in enumerate(entries)]


def _own_price(file: str, where: str, entry: Mapping[str, Any]) -> ProviderPrice:
    about = {"provider", "model", "since", "tier", "source", "above"}
    unknown = sorted(entry.keys() - about - OWN_UNITS.keys())
    if unknown:
        raise FactError(file, f"{where}.{unknown[0]}", "unknown key", ", ".join([*sorted(about), *OWN_UNITS]))
    if not isinstance(entry.get("since"), date) or not entry.get("source"):
        raise FactError(file, where, "needs a day and a source", 'since = 2026-01-31, source = "contract 7"')
    if entry.get("tier", STANDARD) not in TIERS:
        raise FactError(file, f"{where}.tier", "unknown", ", ".join(TIERS))
    steps = [(0, entry), *((above.get("tokens", 0), above) for above in entry.get("above", ()))]
    rates: dict[str, Rate] = {}
    for start, step in sorted(steps, key=lambda item: item[0]):
        for word in OWN_UNITS.keys() & step.keys():
            unit, per = OWN_UNITS[word]
            rates[unit] = (*rates.get(unit, ()), (start, _pusd(file, f"{where}.{word}", step[word]) / per))
    late = sorted(unit for unit, steps in rates.items() if steps[0][0])
    if late or not rates:
        raise FactError(file, where, f"no price for short prompts: {', '.join(late) or 'nothing is priced'}")
    words = (entry.get("provider"), entry.get("model"))
    if not all(isinstance(word, str) and word for word in words):
        raise FactError(file, where, "needs provider and model")
    return ProviderPrice(
        str(words[0]), str(words[1]), entry.get("tier", STANDARD), entry["since"], rates, entry["source"]
    )


def _pusd(file: str, where: str, value: object) -> Decimal:
    """Picodollars of a price as it is written: text or whole number, so that nothing is rounded."""
    try:
        dollars = Decimal(value) if isinstance(value, str | int) and not isinstance(value, bool) else None
    except InvalidOperation:
        dollars = None
    if dollars is None or not dollars.is_finite() or dollars < 0:
        raise FactError(file, where, f"{value!r} is no price", 'dollars as text, such as "0.15"')
    return dollars * 10**12


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
        known = [f"{p.id}/{m.id}" for p in snapshot.providers for m in p.models]
        near = ", ".join(difflib.get_close_matches(service, known, n=3, cutoff=0.5)) or "none is near"
        raise UnsupportedError(f"no price for {service}; nearest: {near}") from error
    found = _variant(provider, model, moment, tier)
    rates = {unit: steps for unit, steps in _rates(found).items() if steps}
    if not {"input_tokens", "output_tokens"} & rates.keys():
        raise UnsupportedError(f"no price for {service}: genai-prices {__version__} lists none per token")
    return ProviderPrice(provider.id, model.id, tier, _since(model, moment), rates, f"genai-prices {__version__}")


def _variant(provider: Provider, model: ModelInfo, moment: datetime, tier: str) -> ModelPrice:
    context = TIERS[tier]
    offered = any(variant.when == context for variant in model.price_variants or ())
    if context and not offered:
        raise UnsupportedError(f"no {tier} price for {provider.id}/{model.id}")
    return model.get_prices(moment, context or None)


def _since(model: ModelInfo, moment: datetime) -> date | None:
    """The day from which the price of a moment is listed."""
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

    found: dict[str, Rate] = {}
    for unit in _units().units.values():
        listed = getattr(price, unit.price_key)
        if isinstance(listed, TieredPrices):
            steps = ((0, listed.base), *((tier.start, tier.price) for tier in listed.tiers))
        else:
            steps = ((0, listed),) if listed is not None else ()
        found[unit.usage_key] = tuple((start, rate * 10**12 / unit.per) for start, rate in steps)
    return found

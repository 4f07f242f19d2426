"""What the calls of a service cost: before, as a hold; after, as a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Protocol

from comptroller.costs.carbon import CallEnergy
from comptroller.costs.money import carbon_g, electricity_usd
from comptroller.costs.rating import PUSD, CallReceipt, TokenUsage, rate, worst_case
from comptroller.costs.usage import parse_usage, served_tier
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.facts.prices import STANDARD, PriceBook, ProviderPrice
from comptroller.facts.site import Site
from comptroller.gateway.config import ConfiguredTokenPrice

MILLION = 10**6
"""Prices are told in dollars per so many tokens."""


@dataclass(frozen=True, slots=True)
class HoldTerms:
    """What makes a call dearer than its tokens tell.

    media: tokens may be audio, images or video.  tier: the service tier that is asked for; empty for none.
    """

    media: bool = False
    tier: str = ""


PLAIN = HoldTerms()


class ServiceTariff(Protocol):
    """How a service's calls are paid for."""

    def worst_pusd(
        self, prompt_tokens: int | None, output_tokens: int | None, choices: int, terms: HoldTerms = PLAIN
    ) -> int | None:
        """The most a call may cost, None where it has no known end or price."""
        ...

    def receipt(self, usage: TokenUsage, energy: CallEnergy, served: Any = None) -> CallReceipt:
        """What a call cost. served: the tier that the reply says it was served in, None where it says none."""
        ...


class PerTokenTariff:
    """Dollars per token, from the price books on the day of the call, or a fixed price."""

    def __init__(self, price: str | ProviderPrice, book: PriceBook, tier: str = STANDARD) -> None:
        self._price, self._book, self._tier = price, book, tier
        self.now(tier)

    def now(self, tier: str) -> ProviderPrice:
        """The price of today in a tier; one told in the configuration holds for the configured tier alone.

        Raises:
            UnsupportedError: the books know none; names the nearest.
        """
        if isinstance(self._price, str):
            return self._book.price(self._price, datetime.now(UTC), tier)
        if tier != self._tier:
            raise UnsupportedError(f"{self._price.model} has a {self._tier} price, and none of tier {tier}")
        return self._price

    def _served(self, said: Any) -> str:
        """The price tier of what a reply calls it; what is served as standard may be bought in bulk (batch)."""
        tier = served_tier(said)
        return self._tier if tier == STANDARD else tier

    def worst_pusd(
        self, prompt_tokens: int | None, output_tokens: int | None, choices: int, terms: HoldTerms = PLAIN
    ) -> int | None:
        """Every token at its dearest rate, in the dearer of the usual tier and that asked for.

        Raises:
            UnsupportedError: the tier that is asked for has no price.
        """
        if prompt_tokens is None or output_tokens is None:
            return None
        tiers = {self._tier, self._tier if terms.tier == "auto" else self._served(terms.tier)}
        return max(
            worst_case(self.now(tier), prompt_tokens, output_tokens, choices, terms.media) for tier in sorted(tiers)
        )

    def receipt(self, usage: TokenUsage, energy: CallEnergy, served: Any = None) -> CallReceipt:
        """Usage at today's price; unknown where something was used that has none."""
        try:
            return rate(usage, self.now(self._served(served)), energy)
        except UnsupportedError as error:
            return CallReceipt.unknown(str(error), energy)


class ElectricityTariff:
    """Own hardware whose joules are known: they are paid at the site's price, and no more.

    worst_j: the most joules a call may take.
    """

    def __init__(self, site: Site, worst_j: float) -> None:
        self._site, self._worst_j = site, worst_j

    def _pusd(self, joules: float) -> int:
        wall_j = joules * self._site.pue
        return round(float(electricity_usd(wall_j, self._site.electricity_usd_per_j)) * PUSD)

    def worst_pusd(
        self, prompt_tokens: int | None, output_tokens: int | None, choices: int, terms: HoldTerms = PLAIN
    ) -> int | None:
        """The longest call permitted."""
        return self._pusd(self._worst_j) * choices

    def receipt(self, usage: TokenUsage, energy: CallEnergy, served: Any = None) -> CallReceipt:
        """The electricity of the call's joules, at the meter of the site."""
        if not energy.known:
            return CallReceipt.unknown("the joules of the call are not known", energy)
        pue, grid = self._site.pue, self._site.grid_gco2e_per_j
        wall = replace(
            energy,
            prefill_j=energy.prefill_j * pue,
            decode_j=energy.decode_j * pue,
            low_j=energy.low_j * pue,
            high_j=energy.high_j * pue,
            gco2e=float(carbon_g(energy.j * pue, grid)),
        )
        return CallReceipt(self._pusd(energy.j), energy=wall, extra=usage.extra, note="electricity alone")


class UnpricedTariff:
    """No price is known: calls are marked so, and refused where a budget applies."""

    def __init__(self, why: str) -> None:
        self._why = why

    def worst_pusd(
        self, prompt_tokens: int | None, output_tokens: int | None, choices: int, terms: HoldTerms = PLAIN
    ) -> int | None:
        """Unknown."""
        return None

    def receipt(self, usage: TokenUsage, energy: CallEnergy, served: Any = None) -> CallReceipt:
        """Unknown, never 0."""
        return CallReceipt.unknown(self._why, energy)


def fixed_price(service: str, tokens: ConfiguredTokenPrice) -> ProviderPrice:
    """A price written into the configuration.

    Raises:
        FactError: an amount or the date is none.
    """
    words = {
        "input_tokens": tokens.input,
        "output_tokens": tokens.output,
        "cache_read_tokens": tokens.cached,
        "cache_write_tokens": tokens.cache_write,
    }
    try:
        rates = {unit: ((0, Decimal(word) * PUSD / MILLION),) for unit, word in words.items() if word is not None}
        since = date.fromisoformat(tokens.since)
    except (ArithmeticError, ValueError) as error:
        raise FactError(
            "configuration", f"services.{service}.price", str(error), 'dollars as text, such as "0.15"'
        ) from error
    if any(not rate.is_finite() or rate < 0 for ((_, rate),) in rates.values()):
        raise FactError("configuration", f"services.{service}.price", "a price is finite and not negative", '"0.15"')
    return ProviderPrice("own", service, STANDARD, since, rates, tokens.source)


def usage_of(said: Mapping[str, Any] | None, counted: int) -> TokenUsage:
    """What a service reported, held against what arrived.

    Raises:
        UnsupportedError: nothing, or less than arrived.
    """
    try:
        return parse_usage(said, counted)
    except InputError as error:
        raise UnsupportedError(str(error)) from error


def usage_from_timings(timings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The usage so far by llama.cpp's timings; None where they do not tell.

    >>> usage_from_timings({"cache_n": 30, "prompt_n": 7, "predicted_n": 2})["prompt_tokens"]
    37
    """
    cached = timings.get("cache_n", 0)
    if not all(type(count) is int for count in (timings.get("predicted_n"), timings.get("prompt_n"), cached)):
        return None
    return {
        "prompt_tokens": timings["prompt_n"] + cached,
        "completion_tokens": timings["predicted_n"],
        "prompt_tokens_details": {"cached_tokens": cached},
    }

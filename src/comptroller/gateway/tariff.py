"""What the calls of a service cost: before, as a hold; after, as a receipt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any, Protocol

from comptroller.costs.carbon import CallEnergy
from comptroller.costs.money import carbon_g, electricity_usd
from comptroller.costs.rating import PUSD, CallReceipt, TokenUsage, parse_usage, rate, worst_case
from comptroller.errors import FactError, InputError, UnsupportedError
from comptroller.facts.prices import STANDARD, PriceBook, ProviderPrice
from comptroller.facts.site import Site
from comptroller.gateway.config import ConfiguredTokenPrice

MILLION = 10**6
"""Prices are told in dollars per so many tokens."""


class ServiceTariff(Protocol):
    """How a service's calls are paid for."""

    def worst_pusd(self, prompt_tokens: int | None, output_tokens: int | None, choices: int) -> int | None:
        """The most a call may cost, None where it has no known end or price."""
        ...

    def receipt(self, usage: TokenUsage, energy: CallEnergy) -> CallReceipt:
        """What a call cost."""
        ...


class PerTokenTariff:
    """Dollars per token, from the price books on the day of the call, or a fixed price."""

    def __init__(self, price: str | ProviderPrice, book: PriceBook) -> None:
        self._price, self._book = price, book
        self.now()

    def now(self) -> ProviderPrice:
        """The price of today.

        Raises:
            UnsupportedError: the books know none; names the nearest.
        """
        return self._book.price(self._price, datetime.now(UTC)) if isinstance(self._price, str) else self._price

    def worst_pusd(self, prompt_tokens: int | None, output_tokens: int | None, choices: int) -> int | None:
        """Every token at its dearest rate."""
        if prompt_tokens is None or output_tokens is None:
            return None
        return worst_case(self.now(), prompt_tokens, output_tokens, choices)

    def receipt(self, usage: TokenUsage, energy: CallEnergy) -> CallReceipt:
        """Usage at today's price; unknown where something was used that has none."""
        try:
            return rate(usage, self.now(), energy)
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

    def worst_pusd(self, prompt_tokens: int | None, output_tokens: int | None, choices: int) -> int | None:
        """The longest call permitted."""
        return self._pusd(self._worst_j) * choices

    def receipt(self, usage: TokenUsage, energy: CallEnergy) -> CallReceipt:
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

    def worst_pusd(self, prompt_tokens: int | None, output_tokens: int | None, choices: int) -> int | None:
        """Unknown."""
        return None

    def receipt(self, usage: TokenUsage, energy: CallEnergy) -> CallReceipt:
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
    if "predicted_n" not in timings or "prompt_n" not in timings:
        return None
    cached = timings.get("cache_n", 0)
    return {
        "prompt_tokens": timings["prompt_n"] + cached,
        "completion_tokens": timings["predicted_n"],
        "prompt_tokens_details": {"cached_tokens": cached},
    }

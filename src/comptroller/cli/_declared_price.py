"""Prices per token as options declare them."""

from __future__ import annotations

from datetime import UTC, datetime

from comptroller.cli._evidence_options import numbers
from comptroller.costs.inference_units import TokenPrice
from comptroller.errors import InputError
from comptroller.facts.prices import PriceBook


def declared_price(text: str) -> tuple[TokenPrice, tuple[str, ...]]:
    """The price per token that is written, or that a service had on a day; and what to say of it."""
    if "/" not in text:
        return TokenPrice(*(usd / 1e6 for usd in numbers("price", text, 2))), ()
    service, _, day = text.partition("@")
    try:
        at = datetime.fromisoformat(day).replace(tzinfo=UTC) if day else datetime.now(UTC)
    except ValueError:
        raise InputError(f"--price {text!r}: write the date as provider/model@2026-02-28") from None
    price = PriceBook.read().price(service, at)
    sold = (float(price.rate(unit, 0)) * 1e-12 for unit in ("input_tokens", "output_tokens", "cache_read_tokens"))
    since = f" since {price.since}" if price.since else ""
    return TokenPrice(*sold), (f"price of {service} on {at:%Y-%m-%d}{since}, {price.source}",)

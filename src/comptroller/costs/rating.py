"""Rating: usage times a dated price, in integer picodollars (1 USD = 10^12).

Every token is in exactly one bucket. Providers disagree whether cached tokens count inside the prompt and reasoning
inside the output; `costs/usage.py` reads what they say. Missing is not zero.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal

from comptroller.costs.carbon import CallEnergy
from comptroller.errors import InputError
from comptroller.facts.prices import ProviderPrice

PUSD = 10**12
"""Picodollars in a dollar."""


def pusd(usd: str | int | Decimal) -> int:
    """Picodollars of dollars, exactly.

    Raises:
        InputError: no amount, or finer than a picodollar.

    >>> pusd("0.000000000001"), pusd(5)
    (1, 5000000000000)
    """
    try:
        amount = Decimal(usd) * PUSD
    except ArithmeticError as error:
        raise InputError(f"{usd!r} is no amount of dollars") from error
    if not amount.is_finite() or amount != amount.to_integral_value():
        raise InputError(f"{usd!r} dollars are not a whole number of picodollars")
    return int(amount)


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """What a call used, each token in one bucket. `cached` and `cache_write` are parts of no other bucket.

    cache_write_1h: cache writes that are kept for an hour.  other: counts by unit (images, web_searches), tokens of
    another kind among them: `input_audio_tokens` are part of the prompt and of no other bucket.
    """

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0
    cache_write_1h: int = 0
    reasoning: int = 0
    other: Mapping[str, int] = field(default_factory=dict)

    @property
    def prompt_tokens(self) -> int:
        """The whole prompt: what tiers by context length go by."""
        return self.input + self.cached + self.cache_write + self.cache_write_1h + self._beside("input_")

    @property
    def output_tokens(self) -> int:
        """Everything generated."""
        return self.output + self.reasoning + self._beside("output_")

    def _beside(self, way: str) -> int:
        """Tokens of another kind, in the prompt or in the output."""
        return sum(count for unit, count in self.other.items() if unit.startswith(way)) if self.other else 0

    def counts(self) -> dict[str, int]:
        """Counts by unit, zeros left out."""
        tokens = {
            "input_tokens": self.input,
            "cache_read_tokens": self.cached,
            "cache_write_tokens": self.cache_write,
            "cache_write_1h_tokens": self.cache_write_1h,
            "output_tokens": self.output,
            "output_reasoning_tokens": self.reasoning,
        }
        return {unit: count for unit, count in (tokens | dict(self.other)).items() if count}

    @property
    def extra(self) -> str:
        """What a `Call` has no field for, as JSON; empty where there is none."""
        beside = dict(self.other) | ({"cache_write_1h": self.cache_write_1h} if self.cache_write_1h else {})
        return json.dumps(beside, sort_keys=True) if beside else ""

    def call_tokens(self) -> dict[str, int]:
        """The fields of a `Call`: cached and written tokens inside the input, reasoning inside the output.

        >>> TokenUsage(10, 5, cached=90, reasoning=7).call_tokens()["input_tokens"]
        100
        """
        return {
            "input_tokens": self.prompt_tokens,
            "cached_tokens": self.cached,
            "cache_write_tokens": self.cache_write + self.cache_write_1h,
            "output_tokens": self.output_tokens,
            "reasoning_tokens": self.reasoning,
        }

    @classmethod
    def of_call(cls, tokens: Mapping[str, int], extra: str = "") -> TokenUsage:
        """The usage of a call's token fields and of what it used beside them.

        >>> usage = TokenUsage(10, 5, cached=90, cache_write_1h=3, reasoning=7, other={"images": 2})
        >>> TokenUsage.of_call(usage.call_tokens(), usage.extra) == usage
        True
        """
        beside = json.loads(extra) if extra else {}
        kept = beside.pop("cache_write_1h", 0)
        apart = cls(0, 0, other=beside)
        written, cached = tokens["cache_write_tokens"], tokens["cached_tokens"]
        return cls(
            input=tokens["input_tokens"] - cached - written - apart.prompt_tokens,
            output=tokens["output_tokens"] - tokens["reasoning_tokens"] - apart.output_tokens,
            cached=cached,
            cache_write=written - kept,
            cache_write_1h=kept,
            reasoning=tokens["reasoning_tokens"],
            other=beside,
        )


@dataclass(frozen=True, slots=True)
class CallReceipt:
    """What a call cost: integer picodollars, None where unknown, and the price they were charged at.

    price: kept in the books with its date; `None` for own hardware or free calls.  extra: `TokenUsage.extra`.
    note: why dollars are unknown, or what the provider says.
    """

    pusd: int | None
    price: ProviderPrice | None = None
    energy: CallEnergy = field(default_factory=CallEnergy)
    extra: str = ""
    note: str = ""

    @classmethod
    def unknown(cls, why: str, energy: CallEnergy | None = None) -> CallReceipt:
        """A receipt without dollars; never 0.

        >>> CallReceipt.unknown("no price for model x").pusd is None
        True
        """
        return cls(None, energy=energy or CallEnergy(), note=why)


def rate(usage: TokenUsage, price: ProviderPrice, energy: CallEnergy | None = None) -> CallReceipt:
    """The receipt of a usage at a price: sum over units of count times rate, rounded once, half to even.

    The rate of every unit goes by the length of the whole prompt, cached tokens included.

    Raises:
        UnsupportedError: something was used that has no price.

    >>> price = ProviderPrice("p", "m", "standard", None, {"input_tokens": ((0, Decimal(3_000_000)),)}, "contract")
    >>> rate(TokenUsage(1000, 0), price).pusd / PUSD
    0.003
    """
    counts = usage.counts() | ({"requests": 1} if "requests" in price.rates else {})
    total = sum((count * price.rate(unit, usage.prompt_tokens) for unit, count in counts.items()), Decimal(0))
    return CallReceipt(int(total.to_integral_value(ROUND_HALF_EVEN)), price, energy or CallEnergy(), extra=usage.extra)


def worst_case(price: ProviderPrice, prompt_tokens: int, max_tokens: int, choices: int = 1, media: bool = False) -> int:
    """The most a call may cost in picodollars: every token at the dearest rate that is listed, no cache discount.

    prompt_tokens: at most; every choice may be as long as `max_tokens`. media: whether tokens may be audio, images or
    video. What the price does not list (audio, cache writes) has no bound and is not in it: a call that uses it has no
    known price.

    Raises:
        UnsupportedError: input or output has no price.

    >>> price = ProviderPrice("p", "m", "standard", None, {"input_tokens": ((0, Decimal(3)),),
    ...     "cache_write_tokens": ((0, Decimal(4)),), "output_tokens": ((0, Decimal(15)),)}, "contract")
    >>> worst_case(price, 1000, 100, choices=2)
    7000
    """
    prompt = ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens", *(_KINDS_IN if media else ()))
    total = prompt_tokens * _dearest(price, prompt, prompt_tokens)
    if max_tokens:
        made = ("output_tokens", "output_reasoning_tokens", *(_KINDS_OUT if media else ()))
        total += max_tokens * choices * _dearest(price, made, prompt_tokens)
    total += price.rate("requests", 0) if "requests" in price.rates else 0
    return int(total.to_integral_value(ROUND_CEILING))


_KINDS_IN, _KINDS_OUT = (
    tuple(f"{way}_{kind}_tokens" for kind in ("audio", "image", "video")) for way in ("input", "output")
)


def _dearest(price: ProviderPrice, units: Sequence[str], prompt_tokens: int) -> Decimal:
    """The dearest rate of some units for a prompt of up to so many tokens: the first, and any that is listed."""
    starts = {0, prompt_tokens} | {s + 1 for unit in price.rates.values() for s, _ in unit if s < prompt_tokens}
    priced = [units[0], *(unit for unit in units[1:] if price.listed(unit))]
    return max(price.rate(unit, length) for unit in priced for length in starts)

"""Rating: usage times a dated price, in integer picodollars (1 USD = 10^12).

Every token is in exactly one bucket. Providers disagree whether cached tokens count inside the prompt and reasoning
inside the output; `parse_usage` reads their usage and says which tokens are which. Missing is not zero.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from typing import Any

from comptroller.costs.carbon import CallEnergy
from comptroller.errors import InputError, UnsupportedError
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

    cache_write_1h: cache writes that are kept for an hour.  other: counts by unit (images, web_searches).
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
        return self.input + self.cached + self.cache_write + self.cache_write_1h

    @property
    def output_tokens(self) -> int:
        """Everything generated."""
        return self.output + self.reasoning

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
        written, cached = tokens["cache_write_tokens"], tokens["cached_tokens"]
        return cls(
            input=tokens["input_tokens"] - cached - written,
            output=tokens["output_tokens"] - tokens["reasoning_tokens"],
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


def worst_case(price: ProviderPrice, prompt_tokens: int, max_tokens: int, choices: int = 1) -> int:
    """The most a call may cost in picodollars: every token at the dearest rate that is listed, no cache discount.

    prompt_tokens: at most; every choice may be as long as `max_tokens`. What the price does not list (audio, cache
    writes) has no bound and is not in it: a call that uses it has no known price.

    Raises:
        UnsupportedError: input or output has no price.

    >>> price = ProviderPrice("p", "m", "standard", None, {"input_tokens": ((0, Decimal(3)),),
    ...     "cache_write_tokens": ((0, Decimal(4)),), "output_tokens": ((0, Decimal(15)),)}, "contract")
    >>> worst_case(price, 1000, 100, choices=2)
    7000
    """
    prompt = ("input_tokens", "cache_write_tokens", "cache_write_1h_tokens")
    total = prompt_tokens * _dearest(price, prompt, prompt_tokens)
    if max_tokens:
        made = ("output_tokens", "output_reasoning_tokens")
        total += max_tokens * choices * _dearest(price, made, prompt_tokens)
    total += price.rate("requests", 0) if "requests" in price.rates else 0
    return int(total.to_integral_value(ROUND_CEILING))


def _dearest(price: ProviderPrice, units: Sequence[str], prompt_tokens: int) -> Decimal:
    """The dearest rate of some units for a prompt of up to so many tokens: the first, and any that is listed."""
    starts = {0, prompt_tokens} | {s + 1 for unit in price.rates.values() for s, _ in unit if s < prompt_tokens}
    priced = [units[0], *(unit for unit in units[1:] if price.listed(unit))]
    return max(price.rate(unit, length) for unit in priced for length in starts)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How one kind of API reports usage: paths of its fields, and what counts inside what."""

    input: str
    output: str
    cached: tuple[str, ...]
    written: tuple[str, ...]
    reasoning: tuple[str, ...]
    cached_inside: bool = True
    reasoning_inside: bool = True


_OPENAI = ("prompt_tokens_details.cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens")
_CREATED = ("cache_creation_input_tokens", "prompt_tokens_details.cache_creation_tokens")
_DETAILS = "output_tokens_details.reasoning_tokens"
_CHAT = _Shape("prompt_tokens", "completion_tokens", _OPENAI, _CREATED, ("completion_tokens_details.reasoning_tokens",))
_RESPONSES = _Shape("input_tokens", "output_tokens", ("input_tokens_details.cached_tokens",), (), (_DETAILS,))
_ANTHROPIC = _Shape(
    "input_tokens", "output_tokens", ("cache_read_input_tokens",), _CREATED[:1], (_DETAILS,), cached_inside=False
)
_GOOGLE = _Shape(
    "promptTokenCount",
    "candidatesTokenCount",
    ("cachedContentTokenCount",),
    (),
    ("thoughtsTokenCount",),
    reasoning_inside=False,
)


def parse_usage(usage: Mapping[str, Any] | None, counted_output: int = 0) -> TokenUsage:
    """What a provider's usage object says: OpenAI (chat, responses), Anthropic or Google, told apart by their fields.

    Zero is what was used where it is written; absent is unknown. counted_output: tokens that were seen to arrive, over
    all choices; a report of fewer leaves some out (a server that counts one of n choices).

    Raises:
        UnsupportedError: usage is missing, or cannot be all there was.
        InputError: a count is negative or the parts exceed the whole.

    >>> parse_usage({"prompt_tokens": 2006, "completion_tokens": 300, "prompt_tokens_details": {"cached_tokens": 1920}})
    TokenUsage(input=86, output=300, cached=1920, cache_write=0, cache_write_1h=0, reasoning=0, other={})
    """
    if not usage:
        raise UnsupportedError("the provider reported no usage")
    shape = _shape(usage)
    whole, generated = _count(usage, shape.input), _count(usage, shape.output)
    cached, written, reasoning = (_first(usage, paths) for paths in (shape.cached, shape.written, shape.reasoning))
    hour = _count(usage, "cache_creation.ephemeral_1h_input_tokens") or 0
    if whole is None or (generated is None and not reasoning):
        raise UnsupportedError(f"the provider reported no {shape.input if whole is None else shape.output}")
    made = TokenUsage(
        input=whole - (cached + written if shape.cached_inside else 0),
        output=(generated or 0) - (reasoning if shape.reasoning_inside else 0),
        cached=cached,
        cache_write=written - hour,
        cache_write_1h=hour,
        reasoning=reasoning,
    )
    if min(made.input, made.output, made.cached, made.cache_write, made.reasoning) < 0:
        raise InputError(f"usage does not add up: {json.dumps(usage, default=str)}")
    if made.output_tokens < counted_output:
        raise UnsupportedError(f"the provider reported {made.output_tokens} output tokens, {counted_output} arrived")
    return made


def _shape(usage: Mapping[str, Any]) -> _Shape:
    if "promptTokenCount" in usage:
        return _GOOGLE
    if "input_tokens" in usage and "prompt_tokens" not in usage:
        responses = "input_tokens_details" in usage or "total_tokens" in usage
        return _RESPONSES if responses else _ANTHROPIC
    return _CHAT


def _first(usage: Mapping[str, Any], paths: Iterable[str]) -> int:
    """The first of some fields that is there; absent parts of a known whole are none of it."""
    return next((count for path in paths if (count := _count(usage, path)) is not None), 0)


def _count(usage: Mapping[str, Any], path: str) -> int | None:
    value: Any = usage
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value < 0 or value != int(value):
        raise InputError(f"usage: {path} is {value!r}; a count is a whole number from 0 up")
    return int(value)

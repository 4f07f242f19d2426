"""Units, the cost vector, and the glossary of symbols.

Inside the package every number is in SI base units and its name ends in the unit: `_s _bytes _flops
_flops_per_s _bytes_per_s _w _j _usd _gco2e _tokens`. Other units are converted here, when a document is read.

Glossary: B batch (sequences in a step), C concurrency, D hidden size, E experts, K key-value tokens,
P prompt tokens of a step, S sequence length, TTFT time to first token, TPOT time per output token.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

Values = float | npt.NDArray[np.float64]
"""One number, or an array whose leading axis is calibration draws or points."""

KWH_J = 3.6e6
HOUR_S = 3600.0
DAY_S = 24 * HOUR_S
MONTH_S = 365.25 / 12 * DAY_S
"""A twelfth of a mean year, 730.5 h, which clouds bill as 730 h."""

FIGURE_DIGITS = 6
"""Significant digits of the figures in plans: a rounding of at most 5e-6. Linear programs are solved to 1e-7 (the
default of HiGHS), so twice as many digits would print what the solver leaves open and what may differ between
machines."""

_PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}


def _units() -> dict[str, tuple[str, float]]:
    """Field suffix and factor to SI of each unit; a multiply-add counts as two flop."""
    table = {"1": ("1", 1.0), "%": ("1", 0.01), "USD/h": ("usd_per_s", 1 / HOUR_S), "USD": ("usd", 1.0)}
    table |= {"USD/day": ("usd_per_s", 1 / DAY_S), "USD/month": ("usd_per_s", 1 / MONTH_S)}
    for prefix, scale in _PREFIX.items():
        table[prefix + "B"] = ("bytes", scale)
        table[prefix + "B/s"] = ("bytes_per_s", scale)
        table[prefix + "bit/s"] = ("bytes_per_s", scale / 8)
        table[prefix + "flop/s"] = ("flops_per_s", scale)
        table[prefix + "Hz"] = ("hz", scale)
        table[prefix + "op/s"] = ("flops_per_s", scale)
        table[prefix + "W"] = ("w", scale)
        table[prefix + "params"] = ("params", scale)
    for prefix, scale in _BINARY.items():
        table[prefix + "B"] = ("bytes", scale)
    for name, seconds in {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9, "h": HOUR_S}.items():
        table[name] = ("s", seconds)
    for name, joules in {"J": 1.0, "pJ": 1e-12, "kWh": KWH_J, "Wh": 3600.0}.items():
        table[name] = ("j", joules)
        table["USD/" + name] = ("usd_per_j", 1 / joules)
        table["gCO2e/" + name] = ("gco2e_per_j", 1 / joules)
    table |= {"m2": ("m2", 1.0), "mm2": ("m2", 1e-6)}
    table |= {"gCO2e/h": ("gco2e_per_s", 1 / HOUR_S), "kgCO2e/h": ("gco2e_per_s", 1e3 / HOUR_S)}
    return table


UNITS: dict[str, tuple[str, float]] = _units()
"""Unit as written in a document -> (suffix of the fields that accept it, factor to SI)."""


def to_si(value: float, unit: str) -> tuple[float, str]:
    """The value in SI units, and the suffix of the fields that its unit belongs to.

    Raises:
        KeyError: the unit is unknown.

    >>> to_si(80, "GB")
    (80000000000.0, 'bytes')
    >>> to_si(0.36, "USD/kWh")
    (1e-07, 'usd_per_j')
    """
    suffix, factor = UNITS[unit]
    return value * factor, suffix


BYTES_PER_TOKEN = 4
"""Of a text that nobody has tokenised: English text has about 4 in the vocabularies of 2023 and later, as the Gateway
API Inference Extension assumes too. At twice it texts count half; what is compared among them stays in order."""


@dataclass(frozen=True, slots=True)
class TokenCounts:
    """Tokens by kind; every token is counted in exactly one field.

    input: of the prompt, neither read from a cache nor written to one.  cached: read from a prefix cache.
    cache_write: of the prompt, written to a cache that the provider bills.  output: without reasoning.  reasoning:
    generated before the answer.
    """

    input: Values = 0.0
    cached: Values = 0.0
    cache_write: Values = 0.0
    output: Values = 0.0
    reasoning: Values = 0.0

    def __add__(self, other: TokenCounts) -> TokenCounts:
        return TokenCounts(*(a + b for a, b in zip(_field_values(self), _field_values(other), strict=True)))

    def __mul__(self, factor: Values) -> TokenCounts:
        return TokenCounts(*(a * factor for a in _field_values(self)))

    @property
    def total(self) -> Values:
        """Sum over all kinds."""
        return self.input + self.cached + self.cache_write + self.output + self.reasoning


@dataclass(frozen=True, slots=True)
class Cost:
    """Resources consumed, predicted or measured: device-seconds, tokens, FLOPs, bytes, joules, dollars, grams of CO2e.

    Costs add and scale. NaN is unknown and propagates. Latency is not among the fields, because it does not add over
    parallel calls.

    >>> (Cost(usd=1.0, j=2.0) + Cost(usd=0.5, j=1.0)) * 2
    Cost(device_s=0.0, tokens=TokenCounts(input=0.0, cached=0.0, cache_write=0.0, output=0.0, reasoning=0.0), \
flops=0.0, bytes=0.0, j=6.0, usd=3.0, gco2e=0.0)
    """

    device_s: Values = 0.0
    tokens: TokenCounts = field(default_factory=TokenCounts)
    flops: Values = 0.0
    bytes: Values = 0.0
    j: Values = 0.0
    usd: Values = 0.0
    gco2e: Values = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(*(a + b for a, b in zip(_field_values(self), _field_values(other), strict=True)))

    def __mul__(self, factor: Values) -> Cost:
        return Cost(*(a * factor for a in _field_values(self)))


def _field_values(record: TokenCounts | Cost) -> Iterator[Any]:
    return (getattr(record, item.name) for item in fields(record))


def round_significant(value: float, digits: int = FIGURE_DIGITS) -> float | None:
    """The value rounded to significant digits; None for NaN, which JSON cannot hold.

    >>> round_significant(1234.56789, 4), round_significant(float("nan"))
    (1235.0, None)
    """
    return None if np.isnan(value) else float(f"{value:.{digits}g}")


def short(value: float) -> float:
    """The value rounded to `FIGURE_DIGITS` significant digits; NaN stays NaN.

    >>> short(1234.56789)
    1234.57
    """
    return float(f"{value:.{FIGURE_DIGITS}g}")

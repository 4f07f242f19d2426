"""The values that one element can hold, how a number is rounded to them, and their bit patterns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from comptroller.facts.format import ElementEncoding

Floats = npt.NDArray[np.float32]
Codes = npt.NDArray[np.integer]
Rounding = Callable[[Floats, float, np.random.Generator | None], Floats]


def _even(x: Floats, low: float, rng: np.random.Generator | None) -> Floats:
    return np.rint(x)


def _away(x: Floats, low: float, rng: np.random.Generator | None) -> Floats:
    whole = np.trunc(x)
    return np.asarray(whole + np.trunc((x - whole) * np.float32(2)), np.float32)


def _up(x: Floats, low: float, rng: np.random.Generator | None) -> Floats:
    """Half way goes up; shifted by the lowest code before the floor, as llama.cpp does (it decides last bits)."""
    return np.asarray(np.floor(x + np.float32(0.5 - low)) + np.float32(low), np.float32)


def _stochastic(x: Floats, low: float, rng: np.random.Generator | None) -> Floats:
    assert rng is not None
    return np.asarray(np.floor(x + rng.random(x.shape, np.float32)), np.float32)


MOST_COUNTED = 32
"""Edges up to which codes are counted edge by edge. For 65,536 elements counting took 0.5 ms at 32 edges and a binary
search 7 ms; the two meet above 200 edges."""

ROUNDINGS: Mapping[str, Rounding] = {"even": _even, "away": _away, "up": _up, "stochastic": _stochastic}
"""How halves are rounded: to even, away from zero, up as llama.cpp does, or up and down at random without bias."""


class ElementGrid(Protocol):
    """The values of an element, in units of its scale.

    low, high: the extremes.  width: elements that one code stands for.
    """

    width: ClassVar[int]

    @property
    def low(self) -> float:
        """The smallest value."""
        ...

    @property
    def high(self) -> float:
        """The largest value."""
        ...

    def nearest(self, x: Floats, ties: str, rng: np.random.Generator | None) -> Floats:
        """Every number at a value of the grid, saturating at its extremes."""
        ...

    def encode(self, values: Floats) -> Codes:
        """Bit patterns of values that are on the grid."""
        ...

    def decode(self, codes: Codes) -> Floats:
        """The values of bit patterns."""
        ...

    def values(self) -> npt.NDArray[np.float64]:
        """Every finite value, ascending."""
        ...


@dataclass(frozen=True, slots=True)
class IntegerGrid:
    """Whole numbers from low to high; ternary is -1 to 1, and one bit is -1 or 1."""

    width: ClassVar[int] = 1
    low: float
    high: float

    def nearest(self, x: Floats, ties: str, rng: np.random.Generator | None) -> Floats:
        """See `ElementGrid`."""
        return np.clip(ROUNDINGS[ties](x, self.low, rng), np.float32(self.low), np.float32(self.high))

    def encode(self, values: Floats) -> Codes:
        """See `ElementGrid`: the integers themselves."""
        return values.astype(np.int8 if self.low < 0 else np.uint8 if self.high < 256 else np.uint16)

    def decode(self, codes: Codes) -> Floats:
        """See `ElementGrid`."""
        return codes.astype(np.float32)

    def values(self) -> npt.NDArray[np.float64]:
        """See `ElementGrid`."""
        return np.arange(self.low, self.high + 1)


@dataclass(frozen=True, slots=True)
class SignGrid:
    """One bit: -1 or 1, never 0."""

    width: ClassVar[int] = 1
    low: float = -1.0
    high: float = 1.0

    def nearest(self, x: Floats, ties: str, rng: np.random.Generator | None) -> Floats:
        """See `ElementGrid`; stochastic: 1 with probability (1 + x) / 2."""
        at = rng.random(x.shape, np.float32) * 2 - 1 if ties == "stochastic" and rng else np.float32(0)
        return np.where(x >= at, np.float32(1), np.float32(-1))

    def encode(self, values: Floats) -> Codes:
        """See `ElementGrid`."""
        return (values > 0).astype(np.uint8)

    def decode(self, codes: Codes) -> Floats:
        """See `ElementGrid`."""
        return codes.astype(np.float32) * 2 - 1

    def values(self) -> npt.NDArray[np.float64]:
        """See `ElementGrid`."""
        return np.array([-1.0, 1.0])


@dataclass(frozen=True, slots=True)
class FloatGrid:
    """Sign, exponent, mantissa. Up to 7 bits every pattern is a number; E4M3 spares one mantissa for NaN (OCP
    "fn"), the others their last exponent (IEEE 754).
    """

    width: ClassVar[int] = 1
    exponent_bits: int
    mantissa_bits: int
    signed: bool = True

    @property
    def bias(self) -> int:
        """What is added to the exponent."""
        return int(2 ** (self.exponent_bits - 1)) - 1 if self.exponent_bits > 1 else 1

    @property
    def high(self) -> float:
        """The largest finite value."""
        top, spared = 2**self.exponent_bits - 1 - self.bias, 0
        if self.exponent_bits + self.mantissa_bits >= 7:
            plain = self.mantissa_bits == 3
            top, spared = (top, 1) if plain else (top - 1, 0)
        return float(2.0**top * (2 - 2.0**-self.mantissa_bits * (1 + spared)))

    @property
    def low(self) -> float:
        """The smallest finite value."""
        return -self.high if self.signed else 0.0

    def nearest(self, x: Floats, ties: str, rng: np.random.Generator | None) -> Floats:
        """See `ElementGrid`: rounded to the step of its binade, or of the subnormals."""
        if self.mantissa_bits >= 23:
            return x
        if self.exponent_bits == 8:
            return self._wide(x, ties, rng)
        binade = x.view(np.int32) & np.int32(0x7F800000)
        np.maximum(binade, np.int32((128 - self.bias) << 23), out=binade)
        step = binade.view(np.float32) * np.float32(2.0**-self.mantissa_bits)
        found = ROUNDINGS[ties](x / step, self.low, rng) * step
        return np.clip(found, np.float32(self.low), np.float32(self.high))

    def _wide(self, x: Floats, ties: str, rng: np.random.Generator | None) -> Floats:
        """As many exponents as single precision: whole numbers of dropped bits, no step that could overflow."""
        drop = 23 - self.mantissa_bits
        bits = x.view(np.uint32)
        if ties == "stochastic" and rng:
            raised = bits + rng.integers(0, 1 << drop, x.shape, np.uint32)
        else:
            raised = bits + (np.uint32((1 << (drop - 1)) - 1) + ((bits >> np.uint32(drop)) & np.uint32(1)))
        found: Floats = (raised & np.uint32((0xFFFFFFFF << drop) & 0xFFFFFFFF)).view(np.float32)
        return np.clip(found, np.float32(self.low), np.float32(self.high))

    def encode(self, values: Floats) -> Codes:
        """See `ElementGrid`: sign, exponent, mantissa, from the highest bit down."""
        shifted = (np.abs(values) * np.float32(2.0 ** (self.bias - 127))).view(np.uint32)
        width = self.exponent_bits + self.mantissa_bits
        sign = np.signbit(values).astype(np.uint32) << np.uint32(width)
        kind = np.uint8 if width < 8 else np.uint16 if width < 16 else np.uint32
        return ((shifted >> np.uint32(23 - self.mantissa_bits)) | sign).astype(kind)

    def decode(self, codes: Codes) -> Floats:
        """See `ElementGrid`."""
        width = self.exponent_bits + self.mantissa_bits
        if width < 8:
            return np.asarray(np.take(_table(self), codes, mode="clip"), np.float32)
        return self._decoded(codes.astype(np.uint32))

    def _decoded(self, codes: npt.NDArray[np.uint32]) -> Floats:
        width = self.exponent_bits + self.mantissa_bits
        magnitude = (codes & np.uint32((1 << width) - 1)) << np.uint32(23 - self.mantissa_bits)
        found = magnitude.view(np.float32) * np.float32(2.0 ** (127 - self.bias))
        return np.where((codes >> np.uint32(width)) & np.uint32(1), -found, found)

    def values(self) -> npt.NDArray[np.float64]:
        """See `ElementGrid`; both zeros count once."""
        codes = np.arange(1 << (self.exponent_bits + self.mantissa_bits), dtype=np.uint32)
        positive = self._decoded(codes).astype(np.float64)
        positive = positive[positive <= self.high]
        return np.unique(np.concatenate([-positive, positive]) + 0.0) if self.signed else positive


@lru_cache(maxsize=64)
def _table(grid: FloatGrid) -> Floats:
    """Values by bit pattern; patterns that are no number read as the nearest that is."""
    codes = np.arange(1 << (grid.exponent_bits + grid.mantissa_bits + 1), dtype=np.uint32)
    return np.clip(grid._decoded(codes), np.float32(grid.low), np.float32(grid.high))


@dataclass(frozen=True, slots=True)
class CodebookGrid:
    """Listed values, ascending; a code is the number of a value."""

    width: ClassVar[int] = 1
    listed: tuple[float, ...]

    @property
    def low(self) -> float:
        """The smallest value."""
        return self.listed[0]

    @property
    def high(self) -> float:
        """The largest value."""
        return self.listed[-1]

    def nearest(self, x: Floats, ties: str, rng: np.random.Generator | None) -> Floats:
        """See `ElementGrid`; half way goes down."""
        table = np.array(self.listed, np.float32)
        if ties == "stochastic" and rng:
            below = np.clip(np.searchsorted(table, x, side="right") - 1, 0, len(table) - 2)
            low, high = table[below], table[below + 1]
            above = rng.random(x.shape, np.float32) * (high - low) < x - low
            return np.where(above, high, low)
        return np.take(table, self._number(x, _midway(table)), mode="clip")

    def _number(self, x: Floats, edges: Floats) -> Codes:
        if len(edges) > MOST_COUNTED:
            return np.searchsorted(edges, x, side="left")
        number = np.zeros(x.shape, np.uint8)
        for edge in edges:
            number += x > edge
        return number

    def encode(self, values: Floats) -> Codes:
        """See `ElementGrid`."""
        table = np.array(self.listed, np.float32)
        kind = np.uint8 if len(table) <= 256 else np.uint16
        return self._number(values, _midway(table)).astype(kind)

    def decode(self, codes: Codes) -> Floats:
        """See `ElementGrid`."""
        return np.asarray(np.take(np.array(self.listed, np.float32), codes, mode="clip"), np.float32)

    def values(self) -> npt.NDArray[np.float64]:
        """See `ElementGrid`."""
        return np.array(self.listed)


def _midway(table: Floats) -> Floats:
    return np.asarray((table[1:] + table[:-1]) / 2, np.float32)


def grid(element: ElementEncoding, fit: str = "absmax", asymmetric: bool = False) -> ElementGrid:
    """The values of an element under the fit of its scale.

    Integers are symmetric, +-(2^(b-1) - 1), so that no sign is favoured; with a signed fit they use the lowest code
    too; with a zero point they count from 0.

    >>> grid(ElementEncoding("float", 4, 2, 1)).values().tolist()[7:]
    [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    >>> grid(ElementEncoding("float", 8, 4, 3)).high, grid(ElementEncoding("float", 8, 5, 2)).high
    (448.0, 57344.0)
    """
    if element.kind == "float":
        assert element.exponent_bits is not None and element.mantissa_bits is not None
        return FloatGrid(element.exponent_bits, element.mantissa_bits)
    if element.kind == "codebook":
        return CodebookGrid(element.values)
    if element.kind == "ternary":
        return IntegerGrid(-1, 1)
    bits = int(element.bits)
    if asymmetric:
        return IntegerGrid(0, 2**bits - 1)
    if bits == 1:
        return SignGrid()
    half = 2 ** (bits - 1)
    return IntegerGrid(-half if fit == "signed" else 1 - half, half - 1)

"""Codebooks of vectors (GGUF's IQ formats): several elements share one code, a point of a published table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from comptroller.errors import InputError
from comptroller.facts.format import Format
from comptroller.numerics.grid import Codes, Floats

_FEW = 1 << 10
"""Vectors compared at a time with every point of a table: with 2,048 points that is 8 MiB of singles. Twice as many
take twice the memory and change nothing else."""


@dataclass(frozen=True, slots=True)
class LatticeCodebook:
    """Points (count, width); x = scale * (point with signs + shift).

    even: signs are kept apart, their number of minuses is even (7 bits for 8).  unit, first: the scale of a block
    is d * unit * (first + whole number), d a half-precision number per 256.  shift: added or subtracted per block.
    """

    points: Floats
    even: bool
    unit: float
    first: float
    shift: float

    @property
    def width(self) -> int:
        """Elements of a code."""
        return int(self.points.shape[1])

    def quantise(self, blocks: Floats, fmt: Format) -> tuple[Codes, Floats, Floats]:
        """Codes, scales and offsets of blocks: fitted once by least squares, rounded, coded again."""
        best = self._fit(blocks, fmt, self.shift)
        if self.shift:
            other = self._fit(blocks, fmt, -self.shift)
            worse = self._error(blocks, other) < self._error(blocks, best)
            codes, scale, offset = best
            codes[worse], scale[worse], offset[worse] = (part[worse] for part in other)
        return best

    def _error(self, blocks: Floats, found: tuple[Codes, Floats, Floats]) -> Floats:
        codes, scale, offset = found
        again = self.decode(codes) * scale[:, None] + offset[:, None]
        return np.asarray(((again - blocks) ** 2).sum(axis=1), np.float32)

    def _fit(self, blocks: Floats, fmt: Format, shift: float) -> tuple[Codes, Floats, Floats]:
        rms = np.sqrt((blocks**2).mean(axis=1, dtype=np.float64))
        guess = np.asarray(rms / np.sqrt((self.points**2).mean()), np.float32)
        value = self.decode(self._encode(blocks, guess, shift)) + np.float32(shift)
        fitted = (value * blocks).sum(axis=1) / np.maximum((value**2).sum(axis=1), 1e-30)
        scale = self._stored(np.maximum(fitted, 0), fmt)
        return self._encode(blocks, scale, shift), scale, scale * np.float32(shift)

    def _stored(self, scale: Floats, fmt: Format) -> Floats:
        level, upper = fmt.levels
        most = 2**level.scale_bits - 1
        groups = scale.reshape(-1, upper.block // level.block) / np.float32(self.unit)
        step = (groups.max(axis=1, keepdims=True) / (self.first + most)).astype(np.float16).astype(np.float32)
        whole = np.rint(np.divide(groups, step, out=np.zeros_like(groups), where=step > 0) - self.first)
        stored = step * np.float32(self.unit) * (np.clip(whole, 0, most) + np.float32(self.first))
        return np.asarray(stored, np.float32).reshape(-1)

    def _encode(self, blocks: Floats, scale: Floats, shift: float) -> Codes:
        """Nearest points; where minuses are odd, the sign that costs least is turned."""
        inverse = np.divide(np.float32(1), scale, out=np.zeros_like(scale), where=scale > 0)
        vectors = (blocks * inverse[:, None]).reshape(-1, self.width) - np.float32(shift)
        sizes = np.abs(vectors) if self.even else vectors
        half = (self.points**2).sum(axis=1) / np.float32(2)
        nearest = [(sizes[at : at + _FEW] @ self.points.T - half).argmax(axis=1) for at in range(0, len(sizes), _FEW)]
        code = np.concatenate(nearest).astype(np.uint32)
        if self.even:
            minus = vectors < 0
            odd = np.flatnonzero(minus.reshape(len(blocks), -1, 8).sum(axis=2).reshape(-1) % 2)
            cost = (sizes * self.points[code]).reshape(-1, 8)
            eights = minus.reshape(-1, 8)
            eights[odd, cost[odd].argmin(axis=1)] ^= True
            bits = (eights.reshape(minus.shape) << np.arange(self.width)).sum(axis=1)
            code |= bits.astype(np.uint32) << np.uint32(16)
        return code.reshape(len(blocks), -1)

    def decode(self, codes: Codes) -> Floats:
        """Points with their signs, shape (blocks, codes * width)."""
        value = self.points[codes & np.uint32(0xFFFF)]
        if self.even:
            minus = (codes[..., None] >> np.arange(16, 16 + self.width, dtype=np.uint32)) & np.uint32(1)
            value = np.where(minus, -value, value)
        return np.asarray(value.reshape(len(codes), -1), np.float32)


_LAYOUTS = {"IQ1_S": (False, 2.0, 0.5, 0.125), "IQ2_XXS": (True, 0.25, 0.5, 0.0), "IQ3_XXS": (True, 0.5, 0.5, 0.0)}
"""Signs apart, unit and first of the scale, shift: ggml-common.h and the dequantisers of the package gguf."""


@lru_cache(maxsize=8)
def lattice(table: str) -> LatticeCodebook:
    """The lattice of a GGUF type.

    Raises:
        InputError: the package gguf, which carries the table, is not installed.
    """
    try:
        from gguf import quants
    except ImportError as error:
        raise InputError(f"{table} needs its table: pip install 'comptroller[quality]'") from error
    quant_type = getattr(quants, table)
    quant_type.init_grid()
    return LatticeCodebook(np.asarray(quant_type.grid, np.float32).reshape(quant_type.grid_shape), *_LAYOUTS[table])

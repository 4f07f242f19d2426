"""Scales of blocks: fitted to what a block holds, then stored in few bits themselves, level over level."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.errors import InputError
from comptroller.facts.format import Format, ScaleLevel
from comptroller.numerics.grid import ElementGrid, FloatGrid, Floats

_CAST = {
    "f32": FloatGrid(8, 23, signed=True),
    "f16": FloatGrid(5, 10, signed=True),
    "bf16": FloatGrid(8, 7, signed=True),
    "e4m3": FloatGrid(4, 3, signed=False),
    "ue5m3": FloatGrid(5, 3, signed=False),
}
"""Types that a scale is stored in, by their name in a format's file."""


@dataclass(frozen=True, slots=True)
class BlockStatistic:
    """What a fit needs of every block, one number per block each.

    size: by the fit the largest magnitude, that with its sign, or the mean magnitude.  low, high: the extremes.
    """

    size: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class BlockScales:
    """Per block: x = code * scale + offset.

    scale, offset: as they are stored.  coding, base: what elements are coded with (the same, or before rounding).
    """

    scale: Floats
    offset: Floats | None
    coding: Floats
    base: Floats | None


def scales_of(fmt: Format, grid: ElementGrid, statistic: BlockStatistic, per_row: int) -> BlockScales:
    """Scales (and offsets, where the format has zero points) of blocks.

    per_row: blocks in a row of the tensor.

    Raises:
        InputError: a scale is beyond what its type can hold.
    """
    level = fmt.levels[0]
    if level.zero_bits:
        return _asymmetric(fmt, grid, statistic, per_row)
    reach = {"absmax": grid.high, "signed": grid.low, "absmean": 1.0}[level.fit]
    raw = np.asarray(statistic.size / np.float32(reach), np.float32)
    scale = store(raw, fmt.levels, grid, per_row)
    if not np.isfinite(scale).all():
        raise InputError(f"{fmt.id}: a scale of {np.abs(raw).max():g} is beyond what {level.scale} holds")
    return BlockScales(scale, None, raw if fmt.coded_with == "exact" else scale, None)


def _asymmetric(fmt: Format, grid: ElementGrid, statistic: BlockStatistic, per_row: int) -> BlockScales:
    """Codes from 0: the offset is the block's least value, kept as a number, or as a whole number of steps."""
    level, *upper = fmt.levels
    whole_steps = level.zero_bits == fmt.element.bits and not upper
    reach_zero = whole_steps or bool(upper)
    low = np.minimum(statistic.low, np.float32(0)) if reach_zero else statistic.low
    high = np.maximum(statistic.high, low)
    raw = np.asarray((high - low) / np.float32(grid.high), np.float32)
    scale = store(raw, fmt.levels, grid, per_row)
    if whole_steps:
        steps = np.clip(np.rint(-low / np.where(scale > 0, scale, np.inf)), 0, grid.high)
        offset = np.asarray(-steps * scale, np.float32)
    elif upper:
        offset = -_nested_scales(-low, level.zero_bits, level.block, upper, per_row)
    else:
        offset = low.astype(np.float16).astype(np.float32)
    exact = fmt.coded_with == "exact"
    return BlockScales(scale, offset, raw if exact else scale, low if exact else offset)


def store(raw: Floats, levels: Sequence[ScaleLevel], grid: ElementGrid, per_row: int) -> Floats:
    """Scales as their level keeps them: cast, rounded to a power of two, or coded under the next level."""
    level, *upper = levels
    if level.scale == "e8m0":
        return power_of_two(raw * np.float32(grid.high), grid.high, level.power)
    if level.scale.startswith("int"):
        return _nested_scales(raw, level.scale_bits, level.block, upper, per_row, level.fit == "signed")
    cast = _CAST[level.scale]
    if not upper:
        return _cast(raw, cast)
    top = _over(np.asarray(raw / np.float32(cast.high), np.float32), upper[0], level.block, per_row)
    return _cast(np.divide(raw, top, out=np.zeros_like(raw), where=top > 0), cast) * top


def _cast(raw: Floats, cast: FloatGrid) -> Floats:
    if cast.mantissa_bits == 10:
        with np.errstate(over="ignore"):
            return raw.astype(np.float16).astype(np.float32)
    return cast.nearest(np.ascontiguousarray(raw), "even", None)


def _nested_scales(
    raw: Floats, bits: float, block: int, upper: Sequence[ScaleLevel], per_row: int, signed: bool = False
) -> Floats:
    """Whole numbers of a step that the level above keeps."""
    most = np.float32(2 ** (bits - 1) - 1 if signed else 2**bits - 1)
    top = _over(np.asarray(np.abs(raw) / most, np.float32), upper[0], block, per_row)
    codes = np.rint(np.divide(raw, top, out=np.zeros_like(raw), where=top > 0))
    return np.clip(codes, -most if signed else np.float32(0), most) * top


def _over(raw: Floats, upper: ScaleLevel, block: int, per_row: int) -> Floats:
    """For every scale its own scale: the largest of its group, cast to the type of the level above."""
    row = 1 if upper.across == "tensor" else len(raw) // per_row
    spread = raw.reshape(row, -1)
    size = upper.block // block if upper.block else spread.shape[1]
    padded = np.pad(spread, ((0, 0), (0, -spread.shape[1] % size)))
    top = padded.reshape(row, -1, size).max(axis=2)
    kept = _cast(np.ascontiguousarray(top), _CAST[upper.scale])
    return np.repeat(kept, size, axis=1)[:, : spread.shape[1]].reshape(-1)


def power_of_two(largest: Floats, high: float, power: str) -> Floats:
    """The E8M0 scale of blocks.

    floor: 2^(floor(log2 amax) - floor(log2 high)), OCP Microscaling 1.0; the largest elements may saturate.
    ceil: 2^ceil(log2(amax / high)); none does.

    >>> power_of_two(np.array([7.0, 6.0], np.float32), 6.0, "floor").tolist()
    [1.0, 1.0]
    >>> power_of_two(np.array([7.0, 6.0], np.float32), 6.0, "ceil").tolist()
    [2.0, 1.0]
    """
    if power == "floor":
        exponent = np.frexp(largest)[1] - np.frexp(high)[1]
    else:
        part, exponent = np.frexp(largest / np.float32(high))
        exponent = exponent - (part == 0.5)
    scale = np.ldexp(np.float32(1), np.clip(exponent, -127, 127))
    return np.where(largest > 0, scale, np.float32(0)).astype(np.float32)

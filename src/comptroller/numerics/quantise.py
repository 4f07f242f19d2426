"""Quantise and dequantise in any format of the catalogue: element grid x scales x rotation x rounding."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnknownIdError, UnsupportedError
from comptroller.facts.format import Format, ScaleLevel, format_
from comptroller.facts.reader import ids
from comptroller.numerics.grid import ROUNDINGS, Codes, ElementGrid, Floats, grid
from comptroller.numerics.lattice import LatticeCodebook, lattice
from comptroller.numerics.rotation import rotate, rotation_size
from comptroller.numerics.scales import BlockScales, BlockStatistic, scales_of

CHUNK = 1 << 16
"""Elements handled at a time: they and their temporaries stay in the second-level cache."""


@dataclass(frozen=True, slots=True)
class QuantisedTensor:
    """A tensor in a format: bit patterns by block, scales and offsets by block, and the shape it had."""

    fmt: Format
    codes: Codes
    scale: Floats | None
    offset: Floats | None
    shape: tuple[int, ...]


VARIANTS: Mapping[str, Callable[[Format], Format]] = {
    "hadamard": lambda fmt: replace(fmt, rotation="hadamard"),
    "ceil": lambda fmt: _first(fmt, power="ceil"),
    "floor": lambda fmt: _first(fmt, power="floor"),
    "tensor": lambda fmt: _first(fmt, block=0, across="tensor"),
    "channel": lambda fmt: _first(fmt, block=0, across="row"),
    "2of4": lambda fmt: replace(fmt, keep=2, of=4),
}
"""What may follow a format's id after a plus."""


def _first(fmt: Format, **changed: object) -> Format:
    if not fmt.levels:
        raise InputError(f"{fmt.id} has no scale to change; variants of it: +hadamard, +2of4")
    level = replace(fmt.levels[0], **changed)  # type: ignore[arg-type]
    return replace(fmt, levels=(level, *fmt.levels[1:]))


@lru_cache(maxsize=256)
def format_with_variants(name: str) -> Format:
    """A format of the catalogue or of a user's file, with variants: `nvint4+hadamard`, `mxfp8+ceil`.

    Raises:
        UnknownIdError: no such format or variant; lists the nearest.

    >>> format_with_variants("mxfp4+hadamard").rotation
    'hadamard'
    """
    base, *variants = name.split("+")
    fmt = format_(base)
    for variant in variants:
        if variant not in VARIANTS:
            raise UnknownIdError("variant of a format", variant, VARIANTS)
        fmt = VARIANTS[variant](fmt)
    return replace(fmt, id=name)


def quantise(
    x: npt.ArrayLike, fmt: Format, rounding: str = "nearest", rng: np.random.Generator | None = None
) -> QuantisedTensor:
    """A tensor in a format; blocks run along the last axis.

    x: real numbers, any shape; taken as single precision.  rounding: `nearest` (ties as the format says) or
    `stochastic`, which needs `rng` and is unbiased between the extremes of the grid.

    Raises:
        InputError: not finite; blocks or kept elements do not divide the shape; unknown rounding.
        UnsupportedError: a sketch, which keeps no elements.
    """
    values = np.ascontiguousarray(x, dtype=np.float32)
    ties = _ties(fmt, rounding, rng)
    check(values.shape, fmt)
    if fmt.rotation == "hadamard":
        values = rotate(values, rotation_size(values.shape[-1], fmt))
    if fmt.of > 1:
        values = sparse(values, fmt.keep, fmt.of)
    blocks = _blocks(values, fmt.levels[0] if fmt.levels else None)
    if fmt.element.lattice:
        _finite(values, bool(np.isfinite(values).all()))
        return QuantisedTensor(fmt, *lattice(fmt.element.lattice).quantise(blocks, fmt), values.shape)
    cells, scales = _grid_and_scales(blocks, fmt, values)
    kind = cells.encode(np.zeros(1, np.float32)).dtype
    codes = np.empty(blocks.shape, kind)
    for part in _parts(blocks.shape):
        units = _units(blocks[part], fmt, scales, part)
        codes[part] = cells.encode(cells.nearest(units, ties, rng))
    if scales is None:
        return QuantisedTensor(fmt, codes, None, None, values.shape)
    return QuantisedTensor(fmt, codes, scales.scale, scales.offset, values.shape)


def _ties(fmt: Format, rounding: str, rng: np.random.Generator | None) -> str:
    if rounding == "nearest":
        return fmt.ties
    if rounding not in ROUNDINGS:
        raise UnknownIdError("rounding", rounding, ("nearest", *ROUNDINGS))
    if rounding == "stochastic" and rng is None:
        raise InputError("stochastic rounding needs a random generator")
    return rounding


def _grid_and_scales(blocks: Floats, fmt: Format, values: Floats) -> tuple[ElementGrid, BlockScales | None]:
    if not fmt.levels:
        _finite(values, bool(np.isfinite(blocks.sum(dtype=np.float64)) and np.isfinite(blocks).all()))
        return grid(fmt.element), None
    level = fmt.levels[0]
    cells = grid(fmt.element, level.fit, bool(level.zero_bits))
    statistic = _statistic(blocks, level)
    _finite(values, bool(np.isfinite(statistic.size).all() and np.isfinite(statistic.low).all()))
    per_row = max(len(blocks) * values.shape[-1] // max(values.size, 1), 1)
    return cells, scales_of(fmt, cells, statistic, per_row)


def _finite(values: Floats, fine: bool) -> None:
    if not fine:
        where = np.unravel_index(int(np.argmin(np.isfinite(values))), values.shape)
        at = ", ".join(str(int(i)) for i in where)
        raise InputError(f"element [{at}] is {values[where]}; a format holds finite numbers of single precision")


def _statistic(blocks: Floats, level: ScaleLevel) -> BlockStatistic:
    size, low, high = (np.empty(len(blocks), np.float32) for _ in range(3))
    for rows in (rows for rows, columns in _parts(blocks.shape) if not columns.start):
        block = blocks[rows]
        size[rows] = _SIZES[level.fit](block)
        low[rows], high[rows] = (block.min(axis=1), block.max(axis=1)) if level.zero_bits else (0, size[rows])
    return BlockStatistic(size, low, high)


_SIZES: Mapping[str, Callable[[Floats], Floats]] = {
    "absmax": lambda block: np.abs(block).max(axis=1),
    "absmean": lambda block: np.abs(block).mean(axis=1, dtype=np.float64),
    "signed": lambda block: np.take_along_axis(block, np.abs(block).argmax(axis=1)[:, None], axis=1)[:, 0],
}


def _units(block: Floats, fmt: Format, scales: BlockScales | None, part: tuple[slice, slice]) -> Floats:
    """Elements in units of their scale."""
    if scales is None:
        return block
    coding = scales.coding[part[0], None]
    if scales.base is not None:
        block = block - scales.base[part[0], None]
    if fmt.coded_with == "exact":
        some = np.abs(coding) >= np.finfo(np.float32).tiny
        inverse = np.divide(np.float32(1), coding, out=np.zeros_like(coding), where=some)
        return np.asarray(block * inverse, np.float32)
    return np.asarray(block / np.where(coding != 0, coding, np.float32(np.inf)), np.float32)


def dequantise(stored: QuantisedTensor) -> Floats:
    """The numbers that a quantised tensor stands for, in its shape."""
    fmt = stored.fmt
    level = fmt.levels[0] if fmt.levels else None
    decoder = _decoder(fmt)
    blocks, size = stored.codes.shape
    out = np.empty((blocks, size * decoder.width), np.float32)
    for part in _parts(out.shape):
        values = decoder.decode(stored.codes[part])
        if stored.scale is not None:
            values *= stored.scale[part[0], None]
        if stored.offset is not None:
            values += stored.offset[part[0], None]
        out[part] = values
    tensor = _whole(out, level, stored.shape)
    return rotate(tensor, rotation_size(stored.shape[-1], fmt)) if fmt.rotation == "hadamard" else tensor


def _decoder(fmt: Format) -> ElementGrid | LatticeCodebook:
    if fmt.element.lattice:
        return lattice(fmt.element.lattice)
    level = fmt.levels[0] if fmt.levels else None
    return grid(fmt.element, level.fit, bool(level.zero_bits)) if level else grid(fmt.element)


def round_trip(
    x: npt.ArrayLike, fmt: Format, rounding: str = "nearest", rng: np.random.Generator | None = None
) -> Floats:
    """What is left of a tensor after a format: quantised and dequantised.

    >>> round_trip([[0.1, -0.8, 5.0, 6.0] * 8], format_("mxfp4"))[0, :4].tolist()
    [0.0, -1.0, 4.0, 6.0]
    """
    return dequantise(quantise(x, fmt, rounding, rng))


def sparse(x: Floats, keep: int, of: int) -> Floats:
    """N:M sparsity: the `keep` largest of every `of` elements of a row stay, the others become 0."""
    size = np.abs(x.reshape(-1, of))
    rank = np.zeros(size.shape, np.uint8)
    for other in range(of):
        rank += size[:, other : other + 1] > size
        rank[:, other + 1 :] += size[:, other : other + 1] == size[:, other + 1 :]
    return np.where(rank < keep, x.reshape(-1, of), np.float32(0)).reshape(x.shape)


def _parts(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Slices of at most `CHUNK` elements; a longer block is handled whole in its blocks' axis."""
    blocks, size = shape
    rows = max(1, CHUNK // max(size, 1))
    wide = size if rows > 1 or size <= 4 * CHUNK else CHUNK
    for start in range(0, blocks, rows):
        for column in range(0, size, max(wide, 1)):
            yield slice(start, start + rows), slice(column, column + wide)


def _blocks(x: Floats, level: ScaleLevel | None) -> Floats:
    """The elements by block, shape (blocks, size)."""
    if level and level.across == "tile":
        side = int(level.block**0.5)
        tiles = x.reshape(-1, x.shape[-2] // side, side, x.shape[-1] // side, side)
        return tiles.transpose(0, 1, 3, 2, 4).reshape(-1, level.block)
    if level and level.across == "tensor" and not level.block:
        return x.reshape(1, -1)
    return x.reshape(-1, level.block if level and level.block else x.shape[-1])


def _whole(blocks: Floats, level: ScaleLevel | None, shape: tuple[int, ...]) -> Floats:
    if level and level.across == "tile":
        side = int(level.block**0.5)
        tiles = blocks.reshape(-1, shape[-2] // side, shape[-1] // side, side, side)
        return tiles.transpose(0, 1, 3, 2, 4).reshape(shape)
    return blocks.reshape(shape)


def check(shape: tuple[int, ...], fmt: Format) -> None:
    """Refuse a shape that a format cannot hold.

    Raises:
        InputError: says what divides, and which format of the catalogue is nearest.
        UnsupportedError: the format keeps no elements that could be read back.
    """
    if fmt.element.kind == "codebook" and not (fmt.element.values or fmt.element.lattice):
        raise UnsupportedError(f"{fmt.id} keeps no elements but a sketch of them: see comptroller_lab.sketch")
    if not shape or 0 in shape:
        raise InputError(f"{fmt.id}: an empty tensor, shape {shape}")
    if misfit := _misfit(shape, fmt):
        near = _nearest(shape, fmt)
        raise InputError(f"{fmt.id}: {misfit}" + (f"; nearest format that fits: {near}" if near else ""))


def _misfit(shape: tuple[int, ...], fmt: Format) -> str:
    row = shape[-1]
    sizes = [("blocks of", x.block) for x in fmt.levels if x.block and x.across == "row"]
    sizes += [("groups of", fmt.of)] if fmt.of > 1 else []
    for words, size in sizes:
        if row % size:
            low, high = row // size * size, -(-row // size) * size
            near = f"{low} or {high}" if low else str(high)
            return f"{words} {size} do not divide rows of {row}; nearest lengths: {near}"
    side = int(fmt.levels[0].block ** 0.5) if fmt.levels and fmt.levels[0].across == "tile" else 0
    if side and (len(shape) < 2 or row % side or shape[-2] % side):
        nearest = " x ".join(str(-(-n // side) * side) for n in shape[-2:])
        return f"tiles of {side} x {side} do not divide {' x '.join(map(str, shape))}; nearest: {nearest}"
    return ""


def _nearest(shape: tuple[int, ...], fmt: Format) -> str:
    """The format of the same kind of element and width whose blocks fit and whose bits are nearest."""
    same = (
        other
        for other in map(format_, ids("formats"))
        if (other.element.kind, other.element.bits) == (fmt.element.kind, fmt.element.bits)
        and other.element.mantissa_bits == fmt.element.mantissa_bits
        and (other.element.kind != "codebook" or other.element.values or other.element.lattice)
        and not _misfit(shape, other)
    )
    best = min(
        same, key=lambda o: (abs(o.bits_per_element - fmt.bits_per_element), -o.bits_per_element, o.id), default=None
    )
    return best.id if best else ""

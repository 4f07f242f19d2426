"""What is arranged before quantising: channels of like size in one block, values of a codebook where mass is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.facts.format import ElementEncoding, Format, ScaleLevel, format_
from comptroller.numerics.grid import Floats


def block_floating_point(mantissa_bits: int, block: int) -> Format:
    """Integers of `mantissa_bits` (sign included) under one shared 8-bit exponent per block.

    >>> block_floating_point(4, 64).bits_per_element
    4.125
    """
    level = ScaleLevel(block, "e8m0", 8, power="ceil")
    name = f"BFP, {mantissa_bits}-bit mantissa, block {block}"
    base = format_("mxint8")
    return replace(
        base,
        id=f"bfp{mantissa_bits}_b{block}",
        name=name,
        element=ElementEncoding("int", mantissa_bits),
        levels=(level,),
    )


def channel_order(sizes: npt.ArrayLike, pairs: bool = False) -> npt.NDArray[np.int64]:
    """Channels from large to small, so that a block holds like magnitudes (K-sort, arXiv 2403.20137).

    sizes: (..., channels), the norm of the rows of W_k, per head in front.  pairs: neighbours that a rotary embedding
    turns together stay together. Queries permuted alike leave every inner product as it was.

    >>> channel_order([1.0, 4.0, 2.0, 3.0]).tolist(), channel_order([1.0, 4.0, 2.0, 3.0], pairs=True).tolist()
    ([1, 3, 2, 0], [0, 1, 2, 3])
    """
    values = np.asarray(sizes, np.float64)
    if not pairs:
        return np.argsort(-values, axis=-1, kind="stable")
    if values.shape[-1] % 2:
        raise InputError(f"{values.shape[-1]} channels are not pairs")
    both = np.sqrt(np.square(values.reshape(*values.shape[:-1], -1, 2)).sum(axis=-1))
    order = np.argsort(-both, axis=-1, kind="stable")
    return np.stack([2 * order, 2 * order + 1], axis=-1).reshape(values.shape)


def codebook(x: Floats, fmt: Format, rounds: int = 30) -> Format:
    """A format's element replaced by the codebook that loses least on a tensor (k-means in one dimension, Lloyd).

    x: numbers in units of their scale are clustered, so blocks of the format must divide its rows.
    """
    level = fmt.levels[0]
    blocks = x.reshape(-1, level.block or x.shape[-1]).astype(np.float64)
    top = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), 1e-30)
    units = np.sort((blocks / top).reshape(-1))
    weight = np.concatenate([[0.0], np.cumsum(units)])
    values = np.quantile(units, (np.arange(2**fmt.element.bits) + 0.5) / 2**fmt.element.bits)
    for _ in range(rounds):
        cut = np.searchsorted(units, np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]]))
        count = np.diff(cut)
        values = np.where(count > 0, np.diff(weight[cut]) / np.maximum(count, 1), values)
    edge = np.max(np.abs(values))
    element = ElementEncoding("codebook", fmt.element.bits, values=tuple(float(v / edge) for v in np.unique(values)))
    return replace(fmt, id=f"{fmt.id}_kmeans", element=element)

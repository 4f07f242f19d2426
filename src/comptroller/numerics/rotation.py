"""Hadamard rotation: spreads an outlier over its block, so that a block looks Gaussian whatever it held."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from scipy.linalg import hadamard

from comptroller.errors import InputError
from comptroller.facts.format import Format
from comptroller.numerics.grid import Floats

LARGEST = 128
"""Largest rotation: it turns n^2 products for n elements, so twice as large costs twice as much per element; longer
blocks are turned in parts."""


def rotate(x: Floats, size: int) -> Floats:
    """Every `size` elements of the last axis times the orthonormal Hadamard matrix; its own inverse.

    Raises:
        InputError: size is no power of two, or does not divide the last axis.

    >>> rotate(np.array([4.0, 0, 0, 0], np.float32), 4).tolist()
    [2.0, 2.0, 2.0, 2.0]
    """
    if size < 1 or size & (size - 1) or x.shape[-1] % size:
        best = rotation_size(x.shape[-1])
        raise InputError(f"a Hadamard rotation of {size} does not fit rows of {x.shape[-1]}; {best} does")
    return np.asarray((x.reshape(-1, size) @ _matrix(size)).reshape(x.shape), np.float32)


@lru_cache(maxsize=16)
def _matrix(size: int) -> Floats:
    return np.asarray(hadamard(size) / np.sqrt(size), np.float32)


def rotation_size(length: int, fmt: Format | None = None) -> int:
    """The block that a format's rotation turns: its own block, or the largest power of two in rows of `length`.

    >>> rotation_size(576)
    64
    """
    block = fmt.levels[0].block if fmt and fmt.levels else 0
    if 1 < block <= LARGEST and block & (block - 1) == 0:
        return block
    return min(length & -length, LARGEST)

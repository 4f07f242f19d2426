"""QJL: keys of the cache as signs of random projections and a norm (arXiv 2406.03482)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.numerics.grid import Floats

Bits = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class QjlSketch:
    """A projection, (bits, dimension); its rows are orthogonal within every `dimension` of them.

    outliers: channels kept apart as they are.
    """

    projection: Floats
    outliers: tuple[int, ...] = ()

    @property
    def bits(self) -> int:
        """Sign bits of a key."""
        return len(self.projection)

    @property
    def bits_per_element(self) -> float:
        """Stored bits per element of a key: signs, one norm of 16 bits, outliers of 16 bits."""
        kept = 16 + 16 * len(self.outliers)
        return float((self.bits + kept) / (self.projection.shape[1] + len(self.outliers)))

    def encode(self, keys: Floats) -> tuple[Bits, Floats, Floats]:
        """Packed signs (n, bits / 8), norms (n,) in half precision, outlier channels (n, count) of keys (n, d)."""
        rest = np.delete(keys, self.outliers, axis=1)
        signs = np.packbits(rest @ self.projection.T > 0, axis=1)
        norms = np.linalg.norm(rest, axis=1).astype(np.float16).astype(np.float32)
        return signs, norms, keys[:, list(self.outliers)].astype(np.float16).astype(np.float32)

    def scores(self, queries: Floats, stored: tuple[Bits, Floats, Floats]) -> Floats:
        """Estimates of <q, k>, (queries, keys): sqrt(pi / 2) / m * |k| <S q, sign(S k)>, unbiased over S."""
        signs, norms, kept = stored
        plus = np.unpackbits(signs, axis=1, count=self.bits).astype(np.float32) * 2 - 1
        rest = np.delete(queries, self.outliers, axis=1)
        estimate = (rest @ self.projection.T) @ plus.T * (math.sqrt(math.pi / 2) / self.bits) * norms
        return np.asarray(estimate + queries[:, list(self.outliers)] @ kept.T, np.float32)


def sketch(dimension: int, bits: int, rng: np.random.Generator, outliers: tuple[int, ...] = ()) -> QjlSketch:
    """A random sketch of keys of some dimension.

    Rows are Gaussian, made orthogonal in groups of as many as there are channels and scaled to the mean length of a
    Gaussian row squared, as the authors' code does.

    Raises:
        InputError: no bits, or an outlier channel that is not there.

    >>> sketch(128, 256, np.random.default_rng(0)).bits_per_element
    2.125
    """
    if bits < 1 or any(not 0 <= channel < dimension for channel in outliers):
        raise InputError(f"a sketch of keys of {dimension} channels needs bits above 0, outliers below {dimension}")
    size = dimension - len(outliers)
    groups = [np.linalg.qr(rng.standard_normal((size, size)))[0] * math.sqrt(size) for _ in range(-(-bits // size))]
    return QjlSketch(np.concatenate(groups)[:bits].astype(np.float32), outliers)

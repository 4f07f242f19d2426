"""Products of few-bit numbers without a multiplier: L-Mul's additions, exact products, bit planes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

Array = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]


def _parts(x: npt.ArrayLike, mantissa_bits: int) -> tuple[Array, Array, Array]:
    """Sign, mantissa in [0, 1) rounded to some bits, exponent: x = sign (1 + mantissa) 2^exponent."""
    values = np.asarray(x, np.float64)
    part, exponent = np.frexp(np.abs(values))
    steps = 2.0**mantissa_bits
    rounded = np.rint((2 * part - 1) * steps) / steps
    carried = rounded >= 1
    return np.sign(values), np.where(carried, 0.0, rounded), exponent - 1 + carried


def offset_bits(mantissa_bits: int) -> int:
    """l(m) of L-Mul: m up to 3 bits, 3 at 4 bits, 4 from 5 bits on (arXiv 2410.00907, equation 1).

    >>> [offset_bits(m) for m in (2, 3, 4, 5, 23)]
    [2, 3, 3, 4, 4]
    """
    return mantissa_bits if mantissa_bits <= 3 else 3 if mantissa_bits == 4 else 4


def l_mul(x: npt.ArrayLike, y: npt.ArrayLike, mantissa_bits: int, carry: bool = False) -> Array:
    """Products by L-Mul: (1 + x_m + y_m + 2^-l(m)) 2^(x_e + y_e); numbers first rounded to m mantissa bits.

    carry: as one addition of the bit patterns does it, where a mantissa sum of 1 or more moves into the exponent and
    so counts double; without, the equation as it is printed.

    >>> l_mul(1.5, 1.5, 3).item(), l_mul(1.5, 1.5, 3, carry=True).item()
    (2.125, 2.25)
    """
    (sx, mx, ex), (sy, my, ey) = _parts(x, mantissa_bits), _parts(y, mantissa_bits)
    total = mx + my + 2.0 ** -offset_bits(mantissa_bits)
    size = np.where(total >= 1, 2 * total, 1 + total) if carry else 1 + total
    return np.asarray(np.where(sx * sy == 0, 0.0, sx * sy * np.ldexp(size, (ex + ey).astype(np.int64))))


def exact_mul(x: npt.ArrayLike, y: npt.ArrayLike, mantissa_bits: int) -> Array:
    """Exact products of numbers rounded to m mantissa bits: what a multiplier of that width gives.

    >>> exact_mul(1.3, 1.0, 1).item()
    1.5
    """
    (sx, mx, ex), (sy, my, ey) = _parts(x, mantissa_bits), _parts(y, mantissa_bits)
    return np.asarray(sx * sy * np.ldexp((1 + mx) * (1 + my), (ex + ey).astype(np.int64)))


def planes(codes: npt.ArrayLike, bits: int, bipolar: bool = False) -> tuple[npt.NDArray[np.uint8], Whole]:
    """Bit planes of whole numbers, shape (bits, ...), and the weight of each plane.

    Two's complement: x = sum w_i b_i with w = 1, 2, ..., -2^(bits - 1). Bipolar (odd numbers only, arXiv
    2409.17870): x = sum 2^i (2 b_i - 1).

    Raises:
        InputError: numbers that the width cannot hold; says which it can.

    >>> planes([-3], 3)[0].ravel().tolist(), planes([-3], 3)[1].tolist()
    ([1, 0, 1], [1, 2, -4])
    """
    values = np.asarray(codes, np.int64)
    weights = 2 ** np.arange(bits)
    low, high = (1 - 2**bits, 2**bits - 1) if bipolar else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
    if values.size and (values.min() < low or values.max() > high or (bipolar and (values % 2 == 0).any())):
        raise InputError(f"{bits} bits hold {'odd ' if bipolar else ''}whole numbers from {low} to {high}")
    whole = (values + high) // 2 if bipolar else values & (2**bits - 1)
    found = (whole[None] >> np.arange(bits).reshape(-1, *[1] * values.ndim)) & 1
    if not bipolar:
        weights[-1] = -weights[-1]
    return found.astype(np.uint8), weights


def plane_product(a: npt.ArrayLike, b: npt.ArrayLike, widths: tuple[int, int], bipolar: bool = False) -> Whole:
    """A B^T of whole numbers by binary products only: sum over planes of w_i w_j popcount(a_i and b_j).

    a: (m, k), b: (n, k).  widths: bits of a and of b.  Bipolar planes are -1 and 1, so that and becomes xnor:
    a_i . b_j = k - 2 popcount(a_i xor b_j). Exact at every width.

    >>> plane_product([[3, -2]], [[-1, 1]], (3, 2 )).tolist()
    [[-5]]
    """
    (ones, wa), (others, wb) = planes(a, widths[0], bipolar), planes(b, widths[1], bipolar)
    packed_a, packed_b = np.packbits(ones, axis=-1), np.packbits(others, axis=-1)
    length, total = ones.shape[-1], 0
    for one, weight_a in zip(packed_a, wa, strict=True):
        for other, weight_b in zip(packed_b, wb, strict=True):
            pair = one[:, None] ^ other[None] if bipolar else one[:, None] & other[None]
            count = np.bitwise_count(pair).sum(axis=-1, dtype=np.int64)
            total = total + weight_a * weight_b * (length - 2 * count if bipolar else count)
    return np.asarray(total, np.int64)

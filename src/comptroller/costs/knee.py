"""The knee of a roofline: two times, or two ways of a message, as one smooth curve."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

NORM = 4.0
"""Exponent of the smooth maximum of the compute and the memory time of a kernel (a roofline's knee)."""


def collective_s(moved: Array, ring: Array, direct: Array, setup_s: Array) -> Array:
    """Seconds on the wire of a message by the faster of a ring and a direct exchange.

    t = (r^-4 + d^-4)^(-1/4), r = t_setup + B / b_ring, d = B / b_direct (smooth minimum; the kernel tables' form)

    moved: bytes one device sends in a ring; direct: bytes/s at which a direct exchange disposes of them, 0: none.

    >>> round(float(collective_s(*map(np.array, (1e6, 1e9, 1e9, 0.0)))) * 1e3, 4)
    0.8409
    """
    inverse_ring = 1.0 / (setup_s + np.maximum(moved, 1e-9) / ring)
    inverse_direct = direct / np.maximum(moved, 1e-9)
    return np.asarray(1.0 / _norm(inverse_ring, inverse_direct))


def _norm(a: Array, b: Array) -> Array:
    square_a, square_b = a * a, b * b
    return np.asarray(np.sqrt(np.sqrt(square_a * square_a + square_b * square_b)))


def smooth_max(a: Array, b: Array) -> Array:
    """(a^p + b^p)^(1/p) with p = 4, for a, b >= 0.

    >>> round(float(smooth_max(np.array(1.0), np.array(1.0))), 4)
    1.1892
    """
    return _norm(a, b)

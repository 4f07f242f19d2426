"""Berrut's rational interpolant as a code: K inputs mixed into N, K of N outputs unmixed approximately.

Of a function whose output is a vector: workers apply it to mixtures of inputs, and outputs are interpolated from those
that have come, exactly for constants and the better the smoother the function is along the mixtures. Source: Soleymani
et al., ApproxIFER, arXiv 2109.09868, equations 4 to 8; Berrut, Computers and Mathematics with Applications 15 (1988).
"""

from __future__ import annotations

from itertools import combinations, islice
from math import comb

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
SUBSETS = 2000
"""Subsets of copies that are looked at: all of up to 13 with 6 missing. Twice as many change the mean by less
than a per cent."""


def berrut_weights(at: Floats, nodes: Floats, numbers: npt.NDArray[np.int64] | None = None) -> Floats:
    """Weights of values at nodes for a value at each point.

    w_i(z) = ((-1)^i / (z - x_i)) / sum over j of ((-1)^j / (z - x_j))

    at: (points,).  nodes: (nodes,), none of which is a point.  numbers: i of each node, in their order.  Returns
    (points, nodes), rows of sum 1.

    >>> berrut_weights(np.array([0.0]), np.array([-1.0, 1.0])).tolist()
    [[0.5, 0.5]]
    """
    signs = (-1.0) ** (np.arange(len(nodes)) if numbers is None else numbers)
    terms = signs / (at[:, None] - nodes[None, :])
    return np.asarray(terms / terms.sum(axis=1, keepdims=True))


def code_points(group: int, copies: int) -> tuple[Floats, Floats]:
    """Points of inputs, Chebyshev's of the first kind, and of copies, of the second; no copy lies on an input.

    >>> [points.round(3).tolist() for points in code_points(2, 3)]
    [[0.707, -0.707], [1.0, 0.0, -1.0]]
    """
    inputs = np.cos((2 * np.arange(group) + 1) * np.pi / (2 * group))
    places = np.cos(np.arange(copies) * np.pi / (copies - 1))
    near = np.abs(places[:, None] - inputs[None, :]).min(axis=1) < 1e-9
    return inputs, np.where(near, places * (1 - 1e-3) + 1e-4, places)


def mixtures(group: int, copies: int) -> Floats:
    """What each copy is of the inputs, shape (copies, group)."""
    inputs, places = code_points(group, copies)
    return berrut_weights(places, inputs)


def unmixing(group: int, copies: int, came: npt.NDArray[np.int64]) -> Floats:
    """What each output is of the copies that came, shape (group, copies that came)."""
    inputs, places = code_points(group, copies)
    return berrut_weights(inputs, places[came], came)


def amplification(group: int, copies: int) -> float:
    """How much an error of the copies can grow in the output: the largest sum of absolute weights of an output, in the
    mean over which of the copies came.

    >>> round(amplification(2, 3), 2), round(amplification(4, 5), 2)
    (2.08, 4.98)
    """
    count = min(comb(copies, group), SUBSETS)
    subsets = islice(combinations(range(copies), group), count)
    return float(np.mean([np.abs(unmixing(group, copies, np.array(came))).sum(axis=1).max() for came in subsets]))

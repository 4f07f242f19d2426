"""Random draws that depend on nothing but their arguments, the same compiled and plain."""

from __future__ import annotations

from typing import Any

import numpy as np

from comptroller.serving.jit import jit, stand_in

_MASK = (1 << 64) - 1
_STEP, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""The constants of splitmix64 (Steele, Lea, Flood, 2014)."""
_U = np.uint64


def draw(first: int, second: int, third: int) -> int:
    """A 32-bit draw from three numbers: the splitmix64 finaliser after each of them.

    >>> draw(1, 2, 3), draw(1, 2, 4)
    (1793398209, 3272839505)
    """
    state = 0
    for number in (first, second, third):
        state = (state + (int(number) & _MASK) + _STEP) & _MASK
        state = ((state ^ (state >> 30)) * _FIRST) & _MASK
        state = ((state ^ (state >> 27)) * _SECOND) & _MASK
        state ^= state >> 31
    return state >> 32


def _wrapping(first: int, second: int, third: int) -> Any:
    """The same in wrapping 64-bit arithmetic."""
    state = _U(0)
    for number in (first, second, third):
        state = state + _U(number) + _U(_STEP)
        state = (state ^ (state >> _U(30))) * _U(_FIRST)
        state = (state ^ (state >> _U(27))) * _U(_SECOND)
        state = state ^ (state >> _U(31))
    return np.int64(state >> _U(32))


stand_in(draw, _wrapping)


@jit
def accepted_drafts(drawn: int, chance: float, most: int) -> int:
    """How many of `most` draft tokens are kept before the first that is not, each with the same chance.

    drawn: 32 random bits. P(at least k) = chance^k (Leviathan, Kalman, Matias, 2023).
    """
    kept, bar = 0, chance * 4294967296.0
    while kept < most and drawn < bar:
        kept += 1
        bar *= chance
    return kept

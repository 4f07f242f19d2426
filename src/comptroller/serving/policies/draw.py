"""Random draws that depend on nothing but their arguments, the same compiled and plain.

Plain functions: a router that runs without numba draws by them, the engine's kernel compiles its own form of them.
"""

from __future__ import annotations

from functools import lru_cache

MASK = (1 << 64) - 1
STEP, FIRST, SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
"""Increment and multipliers of splitmix64 (Steele, Lea, Flood, OOPSLA 2014); others would draw other numbers."""


def draw(first: int, second: int, third: int) -> int:
    """A 32-bit draw from three numbers: the splitmix64 finaliser after each of them.

    >>> draw(1, 2, 3), draw(1, 2, 4)
    (1793398209, 3272839505)
    """
    return _next_state(_state(int(first), int(second)), int(third)) >> 32


def _next_state(state: int, number: int) -> int:
    state = (state + (number & MASK) + STEP) & MASK
    state = ((state ^ (state >> 30)) * FIRST) & MASK
    state = ((state ^ (state >> 27)) * SECOND) & MASK
    return state ^ (state >> 31)


@lru_cache(maxsize=16)  # a policy draws for one call after another, each time with another rank
def _state(first: int, second: int) -> int:
    return _next_state(_next_state(0, first), second)


def accepted_drafts(drawn: int, chance: float, most: int) -> int:
    """How many of `most` draft tokens are kept before the first that is not, each with the same chance.

    drawn: 32 random bits. P(at least k) = chance^k (Leviathan, Kalman, Matias, 2023).
    """
    kept, bar = 0, chance * 4294967296.0
    while kept < most and drawn < bar:
        kept += 1
        bar *= chance
    return kept

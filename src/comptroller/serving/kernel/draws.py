"""The draws of `policies.draw` as compiled code has them: the same numbers from wrapping 64-bit arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np

from comptroller.serving.jit import jit
from comptroller.serving.policies import draw as plain

_U = np.uint64

accepted_drafts = jit(plain.accepted_drafts)


def wrapping_draw(first: int, second: int, third: int) -> Any:
    """`draw`, compiled: Python's whole numbers are masked to 64 bits, these wrap by themselves."""
    state = _U(0)
    for number in (first, second, third):
        state = state + _U(number) + _U(plain.STEP)
        state = (state ^ (state >> _U(30))) * _U(plain.FIRST)
        state = (state ^ (state >> _U(27))) * _U(plain.SECOND)
        state = state ^ (state >> _U(31))
    return np.int64(state >> _U(32))

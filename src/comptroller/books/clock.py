"""The time in the books: the machine's clock, but for a jump, which is believed once it has lasted."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Microseconds since 1970, UTC."""

STEP_US = 60_000_000
"""By how much a clock may be set at once and be followed: a minute, more than time services step it while they settle.
At twice it a jump of two minutes moves calls into another period."""
BELIEF_US = 300_000_000
"""How long a larger jump must last until it is believed: a correction by hand lasts, a fault is corrected by the time
service within minutes. At twice it, ten minutes of calls are booked at the time before a jump that was right."""


def _wall_us() -> int:
    return time.time_ns() // 1000


def _steady_us() -> int:
    """A clock that nobody sets, and that runs while the machine sleeps."""
    return time.clock_gettime_ns(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)) // 1000


class SteadyClock:
    """A clock that does not jump with the machine's: what it shows goes on until a jump has lasted `BELIEF_US`.

    wall, steady: microseconds, of the clock that may be set and of one that may not.

    >>> wall, steady = [10**15], [0]
    >>> clock = SteadyClock(lambda: wall[0], lambda: steady[0])
    >>> wall[0] += 3600 * 10**6; steady[0] += 5; (clock() - 10**15, clock() - 10**15)
    (5, 5)
    >>> wall[0] += BELIEF_US; steady[0] += BELIEF_US; clock() == wall[0]
    True
    """

    def __init__(self, wall: Clock = _wall_us, steady: Clock = _steady_us) -> None:
        self._wall, self._steady = wall, steady
        self._lock = threading.Lock()
        self._offset = wall() - steady()
        self._jumped: tuple[int, int] | None = None
        """The offset that a jump led to, and when it was seen first."""

    def __call__(self) -> int:
        """Microseconds since 1970, UTC."""
        with self._lock:
            now = self._steady()
            offset = self._wall() - now
            if abs(offset - self._offset) <= STEP_US:
                self._offset, self._jumped = offset, None
            elif self._jumped is None or abs(offset - self._jumped[0]) > STEP_US:
                self._jumped = offset, now
            elif now - self._jumped[1] >= BELIEF_US:
                self._offset, self._jumped = offset, None
            return now + self._offset


now_us: Clock = SteadyClock()
"""The time in this process."""

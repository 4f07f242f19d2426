"""When a second request of a call may go out: the one rule of the gateway and of the simulator.

After Dean and Barroso, The Tail at Scale (CACM 56(2), 2013): the second request is sent once the first has been
outstanding for longer than a quantile of what calls took.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from math import ceil, inf, isfinite

RECORDED = 1000
"""Calls whose times are remembered, of each kind: the quantile of 0.95 rests on 50 of them. At twice it a service that
got slower is hedged too often for twice as many calls, within its share."""
LEAST = 50
"""Calls before anything is hedged: the slowest of fewer say little. At twice it nothing is hedged for twice as long."""


@dataclass(slots=True)
class HedgeCounts:
    """hedged: second requests that were sent.  won: of those, the ones that answered first."""

    hedged: int = 0
    won: int = 0


class HedgeTimer:
    """When a second request may go out: after the (1 - share) quantile of recorded times, for a share of the calls.

    share: of calls that may get a second one; 0 for none. fixed_s: wait so long in place of the quantile. Times of
    streams are those to the first event, of other calls those of the whole reply; both are apart.

    >>> timer = HedgeTimer(0.05)
    >>> for number in range(100): timer.record(False, float(number + 1))
    >>> timer.delay_s(False), timer.delay_s(True)
    (95.0, None)
    """

    def __init__(self, share: float, fixed_s: float | None = None) -> None:
        self.share, self.fixed_s = share, fixed_s
        self.counts = HedgeCounts()
        self._times: dict[bool, deque[float]] = {kind: deque(maxlen=RECORDED) for kind in (False, True)}
        self._delays_s: dict[bool, tuple[int, float]] = {}
        self._recorded = {False: 0, True: 0}
        self._credit = 0.0

    def record(self, streamed: bool, seconds: float) -> None:
        """Takes note of how long a call took, or had taken when it was called off."""
        if self.share > 0 and isfinite(seconds):
            self._times[streamed].append(seconds)
            self._recorded[streamed] += 1

    def delay_s(self, streamed: bool) -> float | None:
        """How long to wait for the first request; None where too little is recorded, or nothing is hedged."""
        if self.fixed_s is not None:
            return self.fixed_s if self.share > 0 else None
        times = self._times[streamed]
        if self.share <= 0 or len(times) < LEAST:
            return None
        counted, delay_s = self._delays_s.get(streamed, (-LEAST, 0.0))
        if self._recorded[streamed] - counted >= LEAST:  # sorted anew every fifty calls, not at each
            delay_s = sorted(times)[ceil((1.0 - self.share) * len(times)) - 1]
            self._delays_s[streamed] = self._recorded[streamed], delay_s
        return delay_s

    def began(self) -> None:
        """A call was sent, which earns its share of a second one; no more than one is saved up, unless all may have
        one."""
        self._credit = min(inf if self.share >= 1 else 1.0, self._credit + self.share)

    def take(self) -> bool:
        """Whether a second request may go out now; it is counted."""
        if self._credit < 1.0 - 1e-9:
            return False
        self._credit -= 1.0
        self.counts.hedged += 1
        return True

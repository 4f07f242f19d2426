"""Hedged requests: a second one goes to another upstream where the first has taken longer than nearly all before it.

After Dean and Barroso, The Tail at Scale (CACM 56(2), 2013): the second request is sent once the first has been
outstanding for longer than a quantile of what calls took; whoever answers first is heard, the other is called off.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass
from math import ceil, isfinite
from typing import Any, TypeVar

T = TypeVar("T")

RECORDED = 1000
"""Calls whose times are remembered, of each kind: the quantile of 0.95 rests on 50 of them. At twice it a service that
got slower is hedged too often for twice as many calls, within its share."""
LEAST = 50
"""Calls before anything is hedged: the slowest of fewer say little. At twice it nothing is hedged for twice as long."""
CALLED_OFF = "called off: another upstream answered first"
"""Note in the books of the call that lost."""
SAME_S = 0.001
"""First event and end of a call that lie no further apart are those of a reply that was not streamed: both are written
when it has come. At twice it streams of one event of up to 2 ms would count so, too."""


@dataclass(slots=True)
class HedgeCounts:
    """hedged: second requests that were sent.  won: of those, the ones that answered first."""

    hedged: int = 0
    won: int = 0


class HedgeTimer:
    """When a second request may go out: after the (1 - share) quantile of recorded times, for a share of the calls.

    share: of calls that may get a second one; 0 for none. Times of streams are those to the first event, of other
    calls those of the whole reply; both are apart.

    >>> timer = HedgeTimer(0.05)
    >>> for number in range(100): timer.record(False, float(number + 1))
    >>> timer.delay_s(False), timer.delay_s(True)
    (95.0, None)
    """

    def __init__(self, share: float) -> None:
        self.share = share
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
        times = self._times[streamed]
        if self.share <= 0 or len(times) < LEAST:
            return None
        counted, delay_s = self._delays_s.get(streamed, (-LEAST, 0.0))
        if self._recorded[streamed] - counted >= LEAST:  # sorted anew every fifty calls, not at each
            delay_s = sorted(times)[ceil((1.0 - self.share) * len(times)) - 1]
            self._delays_s[streamed] = self._recorded[streamed], delay_s
        return delay_s

    def began(self) -> None:
        """A call was sent, which earns its share of a second one; no more than one is saved up."""
        self._credit = min(1.0, self._credit + self.share)

    def take(self) -> bool:
        """Whether a second request may go out now; it is counted."""
        if self._credit < 1.0 - 1e-9:
            return False
        self._credit -= 1.0
        self.counts.hedged += 1
        return True


def record_calls(timers: Mapping[str, HedgeTimer], calls: Iterable[dict[str, Any]]) -> None:
    """Takes note of what calls in the books took, as of `books.latency.last_calls`, the last first."""
    for call in reversed(list(calls)):
        timer = timers.get(call["service"])
        first_s, last_s, started_s = call["first_s"], call["last_s"], call["started_s"]
        if timer is None or call["finish"] not in ("stop", "length") or None in (first_s, last_s, started_s):
            continue
        timer.record(last_s - first_s > SAME_S, first_s - started_s)


async def first_of(
    first: Coroutine[Any, Any, T],
    delay_s: float,
    second: Callable[[], Coroutine[Any, Any, T] | None],
    drop: Callable[[T], Awaitable[None]],
) -> tuple[T, bool]:
    """What answers first, and whether it was the second, which is begun when the first has taken so long.

    One that fails is no answer while the other runs; the loser is called off, and its end is waited for. second: makes
    the other, or None where there is none.  drop: lets go of an answer that came too late.

    Raises:
        Exception: that of the first, where neither answered.
    """
    tasks = [asyncio.create_task(first)]
    winner: asyncio.Task[T] | None = None
    try:
        await asyncio.wait(tasks, timeout=delay_s)
        if not tasks[0].done() and (other := second()) is not None:
            tasks.append(asyncio.create_task(other))
        left = set(tasks)
        while left and winner is None:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            winner = next((task for task in tasks if task in done and _succeeds(task)), None)
    finally:
        for task in tasks:
            if task is not winner:
                await _call_off(task, CALLED_OFF if winner is not None else "", drop)
    return (winner or tasks[0]).result(), winner is not None and winner is not tasks[0]


def _succeeds(task: asyncio.Task[Any]) -> bool:
    return not task.cancelled() and task.exception() is None


async def _call_off(task: asyncio.Task[T], why: str, drop: Callable[[T], Awaitable[None]]) -> None:
    """Ends what nobody waits for."""
    task.cancel(why or None)
    await asyncio.wait({task})
    if _succeeds(task):
        await drop(task.result())

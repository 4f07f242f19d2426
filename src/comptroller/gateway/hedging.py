"""Hedged requests: a second one goes to another upstream where the first has taken longer than nearly all before it.

When it goes out is the rule of `serving/hedge_timer.py`; whoever answers first is heard, the other is called off.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from comptroller.serving.hedge_timer import HedgeTimer

T = TypeVar("T")

CALLED_OFF = "called off: another upstream answered first"
"""Note in the books of the call that lost."""
SAME_S = 0.001
"""First event and end of a call that lie no further apart are those of a reply that was not streamed: both are written
when it has come. At twice it streams of one event of up to 2 ms would count so, too."""


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

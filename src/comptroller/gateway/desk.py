"""Every call to a service passes here: queue, hold in the books, attempt, settlement; each attempt is booked once.

A hold is durable before the service is called. A settlement is handed to the books at once and written with the next
group; if that fails it is kept and tried again, and a crash in between leaves the hold, which counts as lost.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from dataclasses import replace
from itertools import count
from typing import Any, TypeVar

from comptroller.books.postings import (
    CallQuote,
    Posting,
    ReleasePosting,
    ReservationPosting,
    SettlementPosting,
    kept_posting,
    unknown_settlement,
)
from comptroller.errors import ComptrollerError, LedgerError
from comptroller.gateway.attempt import CallAttempt
from comptroller.gateway.booking import GatewayBooks
from comptroller.gateway.conversation import most_tokens
from comptroller.gateway.events import FINISH, UpstreamEvent, UpstreamStreamReader
from comptroller.gateway.hedging import CALLED_OFF, first_of
from comptroller.gateway.order import UpstreamRequest
from comptroller.gateway.problems import UpstreamError
from comptroller.gateway.replies import choices_of, require_reply, says_something
from comptroller.gateway.service import CircuitOpenError, UpstreamReplica, UpstreamService
from comptroller.strategies.protocol import Finish
from comptroller.work.call import Call

__all__ = ["CallAttempt", "UpstreamDispatcher", "UpstreamStream"]

Json = dict[str, Any]
T = TypeVar("T")
log = logging.getLogger("comptroller.gateway")

LAG_S = 0.002
"""How long a settlement may wait for a hold to share a transaction with: a caller that asks again at once does so
sooner, else it is written now. At twice it twice as many calls that are over count as lost after a crash."""
AGAIN_S = 1.0
"""When a settlement that could not be written is tried again: often enough that a database which restarts is not
waited for, seldom enough not to burden it."""
LEAST_WAIT_S = 1e-6
"""No wait is shorter, so that its row is told from one without a wait: a step of the clock."""
BACKOFF_S, LONGEST_S = 0.25, 8.0
"""First and longest pause between attempts, before jitter. The pauses double (0.25, 0.5, 1 s ...); whoever says to
stay away for longer than the longest is left for the fallbacks, so that no client waits through it."""


class UpstreamStream:
    """A reply as it comes. Read it with `next` to its end, or `close` it: either way it is booked."""

    def __init__(self, attempt: CallAttempt, events: AsyncIterator[list[bytes]]) -> None:
        self.attempt, self._events = attempt, events
        self.reading = UpstreamStreamReader(attempt.service.native)
        self._first: list[UpstreamEvent] | None = None
        load = attempt.load
        self._grows = [load.grow] if load is not None and attempt.service.router.keeps_kv else []
        self._grows += [attempt.place.serve] if attempt.place.counts else []

    async def begin(self) -> UpstreamStream:
        """Waits for the first event.

        Raises:
            UpstreamError: the service failed before it said anything.
        """
        self._first = await self._more()
        self.attempt.first_s = time.time()
        if self._first is None:
            raise UpstreamError(502, f"{self.attempt.service.id} ended without a word", billable=True)
        if self.attempt.load is not None:
            self.attempt.load.begin()
        return self

    async def next(self) -> list[UpstreamEvent] | None:
        """The next events, None at the end.

        Raises:
            UpstreamError: the service broke off.
        """
        if self._first is not None:
            first, self._first = self._first, None
            return first
        try:
            return await self._more()
        except UpstreamError as error:
            self.attempt.failed(error, self.reading)
            raise

    async def _more(self) -> list[UpstreamEvent] | None:
        try:
            data = await anext(self._events)
        except StopAsyncIteration:
            if not self.reading.finish:
                raise UpstreamError(502, f"{self.attempt.service.id} broke off in mid-answer", billable=True) from None
            self.attempt.replica.breaker.succeeded()
            self.attempt.close(self.reading.finish, self.reading.usage, reading=self.reading)
            return None
        events = [self.reading.read(payload) for payload in data]
        for grow in self._grows:
            grow(self.reading.counted)
        return events

    async def close(self, finish: Finish = "cancelled", why: str = "") -> None:
        """Stops the generation where it is not over, and books what there was of it."""
        self.attempt.close(finish, self.reading.usage, why, reading=self.reading)
        await self._events.aclose()  # type: ignore[attr-defined]


class UpstreamDispatcher:
    """Makes calls and books them.

    open: calls under way.  unwritten: settlements that wait for the books.  unknown: settlements that could not be
    booked as told, and were booked at their worst case.  unbooked: those that the books refused even so; their holds
    end with this process.  doubted: reports that were not believed, or differ from the price.
    """

    def __init__(self, books: GatewayBooks, booked: Callable[[CallAttempt], None] = lambda attempt: None) -> None:
        self.books, self._booked = books, booked
        self._late: list[Posting] = []
        self._pending: set[asyncio.Future[int]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self.open = self.unwritten = self.unknown = self.unbooked = self.doubted = 0

    def hold(self, posting: ReservationPosting) -> asyncio.Future[int]:
        """Writes a hold, and the settlements that wait with it."""
        self._flush()
        return self.books.post(posting)

    def settle(self, posting: SettlementPosting | ReleasePosting, attempt: CallAttempt) -> None:
        """Hands a settlement to the books; it is written even if whoever asked is gone."""
        kept = kept_posting(posting)
        if isinstance(kept, SettlementPosting) and kept.receipt.pusd is None and attempt.receipt != kept.receipt:
            if attempt.receipt is None or attempt.receipt.pusd is not None:
                self._note_unknown(kept)
            attempt.settled_as(kept)
        self._booked(attempt)
        self._late.append(kept)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LAG_S, self._flush)

    def waited(self, call: Call, span_s: tuple[float, float], note: str = "", estimate_pusd: int | None = None) -> int:
        """Books a wait that took no tokens, of a tool or of a checker, or a call that a monitor spared; the id of its
        row. Nobody is refused for it: where the books take no row, there is none. span_s: from when to when.
        estimate_pusd: what was spared."""
        began_s, ended_s = span_s
        wait_s = max(ended_s - began_s, LEAST_WAIT_S)
        call = replace(
            call, call=self.books.new_id(), arrival_s=began_s, started_s=began_s, last_s=ended_s, wait_s=wait_s
        )
        held = self.books.post(ReservationPosting(call, CallQuote(0, estimate_pusd)))
        self._pending.add(held)

        def end(done: asyncio.Future[int]) -> None:
            self._pending.discard(done)
            if done.cancelled() or done.exception() is not None:
                log.warning(
                    "a wait of %s has no row: %s", call.role, "cancelled" if done.cancelled() else done.exception()
                )
            else:
                self._write(ReleasePosting(call, note))

        held.add_done_callback(end)
        return call.call

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        late, self._late = self._late, []
        for posting in late:
            self._write(posting)

    def _write(self, posting: Posting) -> None:
        written = self.books.post(posting)
        self._pending.add(written)
        written.add_done_callback(lambda done: self._written(done, posting))

    def _written(self, done: asyncio.Future[int], posting: Posting) -> None:
        """A posting is durable, or is tried again, or is booked as unknown; it is never dropped without a word."""
        self._pending.discard(done)
        error = None if done.cancelled() else done.exception()
        if isinstance(error, LedgerError):
            self.unwritten += 1
            asyncio.get_running_loop().call_later(AGAIN_S, self._again, posting)
        elif isinstance(error, ComptrollerError) and isinstance(posting, SettlementPosting | ReleasePosting):
            unknown = unknown_settlement(posting, str(error))
            if isinstance(posting, SettlementPosting) and posting.receipt.note.startswith(unknown.receipt.note[:17]):
                self.unbooked += 1
                log.error("call %d ended and is not booked: %s", posting.call.call, error)
            else:
                self._note_unknown(unknown)
                self._write(unknown)

    def _note_unknown(self, posting: SettlementPosting) -> None:
        self.unknown += 1
        log.warning("call %d: %s", posting.call.call, posting.receipt.note)

    def _again(self, posting: Posting) -> None:
        self.unwritten -= 1
        self._write(posting)

    async def drained(self, within_s: float) -> bool:
        """Waits until every call is over and settled in the books; whether that came to pass."""
        end = time.monotonic() + within_s
        while (self.open or self._late or self._pending or self.unwritten) and time.monotonic() < end:
            self._flush()
            await asyncio.sleep(0.01)
        return not (self.open or self._late or self._pending or self.unwritten)

    async def whole(self, order: UpstreamRequest) -> tuple[Json, CallAttempt]:
        """A whole reply.

        Raises:
            UpstreamError: no attempt worked.  BudgetExceededError, LedgerError, Problem: none was made.
        """

        async def work(attempt: CallAttempt) -> Json:
            reply = await attempt.replica.backend.send(order.path, attempt.body)
            if not attempt.service.native:
                reply.pop("native", None)
            require_reply(order.path, reply, attempt.service.id)
            _settle_whole(attempt, reply)
            return reply

        return await self._tried(order, work)

    async def stream(self, order: UpstreamRequest) -> UpstreamStream:
        """A reply as it comes; after its first event nothing is tried again.

        Raises:
            UpstreamError: no attempt worked.  BudgetExceededError, LedgerError, Problem: none was made.
        """

        async def work(attempt: CallAttempt) -> UpstreamStream:
            return await UpstreamStream(attempt, attempt.replica.backend.stream(order.path, attempt.body)).begin()

        stream, _ = await self._tried(order, work)
        return stream

    async def _tried(
        self, order: UpstreamRequest, work: Callable[[CallAttempt], Awaitable[T]]
    ) -> tuple[T, CallAttempt]:
        numbers, last = count(), None
        for service in order.services:
            for turn in range(service.config.attempts):
                try:
                    return await self._try(order, service, numbers, work)
                except UpstreamError as error:
                    last = error
                    if not error.transient:
                        raise
                    if isinstance(error, CircuitOpenError) or turn + 1 >= min(service.config.attempts, error.tries):
                        break
                    if not await _pause_before_retry(turn, error.retry_after_s):
                        break
        assert last is not None, "an order names a service"
        raise last

    async def _try(
        self,
        order: UpstreamRequest,
        service: UpstreamService,
        numbers: Iterator[int],
        work: Callable[[CallAttempt], Awaitable[T]],
    ) -> tuple[T, CallAttempt]:
        """One attempt, beside which a second one goes out where it takes long and its service is hedged."""
        service.healthy(order.call.key)  # or it would wait for a place in vain
        attempt = CallAttempt(self, order, service, next(numbers))
        await attempt.enter()
        await attempt.reserve()
        timer, streamed = service.hedges, order.stream
        delay_s = timer.delay_s(streamed) if order.hedge else None
        if delay_s is None:
            return await self._carry(attempt, work)
        timer.began()

        def second() -> Coroutine[Any, Any, tuple[T, CallAttempt]] | None:
            other = service.beside(order.services, attempt.replica, order.call.key)
            if other is None or not timer.take():
                return None
            return self._beside(order.beside(), other, next(numbers), attempt.replica, work)

        try:
            found, won = await first_of(self._carry(attempt, work), delay_s, second, _drop)
        finally:  # what was called off before its first step
            if attempt.open and not attempt.begun:
                attempt.close("cancelled", None, "called off before it was sent", billable=False)
        timer.counts.won += won
        return found

    async def _beside(
        self,
        order: UpstreamRequest,
        service: UpstreamService,
        number: int,
        avoid: UpstreamReplica,
        work: Callable[[CallAttempt], Awaitable[T]],
    ) -> tuple[T, CallAttempt]:
        """A second request, with a hold of its own, for which nothing else waits."""
        attempt = CallAttempt(self, order, service, number)
        await attempt.enter()
        await attempt.reserve(avoid)
        return await self._carry(attempt, work)

    @staticmethod
    async def _carry(attempt: CallAttempt, work: Callable[[CallAttempt], Awaitable[T]]) -> tuple[T, CallAttempt]:
        """An attempt that has its hold, to its answer or its end."""
        timer, streamed, started_s = attempt.service.hedges, attempt.order.stream, attempt.call.started_s
        attempt.begun = True
        try:
            found = await work(attempt), attempt
            timer.record(streamed, attempt.first_s - started_s)
            return found
        except UpstreamError as error:
            attempt.failed(error)
            raise
        except asyncio.CancelledError as error:
            why = str(error) or "called off while it ran"
            if why == CALLED_OFF:
                timer.record(streamed, time.time() - started_s)
            attempt.close("cancelled", None, why)
            raise
        except BaseException as error:
            attempt.close("failed", None, f"{type(error).__name__} while its reply was read")
            raise


async def _drop(found: tuple[Any, CallAttempt]) -> None:
    """Lets go of a reply that came second; a whole one is booked as what it cost."""
    if isinstance(found[0], UpstreamStream):
        await found[0].close("cancelled", CALLED_OFF)


async def _pause_before_retry(turn: int, retry_after_s: float) -> bool:
    """Waits before the next attempt: as long as the service says, else longer each time, with jitter.

    False where the service says to stay away for longer than anybody waits.
    """
    if retry_after_s > LONGEST_S:
        return False
    pause_s = retry_after_s if retry_after_s >= 0 else min(BACKOFF_S * 2**turn, LONGEST_S)
    await asyncio.sleep(pause_s * random.uniform(1.0, 1.25))
    return True


def _settle_whole(attempt: CallAttempt, reply: Json) -> None:
    said = reply.get("usage")
    said = said if isinstance(said, dict) else None
    if said is not None and attempt.order.path == "embeddings":
        said = {"completion_tokens": 0} | said
    choices = choices_of(reply)
    ends = {str(item.get("finish_reason")) for item in choices}
    finish: Finish = "length" if "length" in ends else FINISH.get(next(iter(ends), "stop"), "stop")
    reading = UpstreamStreamReader()
    reading.counted = least_tokens(choices, attempt.body)
    reading.timings = reply["timings"] if isinstance(reply.get("timings"), dict) else None
    reading.tier = reply.get("service_tier")
    attempt.first_s = time.time()
    attempt.replica.breaker.succeeded()
    attempt.close(finish, said, reading=reading)


def least_tokens(choices: list[Json], body: Json) -> int:
    """Tokens that there must be at least: one in a choice that says anything, all permitted in one of several that was
    cut for its length.

    A server that reports the usage of one of n choices is found out by it (llama.cpp did, with n=4), and one that
    reports nothing for an answer.
    """
    most = most_tokens(body)
    cut = [most if most and len(choices) > 1 and item.get("finish_reason") == "length" else 0 for item in choices]
    return sum(max(least, says_something(item)) for least, item in zip(cut, choices, strict=True))

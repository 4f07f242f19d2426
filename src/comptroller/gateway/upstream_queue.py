"""The queue before a service: so many calls at once, and so many that wait for a bounded time, in a policy's order."""

from __future__ import annotations

import asyncio
from collections import Counter

from comptroller.gateway.admission_order import DEFAULT_SCHEDULING, AdmissionOrder, WaitingCall
from comptroller.gateway.problems import GatewayError

Ticket = asyncio.Future[None]


class QueuePlace:
    """A place at a service, until it is left. counts: whether the policy goes by the service that tenants have had."""

    __slots__ = ("_call", "_prompt", "_queue", "_served", "counts")

    def __init__(self, queue: UpstreamQueue, call: WaitingCall[Ticket]) -> None:
        self._queue, self._call, self.counts = queue, call, queue.order.counts
        self._prompt, self._served = call.call.prompt, 0

    def serve(self, output: int, prompt: int | None = None) -> None:
        """So many output tokens have come; prompt: as the service tells it, where it does."""
        read = self._prompt if prompt is None else prompt
        self._queue.order.serve(self._call.tenant, read - self._prompt, output - self._served)
        self._prompt, self._served = read, output

    def leave(self) -> None:
        """Gives the place to the call that comes next."""
        self._queue.pass_on(self._call.tenant)


class UpstreamQueue:
    """At most so many at once, and so many that wait for a bounded time; the others are told to come later.

    Places go by a scheduling policy, by the service that tenants have had where none is named; who waits with many
    gives way to who waits with few.

    most: places.  per_key: of them for one caller, all where None; what it leaves free is there at once for another.
    Who has no name, which is let in only where nobody has one, leaves none: there is no other.
    """

    def __init__(
        self,
        name: str,
        most: int,
        waiting: int,
        wait_s: float,
        order: AdmissionOrder[Ticket] | None = None,
        per_key: int | None = None,
    ) -> None:
        self.name, self._most, self._room, self._wait_s = name, most, waiting, wait_s
        self._per_key = most if per_key is None else per_key
        self._held, self._full_keys = Counter[str](), set[str]()
        self.order = order or AdmissionOrder[Ticket](name, DEFAULT_SCHEDULING, {})
        self.busy = 0
        self.waiting = 0

    async def enter(self, caller: str = "", prompt: int = 1, predicted: int = 0) -> QueuePlace:
        """Waits for a place. prompt, predicted: tokens of the call, as far as they are known.

        Raises:
            GatewayError: the queue is full, or none came free in time.
        """
        free, full = self.has_place(caller), self.waiting >= self._room
        ticket: Ticket = asyncio.get_running_loop().create_future()
        call = self.order.join(caller, prompt, predicted, ticket)
        if free:
            self.busy += 1
            self._admit(call)
            return QueuePlace(self, call)
        self.waiting += 1
        try:
            if full:
                self._make_room(call)
            async with asyncio.timeout(self._wait_s):
                await ticket
        except BaseException as error:
            if ticket.done() and not ticket.cancelled() and ticket.exception() is None:
                self.pass_on(caller)
            elif self.order.give_up(call):
                self.waiting -= 1
            if isinstance(error, TimeoutError):
                raise self._full(f"no place at {self.name} came free within {self._wait_s:g} s") from error
            raise
        return QueuePlace(self, call)

    def has_place(self, caller: str) -> bool:
        """Whether a call would get a place at once; where one is free, those who wait have all that a key may have."""
        return self.busy < self._most and caller not in self._full_keys

    def held(self, caller: str) -> int:
        """Places that a caller has."""
        return self._held[caller]

    def _admit(self, call: WaitingCall[Ticket]) -> None:
        self.order.admit(call)
        self._held[call.tenant] += 1
        if call.tenant and self._held[call.tenant] >= self._per_key:
            self._full_keys.add(call.tenant)

    def pass_on(self, caller: str) -> None:
        """Gives a place that a caller leaves to the call that comes next."""
        self._held[caller] -= 1
        self._full_keys.discard(caller)
        if not self._held[caller]:
            del self._held[caller]
        while (call := self.order.first(self._full_keys)) is not None:
            self.waiting -= 1
            if not call.ticket.done():
                self._admit(call)
                call.ticket.set_result(None)
                return
            self.order.give_up(call)
        self.busy -= 1

    def _make_room(self, call: WaitingCall[Ticket]) -> None:
        """Sends the call that comes last away where that is another caller's.

        Raises:
            GatewayError: nobody is to give way.
        """
        full = self._full(f"{self.name} serves {self.busy} calls and {self.waiting - 1} wait")
        last = self.order.last(call)
        if last is None:
            raise full
        self.order.give_up(last)
        self.waiting -= 1
        if not last.ticket.done():
            last.ticket.set_exception(full)

    def _full(self, why: str) -> GatewayError:
        return GatewayError(429, f"{why}; come again later", "queue_full", None, 1.0)

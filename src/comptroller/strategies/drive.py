"""The driver of every strategy in every world: orders replies, enforces budgets, cancels asks, books costs.

`StrategyDriver` is a state machine without I/O or clock. Its caller passes in replies (`feed`) or signals that time or
money is spent (`expire`), and executes the returned `DriverOrders`: begin these asks, cut those. `play` is the caller
for worlds that know the end of a call when it begins. An asynchronous caller is as short:

    orders = drive.start()
    while not drive.settled:
        begin(orders.begin); cut(orders.cut)
        orders = drive.feed(await the_next_reply())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from heapq import heappop, heappush
from math import inf, isnan
from typing import Protocol

import numpy as np

from comptroller.errors import ProtocolError, UnsupportedError
from comptroller.quantities import Cost, TokenCounts
from comptroller.strategies.protocol import (
    NOTHING,
    All,
    Answer,
    Ask,
    Next,
    QuestionBudget,
    Reply,
    Run,
    Strategy,
    StrategyQuestion,
)

PATIENCE = 10_000
"""Consecutive waits without a reply, or past the budget, after which the driver assumes an endless loop.

Far above what a strategy needs: past the budget every ask returns at once, and the largest shipped grid asks 64 samples
one by one. A strategy that never returns is stopped after 0.05 s; at twice the value after 0.09 s (measured).
"""

HALVINGS = 60
"""Bisection steps for the moment at which running calls exhaust a budget.

They narrow the interval to 2^-60 of its length, below the 2^-53 of a double: twice as many change nothing but time.
"""

MEASURES: dict[str, Callable[[Cost], float]] = {
    "tokens": lambda cost: float(cost.tokens.total),
    "usd": lambda cost: float(cost.usd),
    "j": lambda cost: float(cost.j),
}
"""Limited quantity of a `QuestionBudget` -> its amount in a cost."""


@dataclass(slots=True)
class DriverOrders:
    """What the caller must do now: begin some asks, then cut others. A cut ask still owes its reply to `feed`."""

    begin: list[Ask] = field(default_factory=list)
    cut: list[Ask] = field(default_factory=list)


IDLE = DriverOrders()
"""Empty orders. The object is shared, so it is never mutated."""


class QuestionBudgetMeter:
    """Consumption of one run against the limits of its budget.

    limited: whether tokens, dollars or joules are limited.  spent: booked amount of each limited quantity.
    """

    def __init__(self, budget: QuestionBudget) -> None:
        limits = (("tokens", budget.tokens), ("usd", budget.usd), ("j", budget.j))
        self._limited = [(name, MEASURES[name], limit) for name, limit in limits if limit < inf]
        self.spent = {name: 0.0 for name, _, _ in self._limited}
        self.limited = bool(self._limited)

    def add(self, cost: Cost) -> None:
        """Adds a cost to what is spent.

        Raises:
            UnsupportedError: a limited quantity is unknown, so the limit could not be kept.
        """
        for name, measure, _ in self._limited:
            amount = measure(cost)
            if isnan(amount):
                raise UnsupportedError(f"the budget limits {name}, but a reply does not say how many it took")
            self.spent[name] += amount

    def over(self, pending: Iterable[Cost] = ()) -> bool:
        """Whether booked and pending costs together reach a limit."""
        pending = tuple(pending)
        return any(
            self.spent[name] + sum(measure(cost) for cost in pending) >= limit for name, measure, limit in self._limited
        )


class StrategyDriver:
    """One run of a strategy on a question.

    answer: what the strategy returned, None until then.  replies: every booked reply in order of arrival, cut ones
    included.  asked: ask -> its position in the order of asking.
    """

    def __init__(
        self,
        strategy: Strategy,
        question: StrategyQuestion,
        budget: QuestionBudget,
        rng: np.random.Generator,
        start_s: float = 0.0,
    ) -> None:
        self.question, self.budget = question, budget
        self.answer: Answer | None = None
        self.replies: list[Reply] = []
        self.asked: dict[Ask, int] = {}
        self.start_s = self.now_s = start_s
        self.meter = QuestionBudgetMeter(budget)
        self.expired = budget.s <= 0 or self.meter.over()
        self._run: Run = strategy.solve(question, budget, rng)
        self._wait: All = All()
        self._outstanding: dict[Ask, None] = {}
        self._dropped: set[Ask] = set()
        self._ready: list[Reply] = []
        self._idle = 0

    @property
    def deadline_s(self) -> float:
        """When the budget's seconds are up, on the world's clock."""
        return self.start_s + self.budget.s

    @property
    def settled(self) -> bool:
        """Whether the strategy has returned and every ask it made is booked."""
        return self.answer is not None and not self._outstanding and not self._dropped

    def start(self) -> DriverOrders:
        """Runs the strategy to its first wait and returns the asks it makes."""
        return self._resume(DriverOrders(), None)

    def feed(self, reply: Reply) -> DriverOrders:
        """Books a reply and returns the orders that follow from it.

        Raises:
            ProtocolError: the ask of the reply is not outstanding, or the strategy broke the protocol.
            UnsupportedError: the budget limits a quantity that the reply does not report.
        """
        self.now_s = max(self.now_s, reply.done_s)
        ask = reply.ask
        if reply.finish == "length" and reply.answer is not None:
            reply = replace(reply, answer=None)  # what looks like an answer may be one that was going to be taken back
        if ask in self._outstanding:
            del self._outstanding[ask]
            if self.expired and reply.finish == "cancelled":
                reply = replace(reply, finish="budget")
            self._ready.append(reply)
        elif ask in self._dropped:
            self._dropped.remove(ask)
        else:
            raise ProtocolError(f"a reply came to an ask of {ask.role} that is not outstanding")
        self._book(reply)
        if self.answer is not None:
            return IDLE
        orders = IDLE
        if self.meter.limited and not self.expired and self.meter.over():
            orders = DriverOrders()
            self._cut_all(orders)
        if not self._outstanding or self._wait_satisfied():
            return self._resume(DriverOrders() if orders is IDLE else orders, self._take_due_replies())
        return orders

    def expire(self) -> DriverOrders:
        """Marks the budget as spent. All outstanding asks are to be cut; their replies finish as `budget`."""
        orders = DriverOrders()
        if self.answer is None and not self.expired:
            self._cut_all(orders)
            if self._wait_satisfied():
                self._resume(orders, self._take_due_replies())
        return orders

    def _book(self, reply: Reply) -> None:
        if self.meter.limited:
            self.meter.add(reply.cost)
        self.replies.append(reply)

    def _cut_all(self, orders: DriverOrders) -> None:
        self.expired = True
        orders.cut.extend(self._outstanding)

    def _wait_satisfied(self) -> bool:
        if not self._outstanding:
            return True
        return isinstance(self._wait, Next) and bool(self._ready) and not self.expired

    def _take_due_replies(self) -> tuple[Reply, ...]:
        ready, asked = self._ready, self.asked
        if isinstance(self._wait, Next):
            if len(ready) > 1:
                ready.sort(key=lambda reply: (reply.done_s, asked[reply.ask]))
            return (ready.pop(0),) if ready else ()
        self._ready = []
        return tuple(sorted(ready, key=lambda reply: asked[reply.ask]))

    def _resume(self, orders: DriverOrders, due: tuple[Reply, ...] | None) -> DriverOrders:
        while True:
            try:
                wait = next(self._run) if due is None else self._run.send(due)
            except StopIteration as stop:
                self._finish(stop.value, orders)
                return orders
            if not isinstance(wait, All):
                raise ProtocolError(f"a strategy yields All(...) or Next(...), not {type(wait).__name__}")
            self._wait = wait
            for ask in wait.cancel:
                self._cancel_ask(ask, orders)
            if wait.asks:
                self._begin_asks(wait.asks, orders)
            if not self._wait_satisfied():
                self._idle = 0
                return orders
            due = self._take_due_replies()
            self._idle = self._idle + 1 if self.expired or not due else 0
            if self._idle > PATIENCE:
                raise ProtocolError(
                    f"the strategy waited {PATIENCE} times without anything to wait for; past its budget, or with "
                    "nothing outstanding, it must return"
                )

    def _begin_asks(self, asks: tuple[Ask, ...], orders: DriverOrders) -> None:
        asked, order = self.asked, len(self.asked)
        for ask in asks:
            asked[ask] = order
            order += 1
        if order != len(asked):
            raise ProtocolError("the same ask was asked twice; ask.times(n) makes n asks of one")
        if self.expired:
            for ask in asks:
                reply = Reply(ask, "budget", "", None, np.nan, None, NOTHING, self.now_s, self.now_s)
                self._ready.append(reply)
                self._book(reply)
            return
        self._outstanding.update(dict.fromkeys(asks))
        orders.begin.extend(asks)

    def _cancel_ask(self, ask: Ask, orders: DriverOrders) -> None:
        if ask in self._outstanding:
            del self._outstanding[ask]
            if ask in orders.begin:
                orders.begin.remove(ask)
                self._book(Reply(ask, "cancelled", started_s=self.now_s, done_s=self.now_s))
            else:
                self._dropped.add(ask)
                if ask not in orders.cut:
                    orders.cut.append(ask)
        elif ask in self.asked:
            self._ready = [reply for reply in self._ready if reply.ask is not ask]
        else:
            raise ProtocolError("a strategy cancelled an ask that it never asked")

    def _finish(self, answer: object, orders: DriverOrders) -> None:
        if not isinstance(answer, Answer):
            raise ProtocolError(f"a strategy returns an Answer, not {type(answer).__name__}")
        for ask in list(self._outstanding):
            self._cancel_ask(ask, orders)
        self._ready = []
        self.answer = answer


class StrategyWorld(Protocol):
    """Source of replies that knows the end of a call when the call begins: recorded or simulated."""

    def reply(self, ask: Ask, at_s: float) -> Reply:
        """The complete reply to an ask that begins at `at_s`, in seconds of the world's clock."""
        ...

    def cut(self, reply: Reply, at_s: float) -> Reply:
        """The part of a reply generated by `at_s`, finished as `cancelled`, with the cost of its partial tokens."""
        ...


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A finished run of a strategy on a question.

    replies: in the order of booking.  elapsed_s: seconds from the first ask to the answer.  expired: whether the budget
    ended it.  order: ask -> its position in the order of asking.  beforehand: its share of what was prepared before it.
    """

    question: StrategyQuestion
    answer: Answer
    replies: tuple[Reply, ...]
    elapsed_s: float
    expired: bool
    order: Mapping[Ask, int] = field(default_factory=dict)
    beforehand: Cost | None = None

    @property
    def cost(self) -> Cost:
        """The sum over all replies, cut and unused ones included, and its share of what was prepared."""
        return total((*(reply.cost for reply in self.replies), *([self.beforehand] if self.beforehand else ())))


def total(costs: Iterable[Cost]) -> Cost:
    """The sum of costs by column, faster than adding pairs of `Cost` objects.

    >>> total([Cost(usd=1.0), Cost(usd=0.5, j=2.0)]) == Cost(usd=1.5, j=2.0)
    True
    """
    rows = [
        (c.device_s, t.input, t.cached, t.cache_write, t.output, t.reasoning, c.flops, c.bytes, c.j, c.usd, c.gco2e)
        for c in costs
        for t in (c.tokens,)
    ]
    if not rows:
        return NOTHING
    device_s, *tokens, flops, moved, j, usd, gco2e = (sum(column) for column in zip(*rows, strict=True))
    return Cost(device_s, TokenCounts(*tokens), flops, moved, j, usd, gco2e)


def play(drive: StrategyDriver, world: StrategyWorld) -> FinishedRun:
    """Runs a driver to its end in a world that knows the end of a call when it begins.

    All asks outstanding at a time run in parallel. A budget ends the run at the moment when the tokens, dollars or
    joules of finished and running calls together reach a limit.

    Raises:
        ProtocolError: the strategy waits and nothing is outstanding, or it broke the protocol.
        UnsupportedError: the world has no reply, or the budget limits a quantity that a reply does not report.
    """
    queue: list[tuple[float, int, Reply]] = []
    going: dict[Ask, Reply] = {}
    now, asked, deadline_s = drive.start_s, drive.asked, drive.deadline_s
    bounded = drive.meter.limited or deadline_s < inf
    orders = drive.start()
    while True:
        for ask in orders.begin:
            reply = world.reply(ask, now)
            going[ask] = reply
            heappush(queue, (reply.done_s, asked[ask], reply))
        if orders.cut:
            orders = _feed_cut_replies(drive, world, [going.pop(ask) for ask in orders.cut], now)
            continue
        while queue and queue[0][2].ask not in going:
            heappop(queue)
        if not queue:
            break
        if bounded and not drive.expired:
            stop = min(_crossing_s(drive, world, going, now, queue[0][0]), deadline_s)
            if stop < queue[0][0]:
                now = max(now, stop)
                orders = drive.expire()
                continue
        now, _, reply = heappop(queue)
        del going[reply.ask]
        orders = drive.feed(reply)
    if drive.answer is None:
        raise ProtocolError("the strategy waits and nothing is outstanding")
    elapsed_s = now - drive.start_s
    return FinishedRun(drive.question, drive.answer, tuple(drive.replies), elapsed_s, drive.expired, drive.asked)


def _feed_cut_replies(drive: StrategyDriver, world: StrategyWorld, replies: list[Reply], now: float) -> DriverOrders:
    merged = DriverOrders()
    for reply in replies:
        orders = drive.feed(world.cut(reply, now))
        merged.begin += orders.begin
        merged.cut += orders.cut
    return merged


def _crossing_s(
    drive: StrategyDriver, world: StrategyWorld, going: dict[Ask, Reply], now: float, until: float
) -> float:
    """Time at which the running calls exhaust the budget; infinite where they do not before `until`."""

    def over(at_s: float) -> bool:
        return drive.meter.over(world.cut(reply, at_s).cost for reply in going.values())

    if not drive.meter.over(reply.cost for reply in going.values()) or not over(until):
        return inf
    low, high = now, until
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        if over(middle):
            high = middle
        else:
            low = middle
    return high

"""The live world: real backends answer the asks of a strategy, the wall clock runs.

The core of `strategies.drive` decides what is asked, cut and booked; here its orders are carried out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, nan
from typing import Any

from msgspec.json import encode as encode_json
from msgspec.structs import replace as changed

from comptroller.errors import BudgetExceededError, ComptrollerError, LedgerError, UnsupportedError
from comptroller.gateway.checking import CHECKER, CheckerPool, CheckerRequestError, score, untold_likelihoods, verdict
from comptroller.gateway.config import GuardConfig
from comptroller.gateway.conversation import ClientConversation, text_of
from comptroller.gateway.desk import CallAttempt, UpstreamDispatcher, UpstreamStream
from comptroller.gateway.formats import CheckerOptions
from comptroller.gateway.guard import OverflowGuard
from comptroller.gateway.order import UpstreamRequest
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.run_monitors import NamedMonitor, RunMonitors, RunRecord, book_stop
from comptroller.gateway.service import UpstreamService
from comptroller.quantities import Cost
from comptroller.strategies.drive import DriverOrders, FinishedRun, StrategyDriver, total
from comptroller.strategies.protocol import Ask, Finish, Reply
from comptroller.work.call import Call

Json = dict[str, Any]
Choose = Callable[[str], tuple[UpstreamService, ...]]
"""Role -> the service that plays it and its fallbacks."""


@dataclass(frozen=True)
class LiveRunSettings:
    """Who plays, and how replies are read.

    choose: role -> services.  answer: what of a reply is compared.  checker: judges where no model does.
    scored: whether samples are judged without being asked for.  logprobs: whether their likelihood is needed.
    affinity, session: what calls of the run have in common, see `UpstreamRequest`.
    plan: digest of the plan that the run belongs to.  most_calls: that a run may make.
    labels: user, tags and limits of the request, as orders take them.
    """

    choose: Choose
    answer: Callable[[str], str | None]
    checker: CheckerOptions | None = None
    checkers: CheckerPool = field(default_factory=CheckerPool)
    scored: bool = False
    logprobs: bool = False
    guard: GuardConfig = field(default_factory=GuardConfig)
    stop_repetition: bool | None = None
    affinity: str = ""
    session: str = ""
    plan: str = ""
    most_calls: int = 256
    labels: Mapping[str, Any] = field(default_factory=dict)


class LiveWorld:
    """Answers the asks of one run.

    call: whose calls they are.  size: bytes of the request.  watching: the monitors of the run.  attempts: every try
    that was made.  record: its calls, and the stop of a monitor.
    """

    def __init__(
        self,
        desk: UpstreamDispatcher,
        talk: ClientConversation,
        cast: LiveRunSettings,
        call: Call,
        size: int,
        watching: Sequence[NamedMonitor] = (),
    ) -> None:
        self.desk, self.talk, self.cast, self.call, self.size = desk, talk, cast, call, size
        self.record, self._watching = RunRecord(), watching
        self.attempts: list[CallAttempt] = []
        self.streams: dict[Ask, UpstreamStream] = {}
        self.found: list[str] = []
        self.error: ComptrollerError | None = None
        self.progress: Callable[[], None] = lambda: None
        self.clock = time.monotonic()
        self._asked = 0
        self._rows: dict[Ask, int] = {}

    def now_s(self) -> float:
        """Seconds since the run began."""
        return time.monotonic() - self.clock

    async def reply(self, ask: Ask) -> Reply:
        """The reply to an ask; cancelling it cuts the call, which is booked and returned as far as it went."""
        started_s = self.now_s()
        if self._is_check(ask):
            return await self._checked(ask, started_s)
        made: list[CallAttempt] = []
        try:
            reply = await self._generated(ask, made)
        except asyncio.CancelledError:
            reply = Reply(ask, "cancelled")
        except (BudgetExceededError, LedgerError, GatewayError) as error:
            self.error = error
            reply = Reply(ask, "budget" if isinstance(error, BudgetExceededError) else "failed")
        finally:
            self.streams.pop(ask, None)
        self.attempts += made
        if self._watching:
            for attempt in made:
                self.record.add(attempt.call)
        cost = total(attempt.cost for attempt in made if attempt.receipt is not None)
        return replace(reply, cost=cost, started_s=started_s, done_s=self.now_s())

    def _is_check(self, ask: Ask) -> bool:
        """Whether an ask is a check by the gateway itself, and no call of a model."""
        return ask.role == CHECKER and self.cast.checker is not None and self.cast.checker.model is None

    async def _checked(self, ask: Ask, started_s: float) -> Reply:
        """The verdict of a checker on the reply it comes after."""
        assert self.cast.checker is not None and ask.after is not None
        try:
            judged = await self._judged(self.cast.checker, ask.after.content, ask)
        except asyncio.CancelledError:
            return Reply(ask, "cancelled", started_s=started_s, done_s=self.now_s())
        except (UnsupportedError, GatewayError) as error:
            self.error = error
            return Reply(ask, "failed", started_s=started_s, done_s=self.now_s())
        return Reply(ask, "stop", score=judged, started_s=started_s, done_s=self.now_s())

    async def _judged(self, checker: CheckerOptions, content: str, ask: Ask) -> float:
        """The score of a text; what the check took is a row after that of the text."""
        began_s, finish = time.time(), "failed"
        try:
            judged = await score(checker, content, self.cast.checkers, self.call.key)
            finish = "stop"
            return judged
        except asyncio.CancelledError:
            finish = "cancelled"
            raise
        finally:
            row = replace(self.call, role=CHECKER, parent=self._row_before(ask), finish=finish)
            self._rows[ask] = self.desk.waited(row, (began_s, time.time()))

    def _row_before(self, ask: Ask) -> int:
        """The row of the reply that an ask comes after; of one that is judged as it comes, its own."""
        if ask in self._rows:
            return self._rows[ask]
        return -1 if ask.after is None else self._rows.get(ask.after.ask, -1)

    async def _generated(self, ask: Ask, made: list[CallAttempt]) -> Reply:
        order = self._order(ask, made)
        stream = await self.desk.stream(order)
        self.streams[ask] = stream
        guard = OverflowGuard(self.cast.guard, self.cast.stop_repetition)
        text: list[str] = []
        logs: list[float] = []
        finish: Finish | None = None
        try:
            while (pieces := await stream.next()) is not None:
                for choice in (choice for piece in pieces for choice in piece.chunk.choices):
                    said = choice.text if choice.delta is None else text_of(choice.delta.content)
                    text.append(said or "")
                    if choice.logprobs is not None:
                        logs += choice.logprobs.values
                self.progress()
                if guard.ends(pieces, stream.reading):
                    finish = "length"
                    break
        finally:
            await stream.close(finish or "cancelled", guard.found)
        if guard.found:
            self.found.append(guard.found)
        return await self._read(ask, finish or stream.reading.finish or "stop", "".join(text), logs)

    async def _read(self, ask: Ask, finish: Finish, content: str, logs: list[float]) -> Reply:
        """A generated text as a reply: its answer, and its score where somebody gives one."""
        if self.cast.logprobs and content and not logs and ask.after is None:
            raise untold_likelihoods(self.call.strategy, self.cast.choose(ask.role)[0].id)
        judged = nan
        if self.cast.scored and ask.after is None and self.cast.checker is not None:
            judged = await self._judged(self.cast.checker, content, ask)
        elif ask.role not in ("solver", "reviser"):
            judged = verdict(content)
        answer = self.cast.answer(content) if content else None
        return Reply(ask, finish, content, answer, judged, tuple(logs) or None)

    def _order(self, ask: Ask, made: list[CallAttempt]) -> UpstreamRequest:
        if self._asked >= self.cast.most_calls:
            raise GatewayError(
                400, f"the strategy asks for more than the {self.cast.most_calls} calls a request may make",
                "too_many_calls", "model",
            )  # fmt: skip
        services = self.cast.choose(ask.role)
        first = services[0].config
        body = self.talk.body_of(ask, self._asked)
        self._asked += 1
        if self.talk.goes_on(ask) and not first.prefill:
            raise GatewayError(
                400, f"the strategy goes on from a model's own words, which {services[0].id} does not take; "
                "set prefill = true if it does", "unsupported", "comptroller.strategy",
            )  # fmt: skip
        if self.cast.logprobs:
            body["logprobs"] = True if self.talk.path != "completions" else 1
        own, parent = self.desk.books.new_id(), self._row_before(ask)
        call = replace(self.call, call=own, parent=parent, role=ask.role, arrival_s=time.time())
        self._rows[ask] = own
        size = max(self.size, len(encode_json(body)))
        return UpstreamRequest(
            self.talk.path, body | {"stream": True}, size, call, services, stream=True, affinity=self.cast.affinity,
            session=self.cast.session, plan=self.cast.plan, attempts=made, **self._labels(),
        )  # fmt: skip

    def _labels(self) -> dict[str, Any]:
        """Those of an order: of limits, a request counts once however many calls it makes."""
        labels = dict(self.cast.labels)
        if self._asked > 1 and "limits" in labels:
            labels["limits"] = changed(labels["limits"], requests=None)
        return labels

    def stopped(self, asked: Iterable[Ask]) -> bool:
        """Whether a monitor stops the run before the calls that it asks for next; the stop is booked.

        A check by the gateway is no call: a run whose answer is about to be accepted is not stopped.
        """
        if all(map(self._is_check, asked)):
            return False
        if not self._watching or self.record.last is None or self.record.stop is not None:
            return False
        now_s = time.time()
        self.record.went_on(now_s)
        stop = RunMonitors.verdict(self.record, self._watching)
        if stop is not None:
            book_stop(self.desk, stop, self.record.last, now_s)
        return stop is not None

    def pending(self) -> list[Cost]:
        """What running calls have taken for certain: the tokens that arrived, at their price."""
        return [stream.attempt.least_cost(stream.reading.counted) for stream in self.streams.values()]


async def run(drive: StrategyDriver, world: LiveWorld) -> FinishedRun:
    """Runs a drive to its end over real backends.

    Raises:
        GatewayError: nothing came of it, for the reason of the last call that failed.
    """
    tasks: dict[asyncio.Task[Reply], Ask] = {}
    spent = asyncio.Event()
    if drive.meter.limited:
        world.progress = lambda: _note(drive, world, spent)
    try:
        await _play(drive, world, tasks, spent)
    except UnsupportedError as error:
        raise GatewayError(502, str(error), "unsupported") from error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert drive.answer is not None
    if world.error is not None and (drive.answer.reply is None or isinstance(world.error, CheckerRequestError)):
        raise world.error
    return FinishedRun(drive.question, drive.answer, tuple(drive.replies), world.now_s(), drive.expired, drive.asked)


def _note(drive: StrategyDriver, world: LiveWorld, spent: asyncio.Event) -> None:
    if drive.meter.over(world.pending()):
        spent.set()


async def _play(
    drive: StrategyDriver, world: LiveWorld, tasks: dict[asyncio.Task[Reply], Ask], spent: asyncio.Event
) -> None:
    orders = await asyncio.to_thread(drive.start)
    alarm = asyncio.create_task(_alarm(drive, world, spent))
    try:
        while True:
            _obey(orders, world, tasks)
            if drive.settled:
                return
            waits: set[asyncio.Task[Any]] = {*tasks, *(() if alarm.done() else (alarm,))}
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            orders = DriverOrders()
            if alarm.done() and not drive.expired:
                _add(orders, drive.expire())
            came = [_result(task, tasks.pop(task), world) for task in list(tasks) if task.done()]
            for reply in sorted(came, key=lambda reply: reply.done_s):
                _add(orders, await asyncio.to_thread(drive.feed, reply))
            if drive.answer is None and not drive.expired and world.stopped(orders.begin):
                _add(orders, drive.expire())
    finally:
        alarm.cancel()


def _result(task: asyncio.Task[Reply], ask: Ask, world: LiveWorld) -> Reply:
    """The reply of a task; one that was cut before it began has none of its own."""
    now = world.now_s()
    return Reply(ask, "cancelled", started_s=now, done_s=now) if task.cancelled() else task.result()


def _add(orders: DriverOrders, more: DriverOrders) -> None:
    orders.begin += more.begin
    orders.cut += more.cut


async def _alarm(drive: StrategyDriver, world: LiveWorld, spent: asyncio.Event) -> None:
    """Ends when the budget is: by the clock, or by what running calls have taken."""
    left_s = drive.deadline_s - world.now_s()
    try:
        async with asyncio.timeout(None if left_s == inf else left_s):
            await spent.wait()
    except TimeoutError:
        return


def _obey(orders: DriverOrders, world: LiveWorld, tasks: dict[asyncio.Task[Reply], Ask]) -> None:
    """Begins and cuts calls."""
    for ask in orders.begin:
        tasks[asyncio.create_task(world.reply(ask))] = ask
    cut = set(orders.cut)
    for task, ask in tasks.items():
        if ask in cut:
            task.cancel()

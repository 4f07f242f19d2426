"""The endpoints. A request is read and checked, becomes a job, and is answered in the shape of its endpoint."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from starlette.types import Receive, Scope, Send

from comptroller.errors import ComptrollerError
from comptroller.gateway.attempt import CallAttempt
from comptroller.gateway.endpoints import read_request
from comptroller.gateway.events import UpstreamStreamReader
from comptroller.gateway.formats import MOST_QUESTION, RequestOptions, too_deep
from comptroller.gateway.guard import OverflowGuard
from comptroller.gateway.live import run as play
from comptroller.gateway.messages import PATH as MESSAGES
from comptroller.gateway.messages import messages_error
from comptroller.gateway.order import UpstreamRequest
from comptroller.gateway.problems import GatewayError, problem_of
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime, LiveStrategyRun
from comptroller.gateway.shapes import (
    EndpointShape,
    cost_document,
    cost_of,
    encode,
    number_or_none,
    pieces_of,
    strategy_reply,
    usage_document,
)
from comptroller.gateway.sse import comment
from comptroller.gateway.visit import ClientDisconnectError, HttpExchange
from comptroller.strategies.spelling import spell

Json = dict[str, Any]
log = logging.getLogger("comptroller.gateway")

PROGRESS_S = 1.0
"""How often a stream that waits for a strategy says so: often enough for proxies that cut connections without traffic
after some seconds, seldom enough to cost nothing."""
HEADERS = ("strategy", "budget", "class", "session", "question")
"""Options that may come as headers, `x-comptroller-...`, where the body has no field for them."""


class EndpointApplication:
    """The ASGI application behind the endpoints that spend something."""

    def __init__(self, gateway: GatewayRuntime) -> None:
        self.gateway = gateway

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request; whatever goes wrong is told in the endpoint's shape."""
        visit = HttpExchange(self.gateway, scope, receive, send)
        try:
            await self._serve(visit)
        except ClientDisconnectError:
            visit.status = visit.status or 499
        except asyncio.CancelledError:
            if not visit.gone:
                raise
            task = asyncio.current_task()
            if task is not None:
                task.uncancel()
            visit.status = 499
        except ComptrollerError as error:
            await refuse(visit, problem_of(error))
        except RecursionError:  # what could just be read may be too deep to be written from further down
            await refuse(visit, too_deep())
        finally:
            visit.unwatch()
            self.gateway.metrics.request(scope["path"], visit.status)

    async def _serve(self, visit: HttpExchange) -> None:
        gateway = self.gateway
        if not gateway.ready:
            raise GatewayError(503, "the gateway is starting or stopping", "not_ready", None, 1.0)
        caller = await gateway.admission.caller(visit.credential)
        data = await visit.body()
        gateway.admission.enter(caller)
        read = read_request(visit.scope["path"], data)
        visit.join_trace()
        options = _options(read.options, visit.headers)
        asked = GatewayRequest(
            read.path, read.body, len(data), options, caller, gateway.desk.books.new_id(), read.native
        )
        visit.watch()
        await gateway.contexts.apply(asked)
        if (job := gateway.run(asked)) is not None:
            await _StrategyResponder(visit, asked, read.shape, job).serve()
        else:
            await _PassthroughResponder(visit, asked, read.shape, gateway.order(asked)).serve()


def _options(given: RequestOptions | None, headers: Mapping[str, str]) -> RequestOptions:
    """The options of the body, and those of headers where the body has none.

    Raises:
        GatewayError: the label of the question is longer than the body's may be.
    """
    options = given or RequestOptions()
    for name in HEADERS:
        field = {"class": "klass"}.get(name, name)
        if (value := headers.get(f"x-comptroller-{name}")) and not getattr(options, field):
            setattr(options, field, value)
    if len(options.question) > MOST_QUESTION:
        raise GatewayError(400, f"x-comptroller-question: longer than {MOST_QUESTION} characters", "invalid_value")
    return options


class _Responder:
    """What both kinds of answers share: headers before, figures after."""

    def __init__(self, visit: HttpExchange, asked: GatewayRequest, shape: EndpointShape) -> None:
        self.visit, self.asked, self.shape, self.gateway = visit, asked, shape, visit.gateway
        self.predicted = visit.gateway.predicted(asked)
        self.found: list[str] = []
        self.strategy = ""

    @property
    def attempts(self) -> list[CallAttempt]:
        """Every call that is over."""
        raise NotImplementedError

    def head(self) -> dict[str, str]:
        """Headers that are known before the answer is."""
        made = self.visit.identity(self.asked.id) | {"x-comptroller-request": str(self.asked.id)}
        if self.strategy:
            made["x-comptroller-strategy"] = self.strategy
        for name, figure in self.predicted.items():
            if figure.get("low") is not None:
                made[f"x-comptroller-predicted-{name}"] = f"{figure['low']:.6g},{figure['high']:.6g}"
        return made

    def told(self) -> Json:
        """What was done and what it cost."""
        cost = cost_of(self.attempts)
        self.gateway.ended(self.asked, self.attempts, cost)
        for kind in self.found:
            self.gateway.metrics.guarded(kind)
        return {
            "request": str(self.asked.id),
            "strategy": self.strategy or None,
            "services": sorted({item.service.id for item in self.attempts}),
            "calls": len(self.attempts),
            "cost": cost_document(cost),
            "predicted": self.predicted or None,
            "guard": self.found,
        }

    async def whole(self, reply: Json) -> None:
        """The answer at once."""
        settled = self.told()
        cost = settled["cost"]
        spent = {f"x-comptroller-{name}": f"{cost[name]:.9g}" for name in ("usd", "j") if cost[name] is not None}
        headers = self.head() | spent | {"x-comptroller-calls": str(settled["calls"])}
        document = self.shape.whole(reply) | {"comptroller": settled}
        await self.visit.answer(200, encode(document), headers)

    async def begin(self) -> None:
        """Headers of a stream."""
        about = {"content-type": "text/event-stream; charset=utf-8", "cache-control": "no-cache"}
        await self.visit.start(200, about | self.head())


class _PassthroughResponder(_Responder):
    """A request that is answered as asked, by one service or its fallbacks."""

    def __init__(
        self, visit: HttpExchange, asked: GatewayRequest, shape: EndpointShape, order: UpstreamRequest
    ) -> None:
        super().__init__(visit, asked, shape)
        self.order = order

    @property
    def attempts(self) -> list[CallAttempt]:
        """Every call that is over."""
        return self.order.attempts

    async def serve(self) -> None:
        """Answers it."""
        if self.order.stream:
            await self._streamed()
        elif self.order.choices > 1 and self.order.services[0].config.single_choice:
            await self.whole(await self._one_by_one())
        else:
            reply, attempt = await self.gateway.desk.whole(self.order)
            if "usage" in reply:
                reply["usage"] = self._usage(attempt, reply["usage"])
            await self.whole(reply)

    def _usage(self, attempt: CallAttempt, said: Json | None) -> Json | None:
        """Usage as the client is told it: null where it is not believed; as the service said it, or, where the answer
        is put in other words than the service's, as it was understood."""
        if attempt.usage is None:
            return None
        return usage_document([attempt]) if self.shape.translates else said

    async def _one_by_one(self) -> Json:
        """n choices as n calls, for services that count the tokens of one."""
        count = self.order.choices
        if not isinstance(self.order.body.get("prompt", ""), str) or self.order.body.get("best_of"):
            raise GatewayError(400, "this service takes one prompt at a time, and no best_of", "unsupported", "n")
        seed = self.order.body.get("seed")
        orders = [self._single(number, seed) for number in range(count)]
        replies = await asyncio.gather(*(self.gateway.desk.whole(order) for order in orders))
        choices = [choice | {"index": at} for at, (reply, _) in enumerate(replies) for choice in reply["choices"]]
        return replies[0][0] | {"choices": choices, "usage": usage_document(self.attempts)}

    def _single(self, number: int, seed: int | None) -> UpstreamRequest:
        body = self.order.body | {"n": 1} | ({} if seed is None else {"seed": seed + number})
        call = replace(self.order.call, call=self.gateway.desk.books.new_id())
        return replace(self.order, body=body, call=call)

    async def _streamed(self) -> None:
        if self.order.choices > 1 and self.order.services[0].config.single_choice:
            raise GatewayError(400, f"{self.order.services[0].id} streams one choice at a time", "unsupported", "n")
        stream = await self.gateway.desk.stream(self.order)
        guard = OverflowGuard(self.gateway.config.guard, self.asked.options.stop_repetition)
        cut = False
        try:
            await self.begin()
            while not cut and (pieces := await stream.next()) is not None:
                if data := self.shape.events(pieces):
                    await self.visit.write(data)
                cut = guard.ends(pieces, stream.reading)
        except GatewayError as error:
            self.found = [guard.found] if guard.found else []
            self.told()
            await self.visit.write(self.shape.failed(error), more=False)
            return
        finally:
            await stream.close("length" if cut else "cancelled", guard.found)
        self.found = [guard.found] if guard.found else []
        usage = self._usage(stream.attempt, stream.reading.usage)
        await self.visit.write(self.shape.end(usage, self.told()), more=False)


class _StrategyResponder(_Responder):
    """A request that a strategy answers."""

    def __init__(self, visit: HttpExchange, asked: GatewayRequest, shape: EndpointShape, job: LiveStrategyRun) -> None:
        super().__init__(visit, asked, shape)
        self.job, self.strategy = job, spell(job.strategy)

    @property
    def attempts(self) -> list[CallAttempt]:
        """Every call that is over."""
        return self.job.world.attempts

    async def serve(self) -> None:
        """Answers it."""
        if self.asked.body.get("stream"):
            await self._streamed()
        else:
            await self.whole(await self._solved() | {"usage": usage_document(self.attempts)})

    async def _solved(self) -> Json:
        played = await play(self.job.drive, self.job.world)
        self.found = self.job.world.found
        answer = played.answer
        self.confidence = answer.confidence
        finish = answer.reply.finish if answer.reply is not None else "length"
        end = {"refused": "content_filter", "stop": "stop"}.get(finish, "length")
        return strategy_reply(self.asked.path, self.asked.model, str(self.asked.id), answer.content, end)

    def told(self) -> Json:
        """What was done, with how sure the strategy is and how its budget ended."""
        drive = self.job.drive
        sure = drive.answer.confidence if drive.answer is not None else float("nan")
        stop = self.job.world.record.stop
        ended = {"stopped": stop.document if stop is not None else None}
        about = {"confidence": number_or_none(sure), "budget_spent": drive.expired and stop is None}
        return super().told() | about | ended

    async def _streamed(self) -> None:
        await self.begin()
        work = asyncio.create_task(self._solved())
        try:
            while not work.done():
                await asyncio.wait({work}, timeout=PROGRESS_S)
                if not work.done():
                    await self.visit.write(comment(self._progress()))
            reply = work.result()
        except ComptrollerError as error:
            await self.visit.write(self.shape.failed(problem_of(error)), more=False)
            return
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
        reading = UpstreamStreamReader()
        pieces = [reading.read(data) for data in pieces_of(reply)]
        await self.visit.write(self.shape.events(pieces))
        await self.visit.write(self.shape.end(usage_document(self.attempts), self.told()), more=False)

    def _progress(self) -> str:
        drive = self.job.drive
        usd = cost_document(cost_of(self.attempts))["usd"]
        spent = "" if usd is None else f", ${usd:.6f}"
        return f"{self.strategy}: {len(drive.replies)} of {len(drive.asked)} calls{spent}"


async def refuse(visit: HttpExchange, problem: GatewayError) -> None:
    """A problem as an answer, or as the end of one that has begun."""
    if problem.status >= 500:
        log.warning("%s %s: %s", problem.status, visit.scope["path"], problem)
    try:
        if visit.status:
            await visit.write(b"", more=False)
        else:
            body = messages_error(problem) if visit.scope["path"] == MESSAGES else problem.body
            await visit.answer(problem.status, body, problem.headers)
    except ClientDisconnectError:
        visit.status = visit.status or 499

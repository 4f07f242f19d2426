"""A service that misbehaves as it is told by the name of the model: a real server on a real socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from aiohttp import web

WORDS = ["Grüße", " aus", " 東京", " 🙂", " und", " Köln"]
USAGE = {"prompt_tokens": 11, "completion_tokens": len(WORDS), "total_tokens": 11 + len(WORDS)}


def whole(model: str, usage: Any, n: int = 1, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": "".join(WORDS)}
    choices = [{"index": at, "finish_reason": finish, "message": message} for at in range(n)]
    reply = {"id": "same", "object": "chat.completion", "created": 1, "model": model, "choices": choices}
    return reply if usage is None else reply | {"usage": usage}


def chunk(delta: Any = None, finish: str | None = None, **about: Any) -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    head = {"id": "", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": choices}
    return head | about


def event(document: Any) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False).encode() + b"\n\n"


class Upstream:
    """seen: bodies by model.  stopped: streams whose client left before the end.  released: `slowly` may go on.
    asleep: models that answer once they are released.  replies: model -> status and document of its whole reply.
    events: model -> documents of its stream.
    """

    def __init__(self) -> None:
        self.seen: dict[str, list[dict[str, Any]]] = {}
        self.headers: list[dict[str, str]] = []
        self.stopped: Counter[str] = Counter()
        self.tries: Counter[str] = Counter()
        self.released = threading.Event()
        self.asleep: set[str] = set()
        self.replies: dict[str, tuple[int, Any]] = {}
        self.events: dict[str, list[Any]] = {}
        self.url = ""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = body["model"]
        self.seen.setdefault(model, []).append(body)
        self.headers.append(dict(request.headers))
        self.tries[model] += 1
        refused = await self._refused(model)
        if refused is not None:
            return refused
        if body.get("stream"):
            return await self._stream(request, model, body)
        n = body.get("n") or 1
        usage = {"no_usage": None, "zero_usage": USAGE | {"prompt_tokens": 0, "completion_tokens": 0}}
        if model == "one_of_n":
            return web.json_response(whole(model, USAGE | {"completion_tokens": 8}, n, "length"))
        if model == "garbage":
            return web.Response(text="<html>busy</html>", content_type="application/json")
        if model == "drops":
            assert request.transport is not None
            request.transport.close()
        if model == "tools":
            return web.json_response(self._tools(body))
        return web.json_response(whole(model, usage.get(model, USAGE), n))

    async def _refused(self, model: str) -> web.Response | None:
        if model == "busy" or (model == "busy_once" and self.tries[model] == 1):
            headers = {"retry-after": "0"} if model == "busy_once" else {"retry-after": "60"}
            error = {"message": "slow down", "type": "rate_limit_error", "code": "rate_limit_exceeded"}
            return web.json_response({"error": error}, status=429, headers=headers)
        if model == "broken" or (model == "broken_once" and self.tries[model] == 1):
            return web.Response(status=500, text="oops")
        if model == "too_long":
            error = {"message": "9000 tokens exceed the context of 8192", "code": "context_length_exceeded"}
            return web.json_response({"error": error}, status=400)
        while model in self.asleep and not self.released.is_set():
            await asyncio.sleep(0.01)
        if model == "hangs":
            await asyncio.sleep(3600)
        if model in self.replies:
            status, document = self.replies[model]
            return web.json_response(document, status=status)
        return None

    @staticmethod
    def _tools(body: dict[str, Any]) -> dict[str, Any]:
        function = {"name": body["tools"][0]["function"]["name"], "arguments": '{"city": "Köln"}'}
        message = {"role": "assistant", "content": None, "tool_calls": [
            {"id": "call_1", "type": "function", "function": function}]}  # fmt: skip
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message}
        return whole("tools", USAGE) | {"choices": [choice]}

    async def _stream(self, request: web.Request, model: str, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        try:
            await self._events(request, response, model, body)
        except (ConnectionError, asyncio.CancelledError):
            self.stopped[model] += 1
            raise
        return response

    async def _events(
        self, request: web.Request, response: web.StreamResponse, model: str, body: dict[str, Any]
    ) -> None:
        write = response.write
        if model in self.events:
            await write(b"".join(map(event, self.events[model])) + b"data: [DONE]\n\n")
            return
        work: Callable[..., Awaitable[None]] | None = getattr(self, f"_{model}", None)
        if work is not None:
            await work(request, write, body)
            return
        for word in WORDS:
            await write(event(chunk({"content": word})))
        end = chunk({}, "stop")
        if model == "late_usage":  # usage in the last chunk that has choices
            await write(event(end | {"usage": USAGE}))
        else:
            await write(event(end))
        if model == "zero_usage":
            await write(event(chunk(usage=USAGE | {"completion_tokens": 0, "prompt_tokens": 0})))
        elif model not in ("no_usage", "late_usage"):
            await write(event(chunk(usage=USAGE)))
        if model != "no_done":
            await write(b"data: [DONE]\n\n")

    async def _drops(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        for word in WORDS[:3]:
            await write(event(chunk({"content": word})))
        assert request.transport is not None
        request.transport.abort()

    async def _ends_early(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        for word in WORDS[:3]:
            await write(event(chunk({"content": word})))

    async def _split(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        """Every byte by itself, comments and carriage returns among the events."""
        told = [*(event(chunk({"content": word})) for word in WORDS), event(chunk({}, "stop"))]
        data = b": ping\r\n\r\n" + b"".join(told).replace(b"\n", b"\r\n") + event(chunk(usage=USAGE))
        for at in range(len(data)):
            await write(data[at : at + 1])
            if at % 8 == 0:
                await asyncio.sleep(0)
        await write(b"data: [DONE]\n\n")

    async def _endless(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        """A word every few milliseconds for ever, with running usage if asked."""
        for number in count():
            told = {}
            if (body.get("stream_options") or {}).get("continuous_usage_stats"):
                told = {"usage": {"prompt_tokens": 11, "completion_tokens": number + 1, "total_tokens": 12 + number}}
            await write(event(chunk({"content": f" {number}"}, **told)))
            await asyncio.sleep(0.005)

    async def _slowly(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        """Its first word, and the others once it is released."""
        await write(event(chunk({"content": WORDS[0]})))
        while not self.released.is_set():
            await asyncio.sleep(0.01)
        for word in WORDS[1:]:
            await write(event(chunk({"content": word})))
        await write(event(chunk({}, "stop")) + event(chunk(usage=USAGE)) + b"data: [DONE]\n\n")

    async def _firehose(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        """As fast as the other end takes it, for ever."""
        data = event(chunk({"content": "x" * 4000}))
        while True:
            await write(data)

    async def _loops(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        for _ in range(2000):
            await write(event(chunk({"content": "Wait, no. "})))
            await asyncio.sleep(0.001)

    async def _stalls(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        await write(event(chunk({"content": "Once"})))
        await asyncio.sleep(3600)

    async def _torn(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        await write(event(chunk({"content": "Once"})))
        await write(b'data: {"choices": [{"index": 0, "delta": \n\n')

    async def _error_event(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        await write(event(chunk({"content": "Once"})))
        await write(event({"error": {"message": "out of memory", "type": "server_error", "code": 500}}))

    async def _tools_stream(self, request: web.Request, write: Any, body: dict[str, Any]) -> None:
        for part in ('{"city"', ': "Köln"}'):
            call = {"index": 0, "function": {"arguments": part}}
            if part[0] == "{":
                call |= {"id": "call_1", "type": "function"}
                call["function"] = {"name": "weather", "arguments": part}
            await write(event(chunk({"tool_calls": [call]})))
        await write(event(chunk({}, "tool_calls")) + event(chunk(usage=USAGE)) + b"data: [DONE]\n\n")

    async def embed(self, request: web.Request) -> web.Response:
        body = await request.json()
        row = {"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return web.json_response({"object": "list", "data": [row], "model": body["model"], "usage": usage})

    async def complete(self, request: web.Request) -> web.Response:
        body = await request.json()
        self.seen.setdefault(body["model"], []).append(body)
        choice = {"index": 0, "finish_reason": "stop", "text": "".join(WORDS)}
        reply = {"id": "c", "object": "text_completion", "created": 1, "model": body["model"]}
        return web.json_response(reply | {"choices": [choice], "usage": USAGE})


@contextmanager
def upstream(service: Upstream | None = None) -> Iterator[Upstream]:
    """A server in a thread of its own."""
    made = service or Upstream()
    loop = asyncio.new_event_loop()
    ready = threading.Event()

    async def start() -> web.AppRunner:
        application = web.Application(client_max_size=2**26)
        for path in ("/v1/chat/completions", "/v1/messages"):
            application.router.add_post(path, made.chat)
        application.router.add_post("/v1/completions", made.complete)
        application.router.add_post("/v1/embeddings", made.embed)
        runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=lambda: (ready.set(), loop.run_forever()), daemon=True)
    thread.start()
    ready.wait()
    try:
        yield made
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()

"""One request of a client: what came, and the way back to it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.types import Receive, Scope, Send

from comptroller.gateway.admission import credential
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.gateway.trace_context import REQUEST_ID, TRACE, TRACEPARENT, request_id, trace_headers


class ClientDisconnectError(Exception):
    """The client left, or reads no more."""


class HttpExchange:
    """One request at one endpoint: what came, and the way back."""

    def __init__(self, gateway: GatewayRuntime, scope: Scope, receive: Receive, send: Send) -> None:
        self.gateway, self.scope, self._receive, self._send = gateway, scope, receive, send
        self.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        self.status = 0
        self._watch: asyncio.Task[None] | None = None
        self.gone = False

    @property
    def credential(self) -> str:
        """The key that came with it."""
        return credential(self.headers)

    def join_trace(self) -> None:
        """What is called for it from now on belongs to the caller's trace."""
        TRACE.set(trace_headers(self.headers))

    def identity(self, own: int) -> dict[str, str]:
        """Headers by which the caller finds it again: its id of the request, else ours, and its trace."""
        trace = {name: value for name, value in TRACE.get().items() if name == TRACEPARENT}
        return {REQUEST_ID: request_id(self.headers, own)} | trace

    async def body(self) -> bytes:
        """The body.

        Raises:
            GatewayError: too long, or said to be no JSON.
        """
        most, kind = self.gateway.config.max_body_bytes, self.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != "application/json":  # what a page may send unasked is another
            said = f"not {kind[:80]}" if kind else "and say so in content-type"
            raise GatewayError(415, f"send application/json, {said}", "unsupported_media_type")
        data = bytearray()
        while True:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientDisconnectError
            data += message.get("body", b"")
            if len(data) > most:
                raise GatewayError(413, f"the body is longer than {most} bytes", "too_large")
            if not message.get("more_body"):
                return bytes(data)

    def watch(self) -> None:
        """From now on, the client's leaving cancels the task that serves it."""
        task = asyncio.current_task()
        assert task is not None
        self._watch = asyncio.create_task(self._left(task))

    async def _left(self, task: asyncio.Task[Any]) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        task.cancel()

    def unwatch(self) -> None:
        """The answer is on its way."""
        if self._watch is not None:
            self._watch.cancel()

    async def start(self, status: int, headers: Mapping[str, str]) -> None:
        """Status and headers."""
        self.status = status
        made = [(name.encode(), str(value).encode("latin-1", "replace")) for name, value in headers.items()]
        await self._put({"type": "http.response.start", "status": status, "headers": made})

    async def write(self, data: bytes, more: bool = True) -> None:
        """A part of the body; waits while the client reads slowly, but not for ever."""
        await self._put({"type": "http.response.body", "body": data, "more_body": more})

    async def _put(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self.gateway.config.send_s):
                await self._send(message)
        except (TimeoutError, OSError) as error:
            raise ClientDisconnectError from error

    async def answer(self, status: int, data: bytes, headers: Mapping[str, str]) -> None:
        """A whole answer."""
        about = {"content-type": "application/json", "content-length": str(len(data)), **headers}
        await self.start(status, about)
        await self.write(data, more=False)

"""Connections before any request is known: how many, how large and how slow headers and bodies may be.

All of it holds before a key is checked, since a stranger needs none to connect.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from comptroller.gateway.config import GatewayConfig
from comptroller.gateway.problems import GatewayError

FILES_PER_CALL = 2
"""Open files of a request: its connection, and that to a service. At twice it half as many clients are let in."""


MOST_FIELDS = 256
"""Headers of a request: clients send some twenty, proxies add as many. 16,000 empty ones, which fit into the bytes that
are let in, took 0.2 s of the only event loop. At twice it a request without a key costs twice the time."""


class BoundedHttpConnection(HttpToolsProtocol):
    """uvicorn's connection, which ends where headers are too large, or headers or a body come too slowly."""

    limits: GatewayConfig
    most: int
    _head_bytes = 0
    _in_head = True
    _refusal: GatewayError | None = None
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Lets it in, or turns it away where too many are open."""
        super().connection_made(transport)
        if len(self.connections) > self.most:
            self._end(GatewayError(503, f"{self.most} connections are open; come again later", "busy", None, 1.0))
            return
        self._within(self.limits.header_s, "the headers")

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing more comes."""
        self._stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Reads a piece, unless the headers it belongs to are too large."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._in_head and not self.transport.is_closing():
            self._head_bytes += len(data)
            if self._head_bytes > self.limits.max_header_bytes:
                most = self.limits.max_header_bytes
                self._end(GatewayError(431, f"the headers are longer than {most} bytes", "too_large"))

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._head_bytes, self._in_head = 0, True
        self._within(self.limits.header_s, "the headers")

    def send_400_response(self, msg: str) -> None:
        """What cannot be read as HTTP, or was refused while it was read."""
        if self._refusal is None:
            super().send_400_response(msg)
        else:
            self._end(self._refusal)

    def on_headers_complete(self) -> None:
        """Its headers are there, unless there are too many."""
        self._in_head = False
        if len(self.headers) > MOST_FIELDS:
            self._refusal = GatewayError(431, f"there are more than {MOST_FIELDS} headers", "too_large")
            raise self._refusal  # ends the parser, which answers by `send_400_response`
        self._within(self.limits.body_s, "the body")
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """It is there as a whole."""
        self._stop()
        super().on_message_complete()

    def _within(self, seconds: float, what: str) -> None:
        self._stop()
        late = GatewayError(408, f"{what} did not come within {seconds:g} s", "too_slow")
        self._timer = self.loop.call_later(seconds, self._end, late)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self, problem: GatewayError) -> None:
        """Tells why and hangs up; an answer that has begun is not written into."""
        self._stop()
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            body = msgspec.json.encode(problem.document)
            about = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            self.transport.write(f"HTTP/1.1 {problem.status} Refused\r\n{about}".encode() + body)
        self.transport.close()


def bounded_connection(config: GatewayConfig) -> type[BoundedHttpConnection]:
    """The connection with a gateway's limits: as many as are configured, and as the system has files for."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    room = config.max_connections if files == resource.RLIM_INFINITY else max(1, files // FILES_PER_CALL)
    made: dict[str, Any] = {"limits": config, "most": min(config.max_connections, room)}
    return type("BoundedHttpConnection", (BoundedHttpConnection,), made)

"""A service that answers at once, as cheaply as Python can: what gateways are measured against.

`python benchmarks/gateway_backend.py PORT`. A chat gets 291 bytes of JSON, or 21 words as events, each written by
itself, a finish reason, usage and [DONE].
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

USAGE = {"prompt_tokens": 12, "completion_tokens": 21, "total_tokens": 33}
WORDS = 21


def _event(document: object) -> bytes:
    data = b"data: " + (document if isinstance(document, bytes) else json.dumps(document).encode()) + b"\n\n"
    return b"%x\r\n%b\r\n" % (len(data), data)


def _chunk(choices: list[object], **about: object) -> dict[str, object]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "fake"}
    return head | {"choices": choices} | about


def whole() -> bytes:
    """The reply as JSON."""
    message = {"role": "assistant", "content": "The quick brown fox jumps over the lazy dog, again."}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    head = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "fake"}
    body = json.dumps(head | {"choices": [choice], "usage": USAGE}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


def streamed() -> list[bytes]:
    """The reply as events."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    deltas = [{"index": 0, "delta": {"content": f" word{n}"}, "finish_reason": None} for n in range(WORDS)]
    events = [_event(_chunk([delta])) for delta in deltas]
    events.append(_event(_chunk([{"index": 0, "delta": {}, "finish_reason": "stop"}])))
    return [head, *events, _event(_chunk([], usage=USAGE)), _event(b"[DONE]"), b"0\r\n\r\n"]


WHOLE, STREAMED = whole(), streamed()


class Fake(asyncio.Protocol):
    """Reads requests by their content-length."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._out: asyncio.Transport = transport  # type: ignore[assignment]
        self._in = b""

    def data_received(self, data: bytes) -> None:
        self._in += data
        while (end := self._in.find(b"\r\n\r\n")) >= 0:
            head = self._in[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._in) < end + 4 + length:
                return
            body, self._in = self._in[end + 4 : end + 4 + length], self._in[end + 4 + length :]
            if b'"stream":true' in body.replace(b" ", b""):
                for part in STREAMED:
                    self._out.write(part)
            else:
                self._out.write(WHOLE)


async def main(port: int) -> None:
    """Serves for ever."""
    server = await asyncio.get_running_loop().create_server(Fake, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1])))

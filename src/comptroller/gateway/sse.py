"""Server-sent events: read from any pieces of bytes, and written."""

from __future__ import annotations

from collections.abc import Iterable

from comptroller.errors import InputError

DONE = b"[DONE]"
MOST_BYTES = 16 * 2**20
"""The longest event that is read: far above any event of a token; without it a broken service would fill the
memory."""


class SseEventParser:
    """Reads events from bytes as they come; a character or a line end may be split between two pieces.

    >>> events = SseEventParser()
    >>> events.feed(b": ping\\n\\ndata: {\\"a\\"")
    []
    >>> events.feed(b":1}\\r\\n\\r\\n")
    [b'{"a":1}']
    """

    def __init__(self) -> None:
        self._rest = b""
        self._return = False

    def feed(self, piece: bytes) -> list[bytes]:
        """The data of the events that are complete now; comments and other fields are left out.

        Raises:
            InputError: an event is longer than any that is read.
        """
        if self._return or b"\r" in piece:
            piece = self._unix(piece)
        whole, separator, remainder = (self._rest + piece).rpartition(b"\n\n")
        if len(remainder) > MOST_BYTES:
            raise InputError(f"an event of more than {MOST_BYTES} bytes")
        self._rest = remainder
        return [data for data in map(_data, whole.split(b"\n\n")) if data] if separator else []

    def _unix(self, piece: bytes) -> bytes:
        """Line ends as newlines; a carriage return at the very end waits for what follows."""
        if self._return:
            piece = b"\r" + piece
        self._return = piece.endswith(b"\r")
        if self._return:
            piece = piece[:-1]
        return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    @property
    def torn(self) -> bool:
        """Whether the stream ended inside an event."""
        return b"data:" in self._rest


def _data(event: bytes) -> bytes:
    if event.startswith(b"data: ") and b"\n" not in event:
        return event[6:]
    lines = (line[5:].removeprefix(b" ") for line in event.split(b"\n") if line.startswith(b"data:"))
    return b"\n".join(lines)


def encode_events(payloads: Iterable[bytes]) -> bytes:
    """Events of these data.

    >>> encode_events([b"1", DONE])
    b'data: 1\\n\\ndata: [DONE]\\n\\n'
    """
    return b"".join([b"data: %b\n\n" % payload for payload in payloads])


def encode_named_event(name: str, payload: bytes) -> bytes:
    """One event with a name, as /v1/responses sends them."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), payload)


def comment(text: str) -> bytes:
    """A comment, which clients pass over: a sign of life.

    >>> comment("2 of 8")
    b': 2 of 8\\n\\n'
    """
    return b": %b\n\n" % text.replace("\n", " ").encode()

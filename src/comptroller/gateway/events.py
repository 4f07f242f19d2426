"""Reading a stream: what arrived, how it ended, what the service says it used."""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from comptroller.gateway.formats import StreamChunk, read_chunk
from comptroller.gateway.problems import UpstreamError
from comptroller.gateway.tariff import usage_from_timings
from comptroller.strategies.protocol import Finish

Json = dict[str, Any]

FINISH: dict[str, Finish] = {"length": "length", "content_filter": "refused"}
"""OpenAI's finish_reason -> ours; all others came to their own end."""


class UpstreamEvent(NamedTuple):
    """An event as it came, and as it was read."""

    data: bytes
    chunk: StreamChunk


class UpstreamStreamReader:
    """What a stream has told so far.

    counted: events that brought a token or more.  usage: the last that was reported.  finish: empty while it runs.
    tier: the service tier that it says it was served in.  native: whether the service's own events come with a chat's;
    a field of that name in another service's event is nobody's.
    """

    __slots__ = ("_native", "counted", "finish", "reasoned", "tier", "timings", "usage")

    def __init__(self, native: bool = False) -> None:
        self._native = native
        self.counted = self.reasoned = 0
        self.usage: Json | None = None
        self.timings: Json | None = None
        self.finish: Finish | None = None
        self.tier: Any = None

    def read(self, data: bytes) -> UpstreamEvent:
        """Takes note of an event.

        Raises:
            UpstreamError: it is not JSON, or is an error.
        """
        try:
            chunk = read_chunk(data)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise UpstreamError(
                502, f"the service sent an event that cannot be read: {error}", billable=True
            ) from error
        if chunk.error:
            raise _error(chunk.error)
        for choice in chunk.choices:
            self._count(choice)
        if chunk.timings is not None:
            self.timings = chunk.timings
            self.usage = usage_from_timings(chunk.timings) or self.usage
        if chunk.usage is not None:
            self.usage = chunk.usage
        self.tier = chunk.service_tier or self.tier
        if not self._native:
            chunk.native = None
        return UpstreamEvent(data, chunk)

    def _count(self, choice: Any) -> None:
        delta = choice.delta
        if choice.text or (delta is not None and (delta.content or delta.refusal or _calls(delta.tool_calls))):
            self.counted += 1
        elif delta is not None and (delta.reasoning_content or delta.reasoning):
            self.counted += 1
            self.reasoned += 1
        if choice.finish_reason:
            finish = FINISH.get(choice.finish_reason, "stop")
            self.finish = "length" if "length" in (self.finish, finish) else finish


def _calls(calls: list[Json] | None) -> bool:
    """Whether a tool call grew: its name or a piece of its arguments came."""
    functions = [call.get("function") for call in calls or ()]
    return any(isinstance(one, dict) and (one.get("name") or one.get("arguments")) for one in functions)


def _error(said: Any) -> UpstreamError:
    """An error that came as an event."""
    about = said if isinstance(said, dict) else {"message": str(said)}
    code = about.get("code")
    status = code if isinstance(code, int) and 400 <= code < 600 else 502
    message = str(about.get("message", "the service reported an error"))
    return UpstreamError(status, message, {"error": about}, billable=True)

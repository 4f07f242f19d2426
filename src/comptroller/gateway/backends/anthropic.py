"""Anthropic's Messages API, spoken to in its own words: https://api.anthropic.com/v1."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec
from msgspec.structs import replace

from comptroller.gateway.backends.openai import OpenaiBackend
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.messages_upstream import MessagesEventReader, chat_reply, messages_request
from comptroller.gateway.problems import UpstreamError

Json = dict[str, Any]
VERSION = "2023-06-01"
"""`anthropic-version`: the one that its documentation names."""
LONGEST = 8192
"""Tokens of a generation where nothing says otherwise, for the API needs a number. Most of its models make as many; at
twice it some refuse."""


class AnthropicBackend(OpenaiBackend):
    """A client of the Messages API. A request that came to /v1/messages goes on as it came, with its hints for the
    cache, thoughts and their signatures; a chat is translated."""

    speaks_messages = True

    @staticmethod
    def filled(config: ServiceConfig) -> ServiceConfig:
        """It has chats of one choice, always with a cap."""
        most = config.max_output_tokens or LONGEST
        dialect = "anthropic" if config.dialect == "compatible" else config.dialect
        return replace(config, single_choice=True, endpoints=("chat",), max_output_tokens=most, dialect=dialect)

    def headers(self) -> dict[str, str]:
        """The key in Anthropic's header, and the version of the API."""
        key = {"x-api-key": secret} if (secret := self.secret()) else {}
        return {"content-type": "application/json", "anthropic-version": VERSION} | key

    def headers_for(self, body: Json) -> dict[str, str]:
        """Parts of the API that a request uses and that must be asked for: none of them is billed apart."""
        turns = body.get("messages") or ()
        system = any(isinstance(turn, dict) and turn.get("role") == "system" for turn in turns)
        used = {
            "context-management-2025-06-27": "context_management" in body,
            "mid-conversation-system-2026-04-07": system,
        }
        betas = ",".join(name for name, needed in used.items() if needed)
        return {"anthropic-beta": betas} if betas else {}

    async def send(self, path: str, body: Json) -> Json:
        """A whole reply."""
        native = "native" in body
        message = await super().send("messages", self._request(body))
        if message.get("type") != "message":
            raise UpstreamError(502, f"{self.name} answered without a message", billable=True, again=False)
        return chat_reply(message, native)

    async def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        """The reply's events as those of a chat."""
        reader = MessagesEventReader(str(body.get("model")), "native" in body)
        events = super().stream("messages", self._request(body | {"stream": True}))
        try:
            async for payloads in events:
                chunks = [chunk for data in payloads if (chunk := reader.chunk(self._event(data))) is not None]
                if chunks:
                    yield [msgspec.json.encode(chunk) for chunk in chunks]
        finally:
            await events.aclose()  # type: ignore[attr-defined]

    def _request(self, body: Json) -> Json:
        return messages_request(body, self.config.max_output_tokens or LONGEST)

    def _event(self, data: bytes) -> Json:
        try:
            event = msgspec.json.decode(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UpstreamError(502, f"{self.name} sent an odd event: {error}", billable=True) from error
        if not isinstance(event, dict):
            raise UpstreamError(502, f"{self.name} sent an event that is no JSON object", billable=True)
        return event

    async def count_tokens(self, body: Json) -> int | None:
        """Tokens of a prompt, as the API counts them."""
        asked = self._request(body)
        kept = ("model", "messages", "system", "tools", "tool_choice", "thinking")
        told = await super().send("messages/count_tokens", {name: asked[name] for name in kept if name in asked})
        count = told.get("input_tokens")
        return count if isinstance(count, int) else None

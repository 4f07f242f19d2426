"""Anthropic's API as a service: chats are translated, its own requests go on as they came, both are priced alike."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from aiohttp import web

from comptroller.gateway.messages_upstream import MessagesEventReader, chat_reply, messages_request
from comptroller.gateway.problems import UpstreamError
from gateway_houses import rows, running

USAGE = {
    "input_tokens": 200, "cache_read_input_tokens": 2000, "cache_creation_input_tokens": 400, "output_tokens": 10,
    "cache_creation": {"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 0},
    "service_tier": "standard", "inference_geo": "not_available",
}  # fmt: skip
THOUGHT = {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}
USE = {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}}
MESSAGE = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude", "stop_reason": "tool_use",
    "stop_sequence": None, "content": [THOUGHT, {"type": "text", "text": "Look."}, USE], "usage": USAGE,
}  # fmt: skip
TOOL: Any = {"name": "weather", "input_schema": {"type": "object"}}
FUNCTION: Any = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
CACHED = {"type": "text", "text": "Long.", "cache_control": {"type": "ephemeral"}}
PRICE = {"input": "1", "output": "2", "cached": "0.10", "cache_write": "1.25"}
DUE_PUSD = 200 * 10**6 + 2000 * 10**5 + 400 * 1_250_000 + 10 * 2 * 10**6


def events() -> list[dict[str, Any]]:
    def block(at: int, empty: Any, *deltas: Any) -> list[dict[str, Any]]:
        grown = [{"type": "content_block_delta", "index": at, "delta": delta} for delta in deltas]
        begun = {"type": "content_block_start", "index": at, "content_block": empty}
        return [begun, *grown, {"type": "content_block_stop", "index": at}]

    start = MESSAGE | {"content": [], "stop_reason": None, "usage": USAGE | {"output_tokens": 1}}
    thinking = {"type": "thinking_delta", "thinking": "Hm."}
    signed = {"type": "signature_delta", "signature": "c2ln"}
    return [
        {"type": "message_start", "message": start}, {"type": "ping"},
        *block(0, THOUGHT | {"thinking": "", "signature": ""}, thinking, signed),
        *block(1, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Look."}),
        *block(2, USE | {"input": {}}, {"type": "input_json_delta", "partial_json": '{"city": "Köln"}'}),
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 10}},
        {"type": "message_stop"},
    ]  # fmt: skip


class Claude:
    """A server of the Messages API. seen: bodies with their path and headers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, Any], dict[str, str]]] = []

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.seen.append((request.path, body, dict(request.headers)))
        if request.path.endswith("count_tokens"):
            return web.json_response({"input_tokens": 17})
        if request.path == "/tokenize":
            return web.json_response({"count": 23, "max_model_len": 100, "tokens": []})
        if body["model"] == "busy":
            error = {"type": "overloaded_error", "message": "busy with key sk-secret"}
            return web.json_response({"type": "error", "error": error}, status=529)
        if not body.get("stream"):
            return web.json_response(MESSAGE)
        told = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events())
        return web.Response(text=told, content_type="text/event-stream")


@asynccontextmanager
async def served(tmp_path: Path, **services: Any) -> AsyncIterator[tuple[Claude, Any]]:
    claude, app = Claude(), web.Application()
    app.router.add_route("POST", "/{path:.*}", claude.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    about = {"backend": "anthropic", "url": url, "price": PRICE, "context_tokens": 8192, "attempts": 1}
    document = {"services": {name: about | more for name, more in services.items()}, "port": 0}
    try:
        async with running(document | {"books": str(tmp_path / "books.sqlite")}) as house:
            yield claude, house
    finally:
        await runner.cleanup()


def test_a_chat_is_translated_answered_streamed_and_priced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAUDE_KEY", "sk-secret")

    async def work() -> None:
        async with served(tmp_path, claude={"key_env": "CLAUDE_KEY"}, busy={"key_env": "CLAUDE_KEY"}) as (
            claude,
            house,
        ):
            client = house.client()
            turns: Any = [
                {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"},
                {"role": "assistant", "tool_calls": [
                    {"id": "t0", "type": "function", "function": {"name": "weather", "arguments": "{}"}}]},
                {"role": "tool", "tool_call_id": "t0", "content": "sunny"},
            ]  # fmt: skip
            ask: Any = {"model": "claude", "messages": turns, "tools": [FUNCTION], "max_tokens": 50, "stop": "X"}
            said = await client.chat.completions.create(**ask, reasoning_effort="low", parallel_tool_calls=False)
            assert said.choices[0].finish_reason == "tool_calls" and said.choices[0].message.content == "Look."
            assert said.choices[0].message.tool_calls[0].function.arguments == '{"city":"Köln"}'
            assert said.usage.prompt_tokens == 2600 and said.usage.prompt_tokens_details.cached_tokens == 2000
            path, body, headers = claude.seen[-1]
            assert path == "/v1/messages" and headers["x-api-key"] == "sk-secret" and headers["anthropic-version"]
            assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
            assert (
                body["messages"][2]["content"][0]["type"] == "tool_result" and body["system"][0]["text"] == "Be brief."
            )
            assert body["stop_sequences"] == ["X"] and body["output_config"] == {"effort": "low"}
            assert (
                body["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": True} and body["max_tokens"] == 50
            )
            chunks = [chunk async for chunk in await client.chat.completions.create(**ask, stream=True)]
            assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "Look."
            assert chunks[-1].usage.completion_tokens == 10
            with pytest.raises(openai.InternalServerError) as busy:
                await client.chat.completions.create(model="busy", messages=turns, max_tokens=5)
            assert "sk-secret" not in str(busy.value)

    asyncio.run(work())
    booked = [row["pusd"] for row in rows(tmp_path / "books.sqlite")]
    assert booked[:2] == [DUE_PUSD, DUE_PUSD]


def test_requests_of_its_own_go_on_as_they_came(tmp_path: Path) -> None:
    """With hints for the cache, thoughts and their signatures, by Anthropic's own client, whole and streamed."""
    anthropic = pytest.importorskip("anthropic", reason="no Anthropic SDK: pip install anthropic")

    async def work() -> None:
        async with served(tmp_path, claude={"max_output_tokens": 40}) as (claude, house):
            client = anthropic.AsyncAnthropic(base_url=house.url, api_key="none", max_retries=0)
            turns = [
                {"role": "user", "content": [CACHED]}, {"role": "assistant", "content": [THOUGHT, USE]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
            ]  # fmt: skip
            thinking = {"type": "enabled", "budget_tokens": 1024}
            ask = {"model": "claude", "max_tokens": 50, "messages": turns, "tools": [TOOL], "thinking": thinking}
            said = await client.messages.create(**ask)
            async with client.messages.stream(**ask) as stream:
                streamed = await stream.get_final_message()
            for message in (said, streamed):
                assert message.content[0].signature == "c2ln" and message.content[2].input == {"city": "Köln"}
                assert message.stop_reason == "tool_use" and message.usage.cache_read_input_tokens == 2000
                assert message.model == "claude"
            assert all(body["messages"] == turns and body["thinking"] == thinking for _, body, _ in claude.seen)
            assert [body["max_tokens"] for _, body, _ in claude.seen] == [40, 40], "the cap is the operator's"
            assert (await client.messages.count_tokens(model="claude", messages=turns[:1])).input_tokens == 17
            edits = {"edits": [{"type": "clear_thinking_20251015"}]}
            turns = [*turns, {"role": "system", "content": "Now in German."}]
            await client.messages.create(**ask | {"messages": turns}, extra_body={"context_management": edits})
            _, body, headers = claude.seen[-1]
            assert body["context_management"] == edits and body["messages"] == turns
            wanted = "context-management-2025-06-27,mid-conversation-system-2026-04-07"
            assert headers["anthropic-beta"] == wanted and "anthropic-beta" not in claude.seen[0][2]

    asyncio.run(work())
    assert [row["pusd"] for row in rows(tmp_path / "books.sqlite")] == [DUE_PUSD] * 3


def test_tokens_are_counted_by_the_service_where_it_can(tmp_path: Path) -> None:
    async def work() -> None:
        vllm = {"backend": "openai", "dialect": "vllm"}
        others: Any = served(tmp_path, vllm=vllm, other={"backend": "openai"})
        async with others as (claude, house), aiohttp.ClientSession() as session:

            async def count(model: str, **about: Any) -> tuple[int, Any]:
                body = {"model": model, "messages": [{"role": "user", "content": "Where?"}]} | about
                async with session.post(f"{house.url}/v1/messages/count_tokens", json=body) as answer:
                    return answer.status, await answer.json()

            assert await count("vllm") == (200, {"input_tokens": 23, "comptroller": {"counted_by": "vllm"}})
            status, told = await count("other")
            assert status == 200 and told["comptroller"] == {"counted_by": "bytes over four"}
            assert [path for path, _, _ in claude.seen] == ["/tokenize"]
            status, told = await count("nothing")
            assert status == 404 and told["type"] == "error"
            assert (await count("other", messages=5))[0] == 400

    asyncio.run(work())
    assert rows(tmp_path / "books.sqlite") == []


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"logit_bias": {"1": 2}}, "logit_bias: Anthropic's API has no such field"),
        ({"logprobs": True}, "logprobs"),
        ({"reasoning_effort": "minimal"}, "reasoning_effort: one of low"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"service_tier": "flex"}, "service_tier"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, r"messages\[0\].content\[0\]"),
        ({"messages": [{"role": "judge", "content": "x"}]}, r"messages\[0\].role"),
        ({"messages": []}, "messages"),
    ],
)
def test_what_the_api_has_not_is_refused_by_name(about: dict[str, Any], named: str) -> None:
    with pytest.raises(UpstreamError, match=named) as refused:
        messages_request({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "x"}]} | about, 8)
    assert refused.value.status == 400 and not refused.value.transient and not refused.value.billable


@pytest.mark.parametrize("odd", [None, 5, "x", [], [5], {"type": 5}, {"usage": [1]}, {"content": {"a": 1}}])
def test_odd_replies_and_events_are_read_without_a_fault(odd: Any) -> None:
    message = odd if isinstance(odd, dict) else {"content": odd, "usage": odd, "stop_reason": odd}
    assert chat_reply(message, False)["usage"] is None
    reader = MessagesEventReader("m", False)
    for kind in ("message_start", "content_block_start", "content_block_delta", "message_delta", "ping", odd):
        reader.chunk({"type": kind, "index": odd, "message": odd, "content_block": odd, "delta": odd, "usage": odd})

"""/v1/messages: what Anthropic's API asks, over services of chat, with its own client where it is installed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.gateway.formats import MessagesRequest, convert
from comptroller.gateway.messages import messages_as_chat
from comptroller.gateway.problems import GatewayError
from gateway_houses import House, config, rows, running
from gateway_upstream import WORDS, Upstream, chunk, upstream

ASK: list[Any] = [{"role": "user", "content": "Where?"}]
TOOL = {"name": "weather", "description": "of a city", "input_schema": {"type": "object"}}
USAGE = {
    "prompt_tokens": 2600, "completion_tokens": 10, "total_tokens": 2610,
    "prompt_tokens_details": {"cached_tokens": 2000, "cache_write_tokens": 400},
}  # fmt: skip
CALLS = [
    {"id": "t1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Köln"}'}},
    {"id": "t2", "type": "function", "function": {"name": "weather", "arguments": "{}"}},
]
PRICED = {"price": {"input": "1", "output": "2", "cached": "0.10", "cache_write": "1.25"}}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        message = {"role": "assistant", "content": "Look.", "reasoning_content": "Hm.", "tool_calls": CALLS}
        reply = {"choices": [{"index": 0, "finish_reason": "tool_calls", "message": message}], "usage": USAGE}
        made.replies["tools"] = (200, reply)
        begun = [call | {"index": at} for at, call in enumerate(CALLS)]
        made.events["streams"] = [
            chunk({"reasoning_content": "Hm."}), chunk({"content": "Lo"}), chunk({"content": "ok."}),
            *(chunk({"tool_calls": [call]}) for call in begun), chunk({}, "tool_calls"), chunk(usage=USAGE),
        ]  # fmt: skip
        yield made


async def post(house: House, body: Any, **headers: str) -> tuple[int, Any]:
    address = f"{house.url}/v1/messages"
    async with aiohttp.ClientSession() as session, session.post(address, json=body, headers=headers) as answer:
        return answer.status, await answer.json()


def asked(model: str, **about: Any) -> dict[str, Any]:
    return {"model": model, "max_tokens": 50, "messages": ASK} | about


def test_turns_tools_and_pictures_become_a_chat() -> None:
    request = convert(MessagesRequest, {
        "model": "m", "max_tokens": 9, "top_k": 4, "stop_sequences": ["X"], "metadata": {"user_id": "u"},
        "system": [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "enabled", "budget_tokens": 8000}, "tools": [TOOL],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": "What?"},
                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}]},
            {"role": "assistant", "content": [
                {"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Köln"}}]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "sunny"}]},
                {"type": "text", "text": "And?"}]},
        ]})  # fmt: skip
    body = messages_as_chat(request)
    assert [turn["role"] for turn in body["messages"]] == ["system", "user", "assistant", "tool", "user"]
    system, user, assistant, tool, last = body["messages"]
    assert system["content"] == "Be brief." and last["content"] == "And?"
    assert user["content"][1]["image_url"]["url"] == "data:image/png;base64,AAAA"
    assert json.loads(assistant["tool_calls"][0]["function"]["arguments"]) == {"city": "Köln"}
    assert tool == {"role": "tool", "tool_call_id": "t1", "content": "sunny"}
    assert (body["max_tokens"], body["top_k"], body["stop"], body["user"]) == (9, 4, ["X"], "u")
    assert body["tool_choice"] == "required" and body["parallel_tool_calls"] is False
    assert body["reasoning_effort"] == "medium" and body["tools"][0]["function"]["name"] == "weather"


def test_what_claude_code_sends_becomes_a_chat() -> None:
    """System texts between the turns, thinking as the model sees fit, and thoughts taken out of the context."""
    request = convert(MessagesRequest, {
        "model": "m", "max_tokens": 9, "system": "Be brief.", "thinking": {"type": "adaptive"},
        "output_config": {"effort": "high"}, "metadata": {"user_id": "{}"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "messages": [{"role": "user", "content": "x"}, {"role": "system", "content": [{"type": "text", "text": "y"}]}],
    })  # fmt: skip
    body = messages_as_chat(request)
    assert [(turn["role"], turn["content"]) for turn in body["messages"]] == [
        ("system", "Be brief."), ("user", "x"), ("system", "y"),
    ]  # fmt: skip
    assert body["reasoning_effort"] == "high" and "context_management" not in body


@pytest.mark.parametrize(
    ("about", "words"),
    [
        ({"mcp_servers": []}, "mcp_servers"),
        ({"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, r"context_management.edits\[0\]"),
        ({"context_management": {"edits": 5}}, r"context_management.edits\[0\]"),
        ({"messages": [{"role": "system", "content": [{"type": "tool_use", "name": "x"}]}]}, "in its role"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, r"tools\[0\]"),
        ({"messages": [{"role": "user", "content": [{"type": "document"}]}]}, r"messages\[0\].content\[0\]"),
        (
            {"messages": [{"role": "assistant", "content": [{"type": "tool_result", "tool_use_id": "1"}]}]},
            "in its role",
        ),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.type"),
        ({"system": [{"type": "image"}]}, r"system\[0\]"),
        ({"max_tokens": None}, "max_tokens"),
        ({"messages": [{"role": "user", "content": [{"type": ["text"]}]}]}, r"content\[0\]"),
    ],
)
def test_what_a_chat_has_not_is_refused_by_name(about: dict[str, Any], words: str) -> None:
    with pytest.raises(GatewayError, match=words):
        messages_as_chat(convert(MessagesRequest, asked("m") | about))


def test_a_message_is_answered_booked_and_its_caches_are_told(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "tools", tools=PRICED)) as house:
            status, said = await post(house, asked("tools", tools=[TOOL]))
            assert status == 200 and said["type"] == "message" and said["stop_reason"] == "tool_use"
            assert [block["type"] for block in said["content"]] == ["thinking", "text", "tool_use", "tool_use"]
            assert said["content"][2]["input"] == {"city": "Köln"}
            usage = said["usage"]
            assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (200, 2000)
            assert (usage["cache_creation_input_tokens"], usage["output_tokens"]) == (400, 10)

    asyncio.run(work())
    (row,) = rows(tmp_path / "books.sqlite")
    assert row["pusd"] == 200 * 10**6 + 2000 * 10**5 + 400 * 1_250_000 + 10 * 2 * 10**6


def test_errors_have_anthropics_shape_and_a_key_comes_in_its_header(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        secret = ApiKeyStore(ledger).create("shop")

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            status, said = await post(house, asked("fine"))
            assert status == 401 and said["error"]["type"] == "authentication_error"
            key = {"x-api-key": secret, "anthropic-version": "2023-06-01"}
            status, said = await post(house, asked("nothing"), **key)
            assert status == 404 and said["type"] == "error" and said["error"]["type"] == "not_found_error"
            status, said = await post(house, asked("fine", betas=[]), **key)
            assert status == 400 and "betas" in said["error"]["message"]
            status, said = await post(house, asked("fine"), **key)
            assert status == 200 and said["content"] == [{"type": "text", "text": "".join(WORDS)}]

    asyncio.run(work())
    assert [row["key"] for row in rows(tmp_path / "books.sqlite")] == ["shop"]


def test_the_sdk_of_anthropic_runs_against_it(up: Upstream, tmp_path: Path) -> None:
    """Whole and streamed, with thinking, two tools at once and usage; an error is the class that it should be."""
    anthropic = pytest.importorskip("anthropic", reason="no Anthropic SDK: pip install anthropic")

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", "tools", "streams", tools=PRICED)) as house:
            client = anthropic.AsyncAnthropic(base_url=house.url, api_key="none", max_retries=0)
            said = await client.messages.create(model="fine", max_tokens=50, messages=ASK)
            assert said.content[0].text == "".join(WORDS) and said.stop_reason == "end_turn"
            async with client.messages.stream(model="fine", max_tokens=50, messages=ASK) as stream:
                assert [word async for word in stream.text_stream] == WORDS
            for streamed in (False, True):
                asks = {"model": "streams" if streamed else "tools", "max_tokens": 50, "messages": ASK, "tools": [TOOL]}
                if streamed:
                    async with client.messages.stream(**asks) as stream:
                        last = await stream.get_final_message()
                else:
                    last = await client.messages.create(**asks)
                assert [block.type for block in last.content] == ["thinking", "text", "tool_use", "tool_use"]
                assert last.content[1].text == "Look." and last.content[2].input == {"city": "Köln"}
                assert last.stop_reason == "tool_use" and last.usage.output_tokens == 10
                assert (last.usage.input_tokens, last.usage.cache_read_input_tokens) == (200, 2000)
            with pytest.raises(anthropic.NotFoundError):
                await client.messages.create(model="nothing", max_tokens=5, messages=ASK)

    asyncio.run(work())


def test_a_stream_that_breaks_off_ends_with_an_error_event(up: Upstream, tmp_path: Path) -> None:
    async def work() -> bytes:
        async with running(config(tmp_path, up.url, "drops")) as house, aiohttp.ClientSession() as session:
            address, body = f"{house.url}/v1/messages", asked("drops", stream=True)
            async with session.post(address, json=body) as answer:
                return await answer.read()

    said = asyncio.run(work())
    assert said.startswith(b"event: message_start") and b"message_stop" not in said
    assert said.rstrip().splitlines()[-2] == b"event: error"

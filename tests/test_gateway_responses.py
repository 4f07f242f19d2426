"""/v1/responses: what it knows goes on, what it does not is refused by name, and thoughts are items that are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from comptroller.gateway.formats import ResponsesRequest, convert
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.responses import as_chat
from gateway_houses import config, running
from gateway_upstream import USAGE, Upstream, chunk, upstream

CALL = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
PROBABLE = {"token": "Sun", "logprob": -0.1, "bytes": None, "top_logprobs": []}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        message = {"role": "assistant", "content": "Sun", "reasoning_content": "Hm.", "tool_calls": [CALL]}
        told = {"content": [PROBABLE]}
        choice = {"index": 0, "finish_reason": "tool_calls", "message": message, "logprobs": told}
        made.replies["thinks"] = (200, {"choices": [choice], "usage": USAGE})
        word = chunk({"content": "Sun"})
        word["choices"][0]["logprobs"] = told
        made.events["thinking"] = [
            chunk({"reasoning_content": "H"}), chunk({"reasoning_content": "m."}), word,
            chunk({"tool_calls": [CALL | {"index": 0}]}), chunk({}, "tool_calls"), chunk(usage=USAGE),
        ]  # fmt: skip
        yield made


def chat_of(**about: Any) -> dict[str, Any]:
    raw = {"model": "m", "input": "Where?"} | about
    return as_chat(convert(ResponsesRequest, raw), raw)


def test_fields_of_a_response_are_those_of_a_chat() -> None:
    body = chat_of(
        text={"verbosity": "low", "format": {"type": "json_object"}}, top_logprobs=3, service_tier="flex", top_k=4,
        reasoning={"effort": "low", "summary": "auto"}, include=["reasoning.encrypted_content"], store=True,
        truncation="disabled", max_output_tokens=9, metadata={"a": "b"}, background=False,
    )  # fmt: skip
    assert body == {
        "model": "m", "messages": [{"role": "user", "content": "Where?"}], "max_tokens": 9, "metadata": {"a": "b"},
        "verbosity": "low", "response_format": {"type": "json_object"}, "logprobs": True, "top_logprobs": 3,
        "service_tier": "flex", "top_k": 4, "reasoning_effort": "low",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"include": ["file_search_call.results"]}, "include: file_search_call.results"),
        ({"truncation": "auto"}, "truncation"),
        ({"text": {"voice": "x"}}, "text.voice"),
        ({"reasoning": {"context": "all"}}, "reasoning.context"),
        ({"n": 2}, "n: a response is one answer"),
        ({"messages": []}, None),
        ({"messages": [1]}, "messages: the conversation is input"),
        ({"max_tokens": 5}, "max_output_tokens"),
        ({"tools": [{"type": "web_search"}]}, r"tools\[0\]"),
        ({"tool_choice": {"type": "allowed_tools"}}, "tool_choice"),
        ({"stream_options": {"include_obfuscation": True}}, "stream_options.include_obfuscation"),
        ({"input": [{"type": "item_reference", "id": "1"}]}, r"input\[0\]"),
        ({"input": [{"type": "reasoning", "content": "x"}]}, r"input\[0\].content"),
    ],
)
def test_what_a_chat_has_not_is_refused_by_name(about: dict[str, Any], named: str | None) -> None:
    if named is None:
        assert chat_of(**about)["messages"], "an empty field says nothing"
        return
    with pytest.raises(GatewayError, match=named):
        chat_of(**about)


def test_a_field_that_no_service_knows_is_refused_by_the_service(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            with pytest.raises(openai.BadRequestError, match="context_management: not sent to fine"):
                extra = {"context_management": [{"type": "compaction"}]}
                await house.client().responses.create(model="fine", input="x", extra_body=extra)

    asyncio.run(work())


def test_thoughts_are_an_item_and_go_back_with_the_call_of_a_tool(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "thinks", "fine")) as house:
            client = house.client()
            asks: Any = {"include": ["message.output_text.logprobs"], "reasoning": {"summary": "auto"}}
            said = await client.responses.create(model="thinks", input="Where?", **asks)
            assert [item.type for item in said.output] == ["reasoning", "message", "function_call"]
            thought, message = said.output[0], said.output[1]
            assert thought.type == "reasoning" and message.type == "message"
            assert thought.content is not None and thought.content[0].text == thought.summary[0].text == "Hm."
            part = message.content[0]
            assert part.type == "output_text" and part.logprobs is not None and part.logprobs[0].logprob == -0.1
            items: Any = [item.model_dump(exclude_none=True) for item in said.output]
            loop = [{"role": "user", "content": "Where?"}, items[0], items[2]]
            loop += [{"type": "function_call_output", "call_id": "c1", "output": "here"}]
            await client.responses.create(model="fine", input=loop)
            turns = up.seen["fine"][-1]["messages"]
            assert [turn["role"] for turn in turns] == ["user", "assistant", "tool"]
            assert turns[1]["reasoning_content"] == "Hm."
            await client.responses.create(model="fine", input=[*loop[:1], items[0], items[1], loop[0]])
            assert all("reasoning_content" not in turn for turn in up.seen["fine"][-1]["messages"])

    asyncio.run(work())


def test_a_stream_tells_thoughts_first_and_ends_with_all_items(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "thinking")) as house:
            client = house.client()
            async with client.responses.stream(model="thinking", input="Where?", top_logprobs=1) as stream:
                events = [event async for event in stream]
                last = await stream.get_final_response()
            kinds = [event.type for event in events]
            assert kinds.index("response.reasoning_text.delta") < kinds.index("response.output_text.delta")
            assert [event.output_index for event in events if event.type == "response.output_item.done"] == [0, 1, 2]
            assert [item.type for item in last.output] == ["reasoning", "message", "function_call"]
            (word,) = [event for event in events if event.type == "response.output_text.delta"]
            assert word.logprobs[0].token == "Sun"

    asyncio.run(work())

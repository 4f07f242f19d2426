"""The official `anthropic` package, against /v1/messages."""

from __future__ import annotations

import anthropic
from _run import CITY, TEXT, USAGE, WEATHER, address, require, run

URL, KEY = address()
CLIENT = anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0)
ASK = [{"role": "user", "content": "Greet me."}]
TOOL = {"name": "weather", "input_schema": WEATHER["function"]["parameters"]}
ANSWER = {"name": "answer", "input_schema": {"type": "object", "properties": {"answer": {"type": "integer"}}}}


def chat() -> None:
    reply = CLIENT.messages.create(model="fine", max_tokens=50, messages=ASK, system="Be kind.")
    require(reply.content[0].text == TEXT and reply.stop_reason == "end_turn", reply)


def stream() -> None:
    with CLIENT.messages.stream(model="fine", max_tokens=50, messages=ASK) as events:
        require("".join(events.text_stream) == TEXT, "the text")


def tools() -> None:
    reply = CLIENT.messages.create(model="agent", max_tokens=50, messages=ASK, tools=[TOOL])
    (call,) = (block for block in reply.content if block.type == "tool_use")
    require(call.input == {"city": CITY} and reply.stop_reason == "tool_use", reply)
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}]}
    turns = [*ASK, {"role": "assistant", "content": reply.content}, result]
    final = CLIENT.messages.create(model="agent", max_tokens=50, messages=turns, tools=[TOOL])
    require(final.content[0].text == TEXT, final)


def tools_streamed() -> None:
    with CLIENT.messages.stream(model="agent", max_tokens=50, messages=ASK, tools=[TOOL]) as events:
        final = events.get_final_message()
    (call,) = (block for block in final.content if block.type == "tool_use")
    require(call.input == {"city": CITY}, final)


def structured() -> str:
    choice = {"type": "tool", "name": "answer"}
    reply = CLIENT.messages.create(model="agent", max_tokens=50, messages=ASK, tools=[ANSWER], tool_choice=choice)
    (call,) = (block for block in reply.content if block.type == "tool_use")
    require(call.input == {"answer": 42}, reply)
    return "by a tool that must be called"


def usage() -> str:
    raw = CLIENT.messages.with_raw_response.create(model="fine", max_tokens=50, messages=ASK)
    told = raw.parse().usage
    require((told.input_tokens, told.output_tokens) == USAGE, told)
    require(float(raw.headers["x-comptroller-usd"]) == 23e-6, raw.headers)
    return (
        "cost in a header; count_tokens answers, too"
        if CLIENT.messages.count_tokens(model="fine", messages=ASK).input_tokens > 0
        else ""
    )


def errors() -> None:
    try:
        CLIENT.messages.create(model="too_long", max_tokens=50, messages=ASK)
    except anthropic.BadRequestError as error:
        require("8192" in str(error), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        with CLIENT.messages.stream(model="drops", max_tokens=50, messages=ASK) as events:
            "".join(events.text_stream)
    except anthropic.APIError as error:
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def retries() -> None:
    again = CLIENT.with_options(max_retries=2)
    require(again.messages.create(model="busy_once", max_tokens=50, messages=ASK).content[0].text == TEXT, "")


def cancel() -> None:
    with CLIENT.messages.stream(model="endless", max_tokens=100, messages=ASK) as events:
        next(iter(events.text_stream))


run("anthropic", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "usage, cost": usage, "errors": errors, "broken stream": broken_stream, "retries": retries, "cancel": cancel,
})  # fmt: skip

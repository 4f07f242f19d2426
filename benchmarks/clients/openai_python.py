"""The official `openai` package: chat, responses, embeddings."""

from __future__ import annotations

import openai
from _run import CITY, SCHEMA, TEXT, USAGE, WEATHER, address, require, run

URL, KEY = address()
CLIENT = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)
ASK = [{"role": "user", "content": "Greet me."}]
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


def chat() -> None:
    reply = CLIENT.chat.completions.create(model="fine", messages=ASK)
    require(reply.choices[0].message.content == TEXT, reply)


def stream() -> None:
    events = list(CLIENT.chat.completions.create(model="fine", messages=ASK, stream=True))
    text = "".join(event.choices[0].delta.content or "" for event in events)
    require(text == TEXT, text)


def tools() -> None:
    reply = CLIENT.chat.completions.create(model="agent", messages=ASK, tools=[WEATHER])
    (call,) = reply.choices[0].message.tool_calls
    require(call.function.name == "weather" and CITY in call.function.arguments, call)
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    turns = [*ASK, reply.choices[0].message, result]
    require(
        CLIENT.chat.completions.create(model="agent", messages=turns, tools=[WEATHER]).choices[0].message.content
        == TEXT,
        turns,
    )


def tools_streamed() -> None:
    with CLIENT.chat.completions.stream(model="agent", messages=ASK, tools=[WEATHER]) as events:
        final = events.get_final_completion()
    (call,) = final.choices[0].message.tool_calls
    require(call.function.name == "weather" and CITY in call.function.arguments, call)


def structured() -> None:
    reply = CLIENT.chat.completions.create(model="agent", messages=ASK, response_format=FORMAT)
    require(reply.choices[0].message.content == '{"answer": 42}', reply)


def embeddings() -> None:
    reply = CLIENT.embeddings.create(model="vectors", input=["a", "b"])
    require([len(item.embedding) for item in reply.data] == [3, 3], reply)


def usage() -> str:
    events = list(
        CLIENT.chat.completions.create(model="fine", messages=ASK, stream=True, stream_options={"include_usage": True})
    )
    told = events[-1].usage
    require((told.prompt_tokens, told.completion_tokens) == USAGE, told)
    raw = CLIENT.chat.completions.with_raw_response.create(model="fine", messages=ASK)
    require(float(raw.headers["x-comptroller-usd"]) == 23e-6, raw.headers)
    return "cost in a header, in `comptroller` of the reply and of the last event"


def errors() -> None:
    try:
        CLIENT.chat.completions.create(model="too_long", messages=ASK)
    except openai.BadRequestError as error:
        require(error.code == "context_length_exceeded" and "8192" in error.message, error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        list(CLIENT.chat.completions.create(model="drops", messages=ASK, stream=True))
    except openai.APIError as error:
        require("drops" in error.message, error)
    else:
        require(False, "no error")


def retries() -> None:
    again = CLIENT.with_options(max_retries=2)
    require(again.chat.completions.create(model="busy_once", messages=ASK).choices[0].message.content == TEXT, "")


def cancel() -> None:
    events = CLIENT.chat.completions.create(model="endless", messages=ASK, stream=True)
    next(iter(events))
    events.close()


def responses() -> None:
    reply = CLIENT.responses.create(model="fine", input="Greet me.")
    require(reply.output_text == TEXT and reply.usage.output_tokens == USAGE[1], reply)
    with CLIENT.responses.stream(model="fine", input="Greet me.") as events:
        require("".join(event.delta for event in events if event.type == "response.output_text.delta") == TEXT, "")
        require(events.get_final_response().output_text == TEXT, "the final response")


run("openai", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "embeddings": embeddings, "usage, cost": usage, "errors": errors, "broken stream": broken_stream,
    "retries": retries, "cancel": cancel, "responses": responses,
})  # fmt: skip

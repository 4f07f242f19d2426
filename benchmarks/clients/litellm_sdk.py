"""LiteLLM's SDK as a client of an OpenAI-compatible address."""

from __future__ import annotations

from typing import Any

import litellm
from _run import CITY, SCHEMA, TEXT, USAGE, WEATHER, address, require, run

URL, KEY = address()
ASK = [{"role": "user", "content": "Greet me."}]
FORMAT = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}


def ask(name: str, **about: Any) -> Any:
    return litellm.completion(
        f"openai/{name}", ASK, base_url=f"{URL}/v1", api_key=KEY, **({"num_retries": 0, "max_retries": 0} | about)
    )


def chat() -> None:
    require(ask("fine").choices[0].message.content == TEXT, "the text")


def stream() -> None:
    text = "".join(piece.choices[0].delta.content or "" for piece in ask("fine", stream=True))
    require(text == TEXT, text)


def tools() -> None:
    (call,) = ask("agent", tools=[WEATHER]).choices[0].message.tool_calls
    require(call.function.name == "weather" and CITY in call.function.arguments, call)


def tools_streamed() -> None:
    whole = litellm.stream_chunk_builder(list(ask("agent", tools=[WEATHER], stream=True)), messages=ASK)
    (call,) = whole.choices[0].message.tool_calls
    require(call.function.name == "weather" and CITY in call.function.arguments, call)


def structured() -> None:
    require(ask("agent", response_format=FORMAT).choices[0].message.content == '{"answer": 42}', "the text")


def embeddings() -> None:
    made = litellm.embedding("openai/vectors", ["a", "b"], api_base=f"{URL}/v1", api_key=KEY, encoding_format="float")
    require([len(item["embedding"]) for item in made.data] == [3, 3], made)


def usage() -> str:
    told = ask("fine").usage
    require((told.prompt_tokens, told.completion_tokens) == USAGE, told)
    last = list(ask("fine", stream=True, stream_options={"include_usage": True}))[-1].usage
    require((last.prompt_tokens, last.completion_tokens) == USAGE, last)
    headers = ask("fine")._hidden_params["additional_headers"]
    require(float(headers["llm_provider-x-comptroller-usd"]) == 23e-6, headers)
    return "cost among the hidden parameters"


def errors() -> None:
    try:
        ask("too_long")
    except litellm.BadRequestError as error:
        require("8192" in str(error), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        list(ask("drops", stream=True))
    except Exception as error:  # noqa: BLE001 -- of several kinds of its own
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def retries() -> None:
    require(ask("busy_once", num_retries=2, max_retries=2).choices[0].message.content == TEXT, "the text")


def cancel() -> None:
    events = ask("endless", stream=True)
    next(iter(events))
    events.completion_stream.close()


def responses() -> None:
    made = litellm.responses(model="openai/fine", input="Greet me.", api_base=f"{URL}/v1", api_key=KEY)
    require(made.output[-1].content[0].text == TEXT, made)


run("litellm", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "embeddings": embeddings, "usage, cost": usage, "errors": errors, "broken stream": broken_stream,
    "retries": retries, "cancel": cancel, "responses": responses,
})  # fmt: skip

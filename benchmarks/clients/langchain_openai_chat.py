"""LangChain's `ChatOpenAI` and `OpenAIEmbeddings`."""

from __future__ import annotations

import openai
from _run import CITY, SCHEMA, TEXT, USAGE, WEATHER, address, require, run
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

URL, KEY = address()


def model(name: str, **about: object) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=f"{URL}/v1", api_key=KEY, **({"max_retries": 0} | about))


def chat() -> None:
    require(model("fine").invoke("Greet me.").content == TEXT, "the text")


def stream() -> None:
    require("".join(piece.content for piece in model("fine").stream("Greet me.")) == TEXT, "the text")


def tools() -> None:
    (call,) = model("agent").bind_tools([WEATHER]).invoke("Weather?").tool_calls
    require((call["name"], call["args"]) == ("weather", {"city": CITY}), call)


def tools_streamed() -> None:
    whole = None
    for piece in model("agent").bind_tools([WEATHER]).stream("Weather?"):
        whole = piece if whole is None else whole + piece
    (call,) = whole.tool_calls
    require((call["name"], call["args"]) == ("weather", {"city": CITY}), call)


def structured() -> str:
    schema = SCHEMA | {"title": "answer", "description": "An answer."}
    for method in ("json_schema", "function_calling"):
        found = model("agent").with_structured_output(schema, method=method).invoke("6 x 7?")
        require(found == {"answer": 42}, (method, found))
    return "json_schema and function_calling"


def embeddings() -> None:
    made = OpenAIEmbeddings(model="vectors", base_url=f"{URL}/v1", api_key=KEY, check_embedding_ctx_length=False)
    require([len(vector) for vector in made.embed_documents(["a", "b"])] == [3, 3], "vectors")


def usage() -> str:
    told = model("fine").invoke("Greet me.").usage_metadata
    require((told["input_tokens"], told["output_tokens"]) == USAGE, told)
    last = list(model("fine", stream_usage=True).stream("Greet me."))
    told = next(piece.usage_metadata for piece in reversed(last) if piece.usage_metadata)
    require((told["input_tokens"], told["output_tokens"]) == USAGE, told)
    headers = model("fine", include_response_headers=True).invoke("Greet me.").response_metadata["headers"]
    require(float(headers["x-comptroller-usd"]) == 23e-6, headers)
    return "cost in a header"


def errors() -> None:
    try:
        model("too_long").invoke("x")
    except openai.BadRequestError as error:
        require("8192" in str(error), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        list(model("drops").stream("x"))
    except openai.APIError as error:
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def retries() -> None:
    require(model("busy_once", max_retries=2).invoke("x").content == TEXT, "the text")


def cancel() -> None:
    events = model("endless").stream("x")
    next(events)
    events.close()


def responses() -> None:
    made = model("fine", use_responses_api=True, output_version="responses/v1")
    require(made.invoke("Greet me.").text == TEXT, "the text")
    require("".join(piece.text for piece in made.stream("Greet me.")) == TEXT, "the stream")


run("langchain-openai", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "embeddings": embeddings, "usage, cost": usage, "errors": errors, "broken stream": broken_stream,
    "retries": retries, "cancel": cancel, "responses": responses,
})  # fmt: skip

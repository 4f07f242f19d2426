"""LlamaIndex's `OpenAILike` and `OpenAILikeEmbedding`."""

from __future__ import annotations

import openai
from _run import CITY, TEXT, USAGE, address, require, run
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

URL, KEY = address()
ASK = [ChatMessage(role="user", content="Greet me.")]


class Number(BaseModel):
    """A number."""

    answer: int


def model(name: str, retries: int = 0) -> OpenAILike:
    return OpenAILike(
        model=name, api_base=f"{URL}/v1", api_key=KEY, is_chat_model=True, is_function_calling_model=True,
        context_window=8192, max_retries=retries,
    )  # fmt: skip


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


TOOL = FunctionTool.from_defaults(weather)


def chat() -> None:
    require(model("fine").chat(ASK).message.content == TEXT, "the text")


def stream() -> None:
    require("".join(piece.delta or "" for piece in model("fine").stream_chat(ASK)) == TEXT, "the text")


def _call(reply: object) -> None:
    (call,) = model("agent").get_tool_calls_from_response(reply, error_on_no_tool_call=True)
    require((call.tool_name, call.tool_kwargs) == ("weather", {"city": CITY}), call)


def tools() -> None:
    _call(model("agent").chat_with_tools([TOOL], user_msg="Weather?"))


def tools_streamed() -> None:
    _call(list(model("agent").stream_chat_with_tools([TOOL], user_msg="Weather?"))[-1])


def structured() -> str:
    found = model("agent").as_structured_llm(Number).chat(ASK).raw
    require(found.answer == 42, found)
    return "by a tool of its own"


def embeddings() -> None:
    made = OpenAILikeEmbedding(model_name="vectors", api_base=f"{URL}/v1", api_key=KEY)
    require(len(made.get_text_embedding("a")) == 3, "a vector")


def usage() -> str:
    told = model("fine").chat(ASK).raw
    require((told.usage.prompt_tokens, told.usage.completion_tokens) == USAGE, told)
    require(told.comptroller["cost"]["usd"] == 23e-6, told)
    return "cost in `comptroller` of the raw reply"


def errors() -> None:
    try:
        model("too_long").chat(ASK)
    except openai.BadRequestError as error:
        require("8192" in str(error), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        list(model("drops").stream_chat(ASK))
    except openai.APIError as error:
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def retries() -> None:
    require(model("busy_once", retries=2).chat(ASK).message.content == TEXT, "the text")


def cancel() -> None:
    events = model("endless").stream_chat(ASK)
    next(events)
    events.close()


run("llama-index-llms-openai-like", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "embeddings": embeddings, "usage, cost": usage, "errors": errors, "broken stream": broken_stream,
    "retries": retries, "cancel": cancel,
})  # fmt: skip

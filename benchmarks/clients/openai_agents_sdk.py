"""OpenAI's Agents SDK, on chat completions and on responses."""

from __future__ import annotations

import asyncio
from typing import Any

import openai
from _run import CITY, TEXT, USAGE, address, require, run
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from pydantic import BaseModel

URL, KEY = address()
set_tracing_disabled(True)


class Number(BaseModel):
    answer: int


def agent(name: str, kind: Any = OpenAIChatCompletionsModel, retries: int = 0, **about: Any) -> Agent[Any]:
    client = openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=retries)
    return Agent(name="greeter", model=kind(model=name, openai_client=client), **about)


def _run(made: Agent[Any]) -> Any:
    return asyncio.run(Runner.run(made, "Greet me."))


async def _streamed(made: Agent[Any], most: int = 10**6) -> str:
    result, text = Runner.run_streamed(made, "Greet me."), ""
    async for event in result.stream_events():
        if event.type == "raw_response_event" and event.data.type == "response.output_text.delta":
            text += event.data.delta
            if len(text) >= most:
                result.cancel()
    return text


def chat() -> None:
    require(_run(agent("fine")).final_output == TEXT, "the text")


def stream() -> None:
    require(asyncio.run(_streamed(agent("fine"))) == TEXT, "the text")


def _weather() -> tuple[Any, list[str]]:
    seen: list[str] = []

    @function_tool
    def weather(city: str) -> str:
        """The weather in a city."""
        seen.append(city)
        return "sunny"

    return weather, seen


def tools() -> None:
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        weather, seen = _weather()
        require(_run(agent("agent", kind, tools=[weather])).final_output == TEXT and seen == [CITY], (kind, seen))


def tools_streamed() -> None:
    for kind in (OpenAIChatCompletionsModel, OpenAIResponsesModel):
        weather, seen = _weather()
        text = asyncio.run(_streamed(agent("agent", kind, tools=[weather])))
        require(text == TEXT and seen == [CITY], (kind, seen))


def structured() -> None:
    require(_run(agent("agent", output_type=Number)).final_output.answer == 42, "the answer")


def usage() -> str:
    told = _run(agent("fine")).context_wrapper.usage
    require((told.input_tokens, told.output_tokens) == USAGE, told)
    return "no access to headers or `comptroller`"


def errors() -> None:
    try:
        _run(agent("too_long"))
    except openai.BadRequestError as error:
        require("8192" in str(error), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        asyncio.run(_streamed(agent("drops")))
    except openai.APIError as error:
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def retries() -> None:
    require(_run(agent("busy_once", retries=2)).final_output == TEXT, "the text")


def cancel() -> None:
    asyncio.run(_streamed(agent("endless"), most=5))


def responses() -> None:
    require(_run(agent("fine", OpenAIResponsesModel)).final_output == TEXT, "the text")
    require(asyncio.run(_streamed(agent("fine", OpenAIResponsesModel))) == TEXT, "the stream")


run("openai-agents", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "usage, cost": usage, "errors": errors, "broken stream": broken_stream, "retries": retries, "cancel": cancel,
    "responses": responses,
})  # fmt: skip

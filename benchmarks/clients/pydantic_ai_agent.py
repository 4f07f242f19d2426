"""pydantic-ai's agents on its OpenAI models."""

from __future__ import annotations

import asyncio
from typing import Any

from _run import CITY, TEXT, USAGE, address, require, run
from openai import APIError, AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

URL, KEY = address()


class Number(BaseModel):
    answer: int


def agent(name: str, kind: Any = OpenAIChatModel, retries: int = 0, **about: Any) -> Agent[None, Any]:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=retries)
    return Agent(kind(name, provider=OpenAIProvider(openai_client=client)), **about)


def chat() -> None:
    require(agent("fine").run_sync("Greet me.").output == TEXT, "the text")


async def _streamed(made: Agent[None, Any]) -> str:
    async with made.run_stream("Greet me.") as reply:
        return "".join([piece async for piece in reply.stream_text(delta=True, debounce_by=None)])


def stream() -> None:
    require(asyncio.run(_streamed(agent("fine"))) == TEXT, "the text")


def _with_tool(made: Agent[None, Any]) -> list[str]:
    seen: list[str] = []

    @made.tool_plain
    def weather(city: str) -> str:
        """The weather in a city."""
        seen.append(city)
        return "sunny"

    return seen


def tools() -> None:
    made = agent("agent")
    seen = _with_tool(made)
    require(made.run_sync("Weather?").output == TEXT and seen == [CITY], seen)


def tools_streamed() -> None:
    made = agent("agent")
    seen = _with_tool(made)
    require(asyncio.run(_streamed(made)) == TEXT and seen == [CITY], seen)


def structured() -> str:
    require(agent("agent", output_type=Number).run_sync("6 x 7?").output.answer == 42, "the answer")
    return "by a tool of its own"


def usage() -> str:
    told = agent("fine").run_sync("Greet me.").usage
    told = told() if callable(told) else told
    require((told.input_tokens, told.output_tokens) == USAGE, told)
    return "no access to headers or `comptroller`"


def errors() -> None:
    try:
        agent("too_long").run_sync("x")
    except ModelHTTPError as error:
        require(error.status_code == 400 and "8192" in str(error.body), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        asyncio.run(_streamed(agent("drops")))
    except (APIError, ModelAPIError) as error:  # what breaks off in mid-stream comes as openai raises it
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def retries() -> None:
    require(agent("busy_once", retries=2).run_sync("x").output == TEXT, "the text")


async def _cancelled() -> None:
    async with agent("endless").run_stream("x") as reply:
        async for _ in reply.stream_text(delta=True, debounce_by=None):
            break


def cancel() -> None:
    asyncio.run(_cancelled())


def responses() -> None:
    require(agent("fine", OpenAIResponsesModel).run_sync("Greet me.").output == TEXT, "the text")
    require(asyncio.run(_streamed(agent("fine", OpenAIResponsesModel))) == TEXT, "the stream")


run("pydantic-ai-slim", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "usage, cost": usage, "errors": errors, "broken stream": broken_stream, "retries": retries, "cancel": cancel,
    "responses": responses,
})  # fmt: skip

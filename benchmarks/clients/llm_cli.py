"""simonw's `llm`, with the gateway among `extra-openai-models.yaml`."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from _run import CITY, SCHEMA, TEXT, USAGE, address, require, run

URL, KEY = address()
HOME = Path(tempfile.mkdtemp(prefix="llm"))
os.environ["LLM_USER_PATH"] = str(HOME)
NAMES = ("fine", "agent", "too_long", "drops", "endless")
LINES = [
    f"- model_id: {name}\n  model_name: {name}\n  api_base: {URL}/v1\n  api_key_name: comptroller\n"
    "  supports_tools: true\n  supports_schema: true\n"
    for name in NAMES
]
(HOME / "extra-openai-models.yaml").write_text("".join(LINES), encoding="utf-8")

import llm  # noqa: E402 -- it reads its folder when it is imported


def model(name: str) -> Any:
    made = llm.get_model(name)
    made.key = KEY
    return made


def chat() -> None:
    require(model("fine").prompt("Greet me.", stream=False, key=KEY).text() == TEXT, "the text")


def stream() -> None:
    require("".join(model("fine").prompt("Greet me.", key=KEY)) == TEXT, "the text")


def _tool(streamed: bool) -> None:
    seen: list[str] = []

    def weather(city: str) -> str:
        """The weather in a city."""
        seen.append(city)
        return "sunny"

    text = model("agent").chain("Weather?", tools=[weather], key=KEY, stream=streamed).text()
    require(text == TEXT and seen == [CITY], (text, seen))


def tools() -> None:
    _tool(False)


def tools_streamed() -> None:
    _tool(True)


def structured() -> None:
    told = model("agent").prompt("6 x 7?", schema=SCHEMA, stream=False, key=KEY).text()
    require(json.loads(told) == {"answer": 42}, told)


def usage() -> str:
    reply = model("fine").prompt("Greet me.", key=KEY)
    reply.text()
    told = reply.usage()
    require((told.input, told.output) == USAGE, told)
    return "no access to headers"


def errors() -> None:
    try:
        model("too_long").prompt("x", stream=False, key=KEY).text()
    except Exception as error:  # noqa: BLE001 -- it passes on what openai raises, or wraps it
        require("8192" in str(error), error)
    else:
        require(False, "no error")


def broken_stream() -> None:
    try:
        model("drops").prompt("x", key=KEY).text()
    except Exception as error:  # noqa: BLE001 -- the same
        require("drops" in str(error), error)
    else:
        require(False, "no error")


def cancel() -> None:
    events = iter(model("endless").prompt("x", key=KEY))
    next(events)
    events.close()  # type: ignore[attr-defined]


run("llm", {
    "chat": chat, "stream": stream, "tools": tools, "tools streamed": tools_streamed, "structured": structured,
    "usage, cost": usage, "errors": errors, "broken stream": broken_stream, "cancel": cancel,
})  # fmt: skip

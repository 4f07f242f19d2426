"""What client libraries can do against the gateway: real packages, a real gateway, a real service behind it.

`make test-clients` makes the environments and writes results/clients.{json,md} and the table of docs/gateway.md; with
`--check` it ends with 1 where a feature that a client has does not work. Each client is a file of `clients/`, run in an
environment of its own: `.venv-clients` for those of Python, `.venv-clients/npm` for those of npm. A feature works where
the client says so, and, for a cancelled stream, where the service was told and the call is booked as cancelled.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from aiohttp import web

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests"))

from comptroller.books.keys import ApiKeyStore  # noqa: E402
from comptroller.books.ledger import CallLedger  # noqa: E402
from gateway_houses import config, rows, running  # noqa: E402
from gateway_upstream import USAGE, Upstream, chunk, event, upstream, whole  # noqa: E402
from record import write  # noqa: E402

Json = dict[str, Any]
SERVICES = ("fine", "agent", "vectors", "too_long", "drops", "busy_once", "endless")
FEATURES = (
    *("chat", "stream", "tools", "tools streamed", "structured", "embeddings", "usage, cost", "errors"),
    *("broken stream", "retries", "cancel", "responses"),
)
CLIENTS = {
    "openai": "openai_python.py", "openai (npm)": "openai_node.mjs", "anthropic": "anthropic_python.py",
    "Vercel AI SDK": "vercel_ai.mjs", "LangChain": "langchain_openai_chat.py", "LiteLLM SDK": "litellm_sdk.py",
    "pydantic-ai": "pydantic_ai_agent.py", "openai-agents": "openai_agents_sdk.py",
    "LlamaIndex": "llama_index_openai_like.py", "llm": "llm_cli.py", "Claude Code": "claude_code.mjs",
}  # fmt: skip
"""Name -> its file."""
LIMIT_S = 300.0
"""Ends a client that hangs; the slowest takes some twenty seconds, most of it its imports."""
WAIT_S = 20.0
"""How long a cancelled call may take to be booked."""
BEGIN, END = "<!-- clients:begin -->", "<!-- clients:end -->"


class AgentService(Upstream):
    """The service of the tests, and `agent`, which calls a tool first, and answers in the schema that is asked for."""

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """A chat."""
        body = await request.json()
        if body["model"] != "agent":
            return await super().chat(request)
        self.tries["agent"] += 1
        message, finish = self._said(body)
        if not body.get("stream"):
            choice = {"index": 0, "finish_reason": finish, "message": message}
            return web.json_response(whole("agent", USAGE) | {"choices": [choice]})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        await response.write(event(chunk(message)) + event(chunk({}, finish)) + event(chunk(usage=USAGE)))
        await response.write(b"data: [DONE]\n\n")
        return response

    async def embed(self, request: web.Request) -> web.Response:
        """A vector for each text, in the encoding that is asked for."""
        body = await request.json()
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vector: Any = [0.5, 0.25, -1.0]
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack("<3f", *vector)).decode()
        data = [{"object": "embedding", "index": at, "embedding": vector} for at in range(len(texts))]
        usage = {"prompt_tokens": 4, "total_tokens": 4}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    @staticmethod
    def _said(body: Json) -> tuple[Json, str]:
        asked = {turn["role"] for turn in body["messages"]}
        tools = [tool["function"] for tool in body.get("tools") or ()]
        if not tools or "tool" in asked:
            schema = body.get("response_format", {}).get("type") == "json_schema"
            text = '{"answer": 42}' if schema else whole("", None)["choices"][0]["message"]["content"]
            return {"role": "assistant", "content": text}, "stop"
        tool = next((tool for tool in tools if tool["name"] == "Bash"), tools[0])
        names = tool.get("parameters", {}).get("properties", {})
        given: Json = {"answer": 42} if "answer" in names else {"city": "Köln"}
        if tool["name"] == "Bash":
            given = {"command": "echo sunny", "description": "Tells the weather"}
        function = {"name": tool["name"], "arguments": json.dumps(given, ensure_ascii=False)}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        return {"role": "assistant", "content": None, "tool_calls": [call]}, "tool_calls"


async def tried(name: str, command: Sequence[str], folder: Path, up: Upstream, books: str) -> Json:
    """What a client can do: its version, and for each feature whether it works and a note. name: of its key."""
    up.tries.clear()
    up.stopped.clear()
    made = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
    )
    try:
        out, err = await asyncio.wait_for(made.communicate(), LIMIT_S)
    except TimeoutError:
        made.kill()
        out, err = b"", b"it took more than five minutes"
        await made.wait()
    lines = [json.loads(line) for line in out.decode().splitlines() if line.startswith("{")]
    if not lines:
        return {"version": "", "features": {}, "why": err.decode()[-500:]}
    found = {line["feature"]: {"ok": line["ok"], "note": line["note"]} for line in lines if "feature" in line}
    if found.get("cancel", {}).get("ok"):
        found["cancel"] = await _cancelled(name, up, books)
    return {"version": lines[0]["version"], "package": lines[0]["package"], "features": found}


async def _cancelled(name: str, up: Upstream, books: str) -> Json:
    """Whether the service was told that its client left, and the call is booked as cancelled."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        booked = [row for row in rows(books) if row["key"] == name and row["service"] == "endless"]
        if booked and up.stopped["endless"]:
            right = all(row["finish"] == "cancelled" for row in booked)
            return {"ok": right, "note": "" if right else f"booked as {booked[0]['finish']}"}
        await asyncio.sleep(0.05)
    return {"ok": False, "note": "the service was not told"}


async def matrix(up: Upstream, python: Path, npm: Path, chosen: Sequence[str]) -> dict[str, Json]:
    """Client -> what it can do."""
    found: dict[str, Json] = {}
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        document = config(folder, up.url, *SERVICES)
        with CallLedger.open(document["books"]) as ledger:
            keys = {name: ApiKeyStore(ledger).create(name) for name in chosen}
        async with running(document) as house:
            for name in chosen:
                file = (HERE / "clients" / CLIENTS[name]).resolve()
                runner, where = (str(python), folder) if file.suffix == ".py" else ("node", npm)
                command = [runner, str(file), house.url, keys[name]]
                found[name] = await tried(name, command, where, up, document["books"])
                print(
                    name,
                    found[name].get("version"),
                    {k: v["ok"] for k, v in found[name]["features"].items()},
                    file=sys.stderr,
                )
    return found


def cell(told: Mapping[str, Any], feature: str) -> str:
    """A cell of the table: ok, no, or a dash where the client has no such feature."""
    one = told["features"].get(feature)
    return "-" if one is None else "ok" if one["ok"] else "**no**"


def page(found: Mapping[str, Json]) -> str:
    """The table, with what does not work and why, and notes."""
    head = ["client", *FEATURES]
    lines = [" | ".join(head), "|".join(["---"] * len(head))]
    lines += [
        " | ".join([f"{name} {told['version']}", *(cell(told, item) for item in FEATURES)])
        for name, told in found.items()
    ]
    text = "\n".join(f"| {line} |" if "---" not in line else f"|{line}|" for line in lines)
    wrong = [
        f"- {name}, {feature}: {one['note']}"
        for name, told in found.items()
        for feature, one in told["features"].items()
        if not one["ok"]
    ]
    wrong += [f"- {name}: does not start: {told['why']}" for name, told in found.items() if told.get("why")]
    return text + ("\n\nWhat does not work:\n\n" + "\n".join(wrong) if wrong else "")


def main() -> int:
    """Runs the command line."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--python", type=Path, default=Path(".venv-clients/bin/python"), help="of their environment")
    options.add_argument("--npm", type=Path, default=Path(".venv-clients/npm"), help="folder with node_modules")
    options.add_argument("--only", action="append", choices=list(CLIENTS), help="a client; again for more")
    options.add_argument("--check", action="store_true", help="1 where something does not work; nothing is written")
    asked = options.parse_args()
    with upstream(AgentService()) as up:
        found = asyncio.run(matrix(up, asked.python.absolute(), asked.npm.absolute(), asked.only or list(CLIENTS)))
    text = page(found)
    print(text)
    right = all(told["features"] and all(one["ok"] for one in told["features"].values()) for told in found.values())
    if asked.check:
        return 0 if right else 1
    write("clients", found, f"# Clients against the gateway\n\n`make test-clients`.\n\n{text}", ("uvicorn", "aiohttp"))
    docs = HERE.parent / "docs" / "gateway.md"
    before, _, rest = docs.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    docs.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())

"""What strangers write, clients and services alike, decides nothing: odd replies, keys in texts, redirects, lengths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger
from comptroller.costs.usage import parse_usage
from comptroller.gateway.body_fields import bounded_body
from comptroller.gateway.connection import MOST_FIELDS
from comptroller.gateway.problems import GatewayError, without_keys
from gateway_houses import House, config, rows, running
from gateway_upstream import USAGE, Upstream, upstream, whole

ASK = [{"role": "user", "content": "x"}]
ASKS: dict[str, dict[str, Any]] = {
    "chat/completions": {"messages": ASK},
    "responses": {"input": "x"},
    "messages": {"messages": ASK, "max_tokens": 50},
}
KEY = "sk-proj-AbCdEf0123456789"


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


async def posted(house: House, path: str, body: Any) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.post(f"{house.url}/v1/{path}", json=body) as reply:
        return reply.status, await reply.text()


def said(**about: Any) -> dict[str, Any]:
    """A whole reply of which some fields of the choice and of its message are odd."""
    reply = whole("odd", USAGE)
    message = reply["choices"][0]["message"] | about.pop("message", {})
    return reply | {"choices": [reply["choices"][0] | {"message": message} | about]}


@pytest.mark.parametrize("path", ASKS)
@pytest.mark.parametrize(
    "reply",
    [
        said(finish_reason=["stop"]), said(finish_reason=5), said(message={"tool_calls": 5}),
        said(message={"tool_calls": [{"function": "f"}]}), said(message={"refusal": {"a": 1}}),
        said(logprobs={"content": [None]}), said() | {"native": "x"}, said() | {"native": {"content": 5}},
        said() | {"service_tier": ["a"]}, said() | {"usage": USAGE | {"prompt_tokens_details": "x"}},
    ],
    ids=range(10),
)  # fmt: skip
def test_an_odd_reply_is_told_on_every_endpoint(up: Upstream, tmp_path: Path, path: str, reply: Any) -> None:
    up.replies["odd"] = (200, reply)
    up.events["odd_stream"] = [
        {"choices": [item | {"delta": item["message"]} for item in reply["choices"]], "native": reply.get("native")},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": reply["usage"]},
    ]

    async def work() -> None:
        async with running(config(tmp_path, up.url, "odd", "odd_stream")) as house:
            for model in ("odd", "odd_stream"):
                status, text = await posted(house, path, ASKS[path] | {"model": model, "stream": model != "odd"})
                assert status == 200 and "the gateway failed" not in text and "Gr" in text, text

    asyncio.run(work())


@pytest.mark.parametrize("path", ["responses", "messages"])
def test_usage_is_told_as_it_was_understood_where_the_words_are_not_the_service_s(
    up: Upstream, tmp_path: Path, path: str
) -> None:
    """Gemini's words, whose thoughts are outside of the candidates."""
    gemini = {"promptTokenCount": 12, "candidatesTokenCount": 8, "thoughtsTokenCount": 5, "totalTokenCount": 25}
    up.replies["odd"] = (200, whole("odd", gemini))
    up.events["odd_stream"] = [{"choices": [{"delta": {"content": "x"}, "finish_reason": "stop"}], "usage": gemini}]

    async def work() -> None:
        async with running(config(tmp_path, up.url, "odd", "odd_stream")) as house:
            _, text = await posted(house, path, ASKS[path] | {"model": "odd"})
            usage = json.loads(text)["usage"]
            assert (usage["input_tokens"], usage["output_tokens"]) == (12, 13)
            _, text = await posted(house, path, ASKS[path] | {"model": "odd_stream", "stream": True})
            assert '"output_tokens":13' in text.replace(" ", "")

    asyncio.run(work())


def test_no_text_of_a_service_shows_a_key(up: Upstream, tmp_path: Path) -> None:
    error = {"message": f"no credit on {KEY}", "hint": [f"Bearer {KEY}"]}

    async def work() -> None:
        up.events["odd_stream"] = [{"error": error}]
        async with running(config(tmp_path, up.url, "odd", "odd_stream")) as house:
            for status, document in ((422, {"error": error}), (400, {"error": f"bad {KEY}"}), (200, {"error": error})):
                up.replies["odd"] = (status, document)
                for path, asked in ASKS.items():
                    got, text = await posted(house, path, asked | {"model": "odd"})
                    assert got >= 400 and KEY not in text and "[key]" in text, text
            for path, asked in ASKS.items():
                got, text = await posted(house, path, asked | {"model": "odd_stream", "stream": True})
                assert got >= 400 and KEY not in text and "[key]" in text, text

    asyncio.run(work())
    assert all(KEY not in row["note"] for row in rows(tmp_path / "books.sqlite"))
    for text in ("AIzaSyA-0123456789abcdef", "xai-0123456789abcdef", "gsk_0123456789abcdef", "AKIA0123456789ABCDEF"):
        assert without_keys(f"of {text}, twice") == "of [key], twice"
    assert without_keys("the task-force of sk-8 risked it") == "the task-force of sk-8 risked it"


def test_a_redirect_is_not_followed_with_the_key(tmp_path: Path) -> None:
    seen: list[str] = []

    async def moved(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=307, headers={"location": "/v1/elsewhere"})

    async def work() -> None:
        application = web.Application()
        application.router.add_post("/v1/{tail:.*}", moved)
        runner = web.AppRunner(application)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        async with running(config(tmp_path, f"http://127.0.0.1:{port}/v1", "m", m={"attempts": 3})) as house:
            status, text = await posted(house, "chat/completions", {"model": "m", "messages": ASK})
            assert status == 502 and "set its url to where it is now" in text
        await runner.cleanup()

    asyncio.run(work())
    assert seen == ["/v1/chat/completions"]


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"thinking": {"type": "enabled", "budget_tokens": 101}}, "thinking.budget_tokens"),
        ({"reasoning": {"max_tokens": 6}, "max_tokens": 5}, "reasoning.max_tokens"),
        ({"thinking_token_budget": 10**9}, "thinking_token_budget"),
        ({"thinking_budget": 5}, "thinking_budget"),
        ({"enable_thinking": True}, "enable_thinking"),
    ],
)
def test_thoughts_are_no_longer_than_what_is_held(
    up: Upstream, tmp_path: Path, about: dict[str, Any], named: str
) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            seen = up.tries["fine"]
            status, text = await posted(house, "chat/completions", {"model": "fine", "messages": ASK} | about)
            assert (status, json.loads(text)["error"]["param"]) == (400, named)
            inside = {"thinking": {"type": "enabled", "budget_tokens": 50}, "reasoning": {"max_tokens": 7}}
            status, _ = await posted(house, "chat/completions", {"model": "fine", "messages": ASK} | inside)
            assert status == 200 and up.tries["fine"] == seen + 1

    asyncio.run(work())


def test_thoughts_and_answer_of_qwen_are_bounded_together() -> None:
    body = {"model": "m", "messages": ASK, "enable_thinking": True, "thinking_budget": 3, "max_tokens": 50}
    sent = bounded_body("chat/completions", body, "qwen", (), "m")
    assert sent["max_completion_tokens"] == 50 and "max_tokens" not in sent and sent["enable_thinking"] is True
    with pytest.raises(GatewayError, match='dialect = "qwen"'):
        bounded_body("chat/completions", body, "compatible", (), "m")


def test_words_that_the_gateway_adds_are_held_for(up: Upstream, tmp_path: Path) -> None:
    """A reminder of 3,000 bytes, at a millionth of a dollar each, is more than what is left."""
    made = config(tmp_path, up.url, "fine") | {"guard": {"reminder": "Be brief. " * 300}}
    with CallLedger.open(made["books"]) as ledger:
        ledger.set_budget(SpendBudget("all", "", "total", 2_000_000_000))

    async def work() -> None:
        async with running(made) as house:
            body = {"model": "fine", "messages": ASK, "max_tokens": 5}
            seen = up.tries["fine"]
            for model in ("fine", "comptroller/once"):
                body = body | {"model": model, "comptroller": {"reminder": True}}
                status, text = await posted(house, "chat/completions", body)
                assert status == 429 and "may cost" in text, text
            assert up.tries["fine"] == seen
            status, _ = await posted(house, "chat/completions", body | {"comptroller": {"reminder": False}})
            assert status == 200

    asyncio.run(work())


@pytest.mark.parametrize("about", [{"server_tool_use": {"web_search_requests": 2}}, {"num_sources_used": 12}])
def test_searches_that_are_sold_apart_are_counted(about: dict[str, Any]) -> None:
    (count,) = parse_usage(USAGE | about, 1).other.values()
    assert count in (2, 12)


def test_many_headers_are_refused_before_they_are_read(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            host, _, port = house.url.removeprefix("http://").partition(":")
            for count, status in ((MOST_FIELDS + 1, b" 431 "), (MOST_FIELDS - 1, b" 200 ")):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(b"GET /health HTTP/1.1\r\nhost: localhost\r\n" + b"a: b\r\n" * count + b"\r\n")
                assert status in await reader.readline()
                writer.close()

    asyncio.run(work())


@pytest.mark.parametrize(("dialect", "name"), [("openai", "max_completion_tokens"), ("vllm", "max_tokens")])
def test_a_cap_that_no_client_asked_for_has_the_dialect_s_name(
    up: Upstream, tmp_path: Path, dialect: str, name: str
) -> None:
    """OpenAI's reasoning models refuse max_tokens."""

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", fine={"dialect": dialect})) as house:
            for path, asked in ASKS.items():
                await posted(house, path, asked | {"model": "fine"})
                sent = up.seen["fine"][-1]
                assert {"max_tokens", "max_completion_tokens"} & sent.keys() == {name}, sent
                assert sent[name] == (50 if path == "messages" else 100)

    asyncio.run(work())


NESTED = "difficulty_gate(slow=" * 60 + "once" + ")" * 60


@pytest.mark.parametrize(
    ("path", "about", "named"),
    [
        ("chat/completions", {"model": f"comptroller/{NESTED}"}, "model"),
        ("chat/completions", {"comptroller": {"strategy": NESTED}}, "model"),
        ("chat/completions", {"messages": ASK * 10_001}, "messages"),
        ("chat/completions", {"messages": [{"role": "user", "content": [{"a": 1}] * 10_001}]}, "messages[0].content"),
        ("responses", {"input": [{"role": "user", "content": "x"}] * 10_001}, "input"),
        ("messages", {"messages": ASK * 10_001}, "messages"),
        ("messages", {"tools": [{"name": "x"}] * 10_001}, "tools"),
    ],
    ids=range(7),
)  # fmt: skip
def test_what_would_hold_up_all_others_is_refused(
    up: Upstream, tmp_path: Path, path: str, about: dict[str, Any], named: str
) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            status, text = await posted(house, path, {"model": "fine"} | ASKS[path] | about)
            assert status == 400 and named in text, text

    asyncio.run(work())

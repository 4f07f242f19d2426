"""The door with the official client: endpoints, tools, errors, keys, limits, and what is told about cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.query import totals
from gateway_houses import GUARD_S, House, config, rows, running, until
from gateway_upstream import USAGE, WORDS, Upstream, upstream

SAID = "".join(WORDS)
ASK: list[Any] = [{"role": "user", "content": "Sag was."}]
WEATHER: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


async def got(house: House, path: str, key: str = "") -> tuple[int, str]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with aiohttp.ClientSession() as session, session.get(house.url + path, headers=headers) as reply:
        return reply.status, await reply.text()


def test_chat_as_asked_with_what_it_cost(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            raw = await house.client().chat.completions.with_raw_response.create(
                model="fine", messages=ASK, temperature=0.3, user="u7", extra_body={"top_k": 5, "min_p": 0.1}
            )
            sent = up.seen["fine"][-1]
            wanted = {"model": "fine", "temperature": 0.3, "user": "u7", "top_k": 5, "min_p": 0.1}
            assert sent == wanted | {"messages": ASK, "max_tokens": 100}, "passed on whole, under the service's cap"
            reply = raw.parse()
            assert reply.choices[0].message.content == SAID and reply.usage is not None
            assert reply.usage.model_dump(exclude_none=True) == USAGE
            told = reply.model_extra["comptroller"]
            assert told["cost"] == {
                "usd": 23e-6, "j": None, "gco2e": None,
                "tokens": {"input": 11.0, "cached": 0.0, "output": 6.0, "reasoning": 0.0},
            }  # fmt: skip
            assert raw.headers["x-comptroller-usd"] == "2.3e-05" and raw.headers["x-comptroller-calls"] == "1"
            assert raw.headers["x-request-id"] == told["request"]
            for _ in range(25):
                last = await house.client().chat.completions.with_raw_response.create(model="fine", messages=ASK)
            assert last.headers["x-comptroller-predicted-usd"] == "2.3e-05,2.3e-05", "what its like cost lately"

    asyncio.run(work())
    assert len({row["request"] for row in rows(tmp_path / "books.sqlite")}) == 26


def test_tools_whole_and_in_a_stream(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "tools", "tools_stream")) as house:
            client = house.client()
            reply = await client.chat.completions.create(model="tools", messages=ASK, tools=WEATHER)
            (call,) = reply.choices[0].message.tool_calls or ()
            assert call.function.name == "weather" and json.loads(call.function.arguments) == {"city": "Köln"}
            assert reply.choices[0].finish_reason == "tool_calls"
            async with client.chat.completions.stream(model="tools_stream", messages=ASK, tools=WEATHER) as stream:
                final = await stream.get_final_completion()
            (call,) = final.choices[0].message.tool_calls or ()
            assert json.loads(call.function.arguments) == {"city": "Köln"}
            assert final.usage is not None and final.usage.total_tokens == USAGE["total_tokens"]
            flat: Any = [{"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}]
            answer = await client.responses.create(model="tools", input="Wetter?", tools=flat)
            (item,) = (item for item in answer.output if item.type == "function_call")
            assert item.name == "weather" and json.loads(item.arguments) == {"city": "Köln"}
            history: Any = [
                {"role": "user", "content": "Wetter?"},
                {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "call_1", "output": "sunny"},
            ]
            await client.responses.create(model="tools", input=history, instructions="Be kind.", tools=flat)
            roles = [turn["role"] for turn in up.seen["tools"][-1]["messages"]]
            assert roles == ["system", "user", "assistant", "tool"]

    asyncio.run(work())


def test_responses_stream_ends_with_the_whole_and_its_usage(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", "drops", "tools_stream")) as house:
            client = house.client()
            events = [e async for e in await client.responses.create(model="fine", input="Sag was.", stream=True)]
            assert "".join(e.delta for e in events if e.type == "response.output_text.delta") == SAID
            assert [e.sequence_number for e in events] == list(range(len(events)))
            last = events[-1]
            assert last.type == "response.completed" and last.response.output_text == SAID
            assert last.response.usage is not None and last.response.usage.output_tokens == len(WORDS)
            assert last.response.model_extra["comptroller"]["cost"]["usd"] == 23e-6
            async with client.responses.stream(model="tools_stream", input="Wetter?") as stream:
                final = await stream.get_final_response()
            assert final.output[0].type == "function_call" and json.loads(final.output[0].arguments)
            broken = [e async for e in await client.responses.create(model="drops", input="x", stream=True)]
            assert broken[-1].type == "response.failed" and "broke off" in str(broken[-1].response.error)
            with pytest.raises(openai.BadRequestError, match="previous_response_id: responses are not stored"):
                await client.responses.create(model="fine", input="x", previous_response_id="resp_1")

    asyncio.run(work())


def test_embeddings_completions_models_and_health(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", "talk", talk={"endpoints": ["chat"]})) as house:
            client = house.client()
            found = await client.embeddings.create(model="fine", input=["a"])
            assert found.data[0].embedding == [0.5, 0.25]
            assert (await client.completions.create(model="fine", prompt="Sag")).choices[0].text == SAID
            with pytest.raises(openai.BadRequestError, match="talk does not serve embeddings; it serves chat"):
                await client.embeddings.create(model="talk", input="a")
            names = [model.id async for model in client.models.list()]
            assert names[:2] == ["fine", "talk"] and "comptroller/best_of_n" in names
            assert (await client.models.retrieve("comptroller/best_of_n")).id == "comptroller/best_of_n"
            assert [(await got(house, path))[0] for path in ("/health", "/ready", "/comptroller/plan")] == [
                200,
                200,
                404,
            ]
            status, text = await got(house, "/metrics")
            assert status == 200 and 'comptroller_calls_total{finish="stop",service="fine"} 2.0' in text
            assert 'comptroller_tokens_total{kind="output",service="fine"} 6.0' in text

    asyncio.run(work())


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"model": "fine"}, "messages", "missing required field"),
        ({"model": "fine", "messages": []}, "messages", "length >= 1"),
        ({"model": "fine", "messages": ASK, "max_tokens": "5"}, "max_tokens", "Expected `int"),
        ({"model": "fine", "messages": ASK, "n": 0}, "n", ">= 1"),
        ({"model": "fine", "messages": [{"role": "king", "content": "x"}]}, "messages[0].role", "king"),
        ({"model": "gpt-9", "messages": ASK}, "model", "there are fine, comptroller/"),
        ({"model": "comptroller/nope", "messages": ASK}, "model", "unknown strategy 'nope'"),
        ({"model": "comptroller/best_of_n:m=8", "messages": ASK}, "model", "parameter of best_of_n 'm'"),
        ({"model": "comptroller/sample_and_vote:n=1000000000", "messages": ASK}, "model", "more than the 256 calls"),
        ({"model": "comptroller/os:System", "messages": ASK}, "model", "only adaptive_consistency"),
        ({"model": "comptroller/x.py:Evil", "messages": ASK}, "model", "may be named here"),
        ({"model": "comptroller/cascade:by=/etc/passwd", "messages": ASK}, "model", "may be named here"),
        ({"model": "comptroller/best_of_n:n=8", "messages": ASK}, "comptroller.checker", "needs verdicts"),
        ({"model": "comptroller/auto", "messages": ASK}, "model", "needs a plan"),
        ({"model": "comptroller/once", "messages": ASK, "n": 2}, "n", "one answer"),
        ({"model": "fine", "messages": ASK, "comptroller": {"budgets": "1 usd"}}, "comptroller", "budgets"),
        ({"model": "fine", "messages": ASK, "comptroller": {"budget": "1 usd"}}, "comptroller.budget", "strategy"),
        ({"model": "comptroller/once", "messages": ASK, "comptroller": {"budget": "1 eur"}}, None, "cannot read"),
        (
            {"model": "comptroller/once", "messages": ASK, "comptroller": {"checker": {}}},
            "comptroller.checker", "needs one of exact, number",
        ),
        (
            {"model": "comptroller/once", "messages": ASK, "comptroller": {"roles": {"solver": "gpt"}}},
            "comptroller.roles.solver", "there are fine",
        ),
    ],
)  # fmt: skip
def test_bad_input_names_the_field_and_the_fix(
    up: Upstream, tmp_path: Path, body: Any, field: str | None, words: str
) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            where = f"{house.url}/v1/chat/completions"
            async with aiohttp.ClientSession() as session, session.post(where, json=body) as reply:
                error = (await reply.json())["error"]
                assert reply.status in (400, 404) and error["type"] == "invalid_request_error"
                assert error["param"] == field and words in error["message"], error
        assert rows(tmp_path / "books.sqlite") == []

    asyncio.run(work())


def test_no_key_no_service_once_keys_exist_and_a_revoked_one_ends(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        secret = ApiKeyStore(ledger).create("shop", "web")

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", limits={"requests": 3.0})) as house:
            for wrong in ("none", "ck-wrong"):
                with pytest.raises(openai.AuthenticationError, match=r"ck-|unknown, revoked"):
                    await house.client(wrong).chat.completions.create(model="fine", messages=ASK)
            assert [(await got(house, p))[0] for p in ("/metrics", "/v1/models", "/health")] == [401, 401, 200]
            assert (await got(house, "/v1/models", secret))[0] == 200
            client = house.client(secret)
            for _ in range(3):
                await client.chat.completions.create(model="fine", messages=ASK)
            with pytest.raises(openai.RateLimitError, match="rate limit of key shop: 3 requests per minute") as caught:
                await client.chat.completions.create(model="fine", messages=ASK)
            assert int(caught.value.response.headers["retry-after"]) in range(1, 22)
            assert all(secret not in str(headers) for headers in up.headers), "our key stays here"
            assert secret not in (tmp_path / "books.sqlite").read_bytes().decode("latin-1"), "hashed at rest"
            keys = ApiKeyStore(house.gateway.desk.books._ledger)  # type: ignore[attr-defined]
            keys.revoke("shop")
            for known in house.gateway.admission._callers._items.values():
                assert known is not None
                known.asked_s -= 60.0  # the five seconds for which a key is believed are over
            with pytest.raises(openai.AuthenticationError):
                await client.chat.completions.create(model="fine", messages=ASK)

    asyncio.run(work())
    assert {(row["key"]) for row in rows(tmp_path / "books.sqlite")} == {"shop"}


def test_limits_of_tokens_and_dollars(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        tokens, dollars = ApiKeyStore(ledger).create("tokens"), ApiKeyStore(ledger).create("dollars")

    async def work() -> None:
        limits = {"tokens": {"tokens": 20.0}, "dollars": {"usd": 30e-6}}
        async with running(config(tmp_path, up.url, "fine", key_limits=limits)) as house:
            for key, unit in ((tokens, "20 tokens"), (dollars, "3e-05 usd")):
                client = house.client(key)
                await client.chat.completions.create(model="fine", messages=ASK)  # more than a minute's: of a full one
                with pytest.raises(openai.RateLimitError, match=f"{unit} per minute"):
                    await client.chat.completions.create(model="fine", messages=ASK)

    asyncio.run(work())


def test_limits_hold_for_calls_at_once_at_two_gateways_and_rows_have_users_and_tags(
    up: Upstream, tmp_path: Path
) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        secret = ApiKeyStore(ledger).create("shop")

    async def work() -> None:
        about = {"key_limits": {"shop": {"usd": 700e-6}}, "book_users": True}
        document = config(tmp_path, up.url, "fine", **about)
        async with running(document) as one, running(document) as other:
            extra = {"user": "ann", "extra_body": {"comptroller": {"tags": {"team": "search", "env": "prod"}}}}
            clients = [one.client(secret), other.client(secret)] * 30
            asked = [client.chat.completions.create(model="fine", messages=ASK, **extra) for client in clients]
            told = await asyncio.gather(*asked, return_exceptions=True)
            assert all(isinstance(item, openai.RateLimitError) for item in told if isinstance(item, Exception))

    asyncio.run(work())
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        (found,) = totals(ledger, ["user", "tags"])
        assert found.group == ("ann", "env=prod;team=search")
        assert 0 < found.usd < 2 * 700e-6  # a full minute's worth, and what comes in while the calls wait


def test_a_full_queue_says_so_and_the_others_wait(up: Upstream, tmp_path: Path) -> None:
    shared = {"max_in_flight": 1, "max_waiting": 1}
    about = {"stalls": shared | {"wait_s": 0.3}, "endless": shared | {"wait_s": GUARD_S}}

    async def work() -> None:
        async with running(config(tmp_path, up.url, *about, **about)) as house:
            queue = house.gateway.services["endless"].queue

            def ask(model: str) -> Any:
                return house.client().chat.completions.create(model=model, messages=ASK, stream=True)

            first = await ask("stalls")
            with pytest.raises(openai.RateLimitError, match=r"no place at stalls came free within 0.3 s"):
                await ask("stalls")
            await first.close()
            first = await ask("endless")
            second = asyncio.create_task(ask("endless"))
            await until(lambda: queue.waiting == 1)
            with pytest.raises(openai.RateLimitError, match="1 calls and 1 wait"):
                await ask("endless")
            await first.close()
            await (await second).close()  # it waited, and was served
            await until(lambda: queue.busy == 0)

    asyncio.run(work())


def test_bodies_and_paths_that_are_not_ours(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", max_body_bytes=1000)) as house:
            where = f"{house.url}/v1/chat/completions"
            async with aiohttp.ClientSession() as session:
                cases: list[tuple[bytes, str, int]] = [
                    (b"{" + b" " * 2000, "application/json", 413),
                    (b"model=fine", "application/x-www-form-urlencoded", 415),
                    (b"\xff\xfe", "application/json", 400),
                    (b"[]", "application/json", 400),
                ]
                for body, kind, status in cases:
                    async with session.post(where, data=body, headers={"content-type": kind}) as reply:
                        assert reply.status == status and (await reply.json())["error"]["message"]
                async with session.get(where) as reply:
                    assert reply.status == 405 and "there are /v1/chat" in (await reply.json())["error"]["message"]
                async with session.get(house.url + "/v2/x") as reply:
                    assert reply.status == 404

    asyncio.run(work())


def test_beyond_loopback_every_request_needs_a_key(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", host="0.0.0.0")) as house:
            with pytest.raises(openai.AuthenticationError, match="comptroller books keys BOOKS --create"):
                await house.client().chat.completions.create(model="fine", messages=ASK)

    asyncio.run(work())


def test_an_upstream_key_comes_from_the_environment_and_goes_nowhere_else(
    up: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("UP_KEY", "sk-upstream-secret")

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", "broken", fine={"key_env": "UP_KEY"})) as house:
            await house.client().chat.completions.create(model="fine", messages=ASK)
            assert up.headers[-1]["Authorization"] == "Bearer sk-upstream-secret"
            with pytest.raises(openai.InternalServerError):
                await house.client().chat.completions.create(model="broken", messages=ASK)

    asyncio.run(work())
    assert "sk-upstream" not in caplog.text
    assert b"sk-upstream" not in (tmp_path / "books.sqlite").read_bytes()
    assert b"Sag was" not in (tmp_path / "books.sqlite").read_bytes(), "bodies are not stored"

"""The edge of the gateway, where somebody else's bytes would decide: what goes upstream, who comes in, what is booked.

The upstream is a real server that answers as a test says; figures of usage are those of providers' documentation.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.books.budgets import SpendBudget
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.postings import CallQuote, ReleasePosting, ReservationPosting
from comptroller.costs.rating import pusd
from comptroller.gateway.body_fields import DIALECTS, bounded_body
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.service import CALLERS, FAILURES, CircuitBreaker
from comptroller.gateway.upstream_queue import UpstreamQueue
from comptroller.work.call import Call
from gateway_houses import House, config, held, rows, running, until
from gateway_upstream import USAGE, WORDS, Upstream, chunk, upstream, whole

CHAT = "chat/completions"
ASK: list[Any] = [{"role": "user", "content": "Sag was."}]
LONG = {"context_tokens": 200_000, "max_output_tokens": 50_000}
"""Room for what the cases report."""
PRICE = {"input": "1", "output": "2", "cached": "0.10", "cache_write": "1.25", "source": "test"}


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


async def posted(house: House, body: Any, key: str = "", path: str = CHAT, **more: str) -> tuple[int, Any]:
    headers = ({"authorization": f"Bearer {key}"} if key else {}) | more
    where = f"{house.url}/v1/{path}"
    async with aiohttp.ClientSession() as session, session.post(where, json=body, headers=headers) as reply:
        return reply.status, json.loads(await reply.text() or "null")


async def booked(folder: Path, count: int) -> list[dict[str, Any]]:
    books = folder / "books.sqlite"
    await until(lambda: len(rows(books)) >= count and not held(books))
    return rows(books)


def key_with(folder: Path, usd: str) -> str:
    with CallLedger.open(str(folder / "books.sqlite")) as ledger:
        ledger.set_budget(SpendBudget("key", "shop", "total", pusd(usd)))
        return ApiKeyStore(ledger).create("shop")


def chat(prompt: int, output: int, total: int | None = None, **details: Any) -> dict[str, Any]:
    total = prompt + output if total is None else total
    return {"prompt_tokens": prompt, "completion_tokens": output, "total_tokens": total} | details


USAGES: list[tuple[str, dict[str, Any], str | None, dict[str, int]]] = [
    ("xAI: reasoning beside the completion", chat(32, 900, 1232, completion_tokens_details={"reasoning_tokens": 300}),
     "0.002432", {"output_tokens": 1200, "reasoning_tokens": 300}),
    ("xAI: more reasoning than answer", chat(32, 9, 335, completion_tokens_details={"reasoning_tokens": 294}),
     "0.000638", {"output_tokens": 303}),
    ("Gemini: a total above its parts", chat(5, 10, 215), "0.000425", {"input_tokens": 5, "output_tokens": 210}),
    ("cache writes inside the prompt", chat(10_000, 100, prompt_tokens_details={"cache_write_tokens": 9000}),
     "0.012450", {"cache_write_tokens": 9000}),
    ("a whole reply of 0/0", chat(0, 0), None, {}),
    ("an answer without an output token", chat(11, 0), None, {}),
    ("an answer to nothing", chat(0, 8), None, {}),
    ("a total below its parts", chat(500, 500, 600), None, {}),
    ("reasoning that is in neither", chat(10, 20, 45, completion_tokens_details={"reasoning_tokens": 7}), None, {}),
    ("more than any integer of the books", chat(10**19, 5), None, {}),
    ("a count that is none", chat(11, 6) | {"prompt_tokens": 1e300}, None, {}),
]  # fmt: skip


@pytest.mark.parametrize(("usage", "usd", "tokens"), [case[1:] for case in USAGES], ids=[case[0] for case in USAGES])
def test_usage_is_booked_as_it_is_billed_or_unknown_at_the_worst_case(
    up: Upstream, tmp_path: Path, usage: Any, usd: str | None, tokens: dict[str, int]
) -> None:
    up.replies["told"] = (200, whole("told", usage))
    services = config(tmp_path, up.url, "told", told=LONG | {"price": PRICE})

    async def work() -> None:
        async with running(services) as house:
            status, reply = await posted(house, {"model": "told", "messages": ASK})
            assert status == 200 and (reply["usage"] is None) == (usd is None)
            (row,) = await booked(tmp_path, 1)
            if usd is None:
                assert row["pusd"] is None and row["output_tokens"] is None and row["note"]
                assert reply["comptroller"]["cost"]["usd"] is None
                assert row["charged_pusd"] >= 50_000 * 2 * 10**6, "never cheap"
            else:
                assert row["pusd"] == row["charged_pusd"] == pusd(usd)
                assert {name: row[name] for name in tokens} == tokens

    asyncio.run(work())


@pytest.mark.parametrize("stream", [False, True])
def test_more_than_was_permitted_is_not_believed(
    up: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    secret = key_with(tmp_path, "0.01")
    usage = chat(11, 5_000_000)
    up.replies["told"] = (200, whole("told", usage))
    up.events["tolds"] = [chunk({"content": "x"}), chunk({}, "stop"), chunk(usage=usage)]
    model = "tolds" if stream else "told"

    async def work() -> None:
        async with running(config(tmp_path, up.url, model)) as house:
            body = {"model": model, "messages": ASK, "max_tokens": 100, "stream": stream}
            async with aiohttp.ClientSession() as session:
                about = {"json": body, "headers": {"authorization": f"Bearer {secret}"}}
                async with session.post(f"{house.url}/v1/chat/completions", **about) as reply:
                    assert (reply.status == 200 and "5000000" not in await reply.text()) or not stream
            (row,) = await booked(tmp_path, 1)
            assert row["pusd"] is None and "reported 5000000 output tokens, 100 were permitted" in row["note"]
            assert row["charged_pusd"] < 10**9, "the worst case that was held, not what was claimed"
            async with aiohttp.ClientSession() as session, session.get(f"{house.url}/ready") as ready:
                assert (await ready.json())["doubted"] == 1
            assert (
                'comptroller_settlements{state="doubted"} 1.0'
                in house.gateway.metrics.text([], house.gateway.desk).decode()
            )

    asyncio.run(work())
    assert "5000000 output tokens" in caplog.text


@pytest.mark.parametrize(
    ("more", "status", "words"),
    [
        ({"best_of": 1, "n": 128, "max_tokens": 6}, 400, "best_of: not sent to fine"),
        ({"n": 128, "max_tokens": 6}, 429, "budget of key shop"),
        ({"max_tokens": 5, "n_predict": 100_000}, 400, "use max_tokens"),
        ({"max_tokens": 5, "num_predict": 100_000}, 400, "use max_tokens"),
        ({"max_tokens": 5, "options": {"num_predict": 9}}, 400, "options: not sent"),
        ({"max_tokens": 5, "use_beam_search": True}, 400, "use n"),
        ({"max_tokens": 5, "web_search_options": {}}, 400, "services.fine.fields"),
        ({"max_tokens": 5, "models": ["dear"]}, 400, "models: not sent"),
        ({"best_of": "x"}, 400, "best_of"),
    ],
)
def test_what_could_lengthen_or_multiply_is_refused_by_name(
    up: Upstream, tmp_path: Path, more: Any, status: int, words: str
) -> None:
    secret = key_with(tmp_path, "0.0005")
    seen = len(up.seen.get("fine", ()))

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            got, reply = await posted(house, {"model": "fine", "messages": ASK} | more, secret)
            assert got == status and words in reply["error"]["message"], reply
        assert len(up.seen.get("fine", ())) == seen and rows(tmp_path / "books.sqlite") == []

    asyncio.run(work())


@pytest.mark.parametrize("dialect", DIALECTS)
def test_one_length_goes_upstream_under_the_name_of_the_dialect(dialect: str) -> None:
    both = {"model": "m", "messages": ASK, "max_completion_tokens": 1, "max_tokens": 100_000}
    sent = bounded_body("chat/completions", both, dialect, (), "fine")
    (name,) = {"max_tokens", "max_completion_tokens"} & sent.keys()
    assert sent[name] == 1 and name == (DIALECTS[dialect].length or "max_tokens")
    text = bounded_body("completions", {"model": "m", "prompt": "x", "max_tokens": 7}, dialect, (), "fine")
    assert text["max_tokens"] == 7
    with pytest.raises(GatewayError, match="n_predict"):
        bounded_body("chat/completions", both | {"n_predict": 5}, dialect, (), "fine")
    assert bounded_body("chat/completions", both | {"own": 5}, dialect, ("own",), "fine")["own"] == 5


def test_a_service_tier_is_held_and_charged_at_its_own_price(up: Upstream, tmp_path: Path) -> None:
    usage = chat(11, 6)
    up.replies["tier"] = (200, whole("tier", usage) | {"service_tier": "priority"})
    up.replies["book"] = (200, whole("book", usage) | {"service_tier": "default"})
    up.replies["own"] = (200, whole("own", usage) | {"service_tier": "priority"})
    price = {"price": "openai/gpt-5"}
    services = config(tmp_path, up.url, "tier", "book", "own", tier=price, book=price)

    async def work() -> None:
        async with running(services) as house:
            for model, tier in (("tier", "priority"), ("book", "auto"), ("own", "auto")):
                status, reply = await posted(house, {"model": model, "messages": ASK, "service_tier": tier})
                assert status == 200, reply
            found = await booked(tmp_path, 3)
            assert [row["pusd"] for row in found] == [pusd("0.0001475"), pusd("0.00007375"), None]
            assert "no price" in found[2]["note"] or "none of tier priority" in found[2]["note"]
            status, reply = await posted(house, {"model": "book", "messages": ASK, "service_tier": "golden"})
            assert status == 400 and "golden" in reply["error"]["message"]

    asyncio.run(work())


def test_a_region_has_its_own_price(up: Upstream, tmp_path: Path) -> None:
    about = {"far": {}, "near": {"region": "us"}}
    for model in about:
        up.replies[model] = (200, whole(model, chat(11, 6, inference_geo="us")))

    async def work() -> None:
        async with running(config(tmp_path, up.url, *about, **about)) as house:
            for model in about:
                await posted(house, {"model": model, "messages": ASK})
            far, near = await booked(tmp_path, 2)
            assert far["pusd"] is None and "served in region 'us'" in far["note"]
            assert near["pusd"] == 23 * 10**6
            said = {"x-comptroller-question": "q" * 201}
            status, reply = await posted(house, {"model": "near", "messages": ASK}, **said)
            assert status == 400 and "question" in reply["error"]["message"]

    asyncio.run(work())


def test_audio_has_its_own_price_and_embeddings_are_priced(up: Upstream, tmp_path: Path) -> None:
    usage = chat(1000, 1000, prompt_tokens_details={"audio_tokens": 900})
    up.replies["audio"] = (200, whole("audio", usage))
    up.replies["plain"] = (200, whole("plain", usage))
    about = {"audio": LONG | {"price": "google/gemini-2.5-flash"}, "vec": {"price": "openai/text-embedding-3-small"}}
    about |= {"plain": LONG}

    async def work() -> None:
        async with running(config(tmp_path, up.url, *about, **about)) as house:
            sound = [
                {"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}
            ]
            status, _ = await posted(house, {"model": "audio", "messages": sound})
            assert status == 200
            status, _ = await posted(house, {"model": "vec", "input": "Sag was."}, path="embeddings")
            assert status == 200
            await posted(house, {"model": "plain", "messages": sound})
            first, second, third = await booked(tmp_path, 3)
            assert third["pusd"] is None and "no price for input_audio_tokens" in third["note"]
            assert third["charged_pusd"] >= 50_000 * 2 * 10**6
            assert first["pusd"] == pusd("0.00343") and first["input_tokens"] == 1000
            assert second["pusd"] == 4 * 20_000, "$0.02 per million"

    asyncio.run(work())


def test_a_provider_s_own_cost_that_differs_is_noted(up: Upstream, tmp_path: Path) -> None:
    up.replies["told"] = (200, whole("told", chat(100, 100, cost=0.05)))
    up.replies["same"] = (200, whole("same", chat(100, 100, cost_in_usd_ticks=3_000_000)))

    async def work() -> None:
        async with running(config(tmp_path, up.url, "told", "same")) as house:
            for model in ("told", "same"):
                await posted(house, {"model": model, "messages": ASK})
            told, same = await booked(tmp_path, 2)
            assert told["pusd"] == pusd("0.0003") and told["note"] == "the provider says $0.05, the price makes $0.0003"
            assert same["pusd"] == pusd("0.0003") and not same["note"]
            assert house.gateway.desk.doubted == 1

    asyncio.run(work())


def test_a_streamed_tool_call_that_is_said_to_be_nothing_is_unknown(up: Upstream, tmp_path: Path) -> None:
    call = {"index": 0, "id": "c", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    up.events["toolzero"] = [chunk({"tool_calls": [call]}), chunk({}, "tool_calls"), chunk(usage=chat(11, 0))]
    part = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    odd = chunk({"content": [part, {"type": "text", "text": "13"}]})
    odd["choices"][0]["logprobs"] = {"content": [{"token": "13", "logprob": None}]}
    up.events["odd"] = [odd, chunk({"content": 5}), chunk({}, "stop"), chunk(usage=chat(11, 9))]

    async def work() -> None:
        async with running(config(tmp_path, up.url, "toolzero", "odd", odd={"attempts": 3})) as house:
            for model in ("toolzero", "odd"):
                async with aiohttp.ClientSession() as session:
                    body = {"model": model, "messages": ASK, "stream": True}
                    async with session.post(f"{house.url}/v1/chat/completions", json=body) as reply:
                        text = await reply.text()
                        assert reply.status == 200 and "[DONE]" in text
            assert '"type":"thinking"' in text.replace(" ", ""), "passed on as it came"
            first, second = await booked(tmp_path, 2)
            assert first["pusd"] is None and second["pusd"] == (11 + 18) * 10**6

    asyncio.run(work())


@pytest.mark.parametrize(
    "reply",
    [
        {"choices": 5}, {"choices": None}, {"choices": []}, {"choices": [5]}, {"error": {"message": "no credit"}},
        {"choices": [{"index": 0, "finish_reason": "stop", "message": None}]}, {"error": "x", "usage": USAGE},
    ],
    ids=str,
)  # fmt: skip
def test_an_odd_reply_is_502_by_name_and_not_paid_for_again(up: Upstream, tmp_path: Path, reply: Any) -> None:
    up.replies["odd"] = (200, reply)

    async def work() -> None:
        async with running(config(tmp_path, up.url, "odd", odd={"attempts": 3})) as house:
            for path, asked in (("chat/completions", {"messages": ASK}), ("responses", {"input": "x"})):
                status, told = await posted(house, {"model": "odd"} | asked, path=path)
                assert status == 502 and "odd answered" in told["error"]["message"], told
            found = await booked(tmp_path, 2)
            assert [(row["finish"], row["pusd"], row["attempt"]) for row in found] == [("failed", None, 0)] * 2

    asyncio.run(work())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("chat/completions", b'{"model":"fine","messages":[{"role":"user","content":"x"}],"tools":%s}'
         % (b'[{"a":' * 3000 + b"1" + b"}]" * 3000)),
        ("chat/completions", b"[" * 100_000),
        ("responses", {"input": "x", "tools": [{"type": "function", "name": 5}]}),
        ("responses", {"input": [{"role": "user", "content": [{"type": ["x"]}]}]}),
        ("responses", {"input": "x", "tool_choice": {"type": "function", "name": {}}, "seed": "x"}),
        ("completions", {"prompt": "x", "best_of": "x"}),
        ("chat/completions", {"messages": ASK, "n": [1]}),
    ],
    ids=range(7),
)  # fmt: skip
def test_an_odd_request_is_400_by_name(up: Upstream, tmp_path: Path, path: str, body: Any) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            data = body if isinstance(body, bytes) else json.dumps({"model": "fine"} | body).encode()
            head = {"content-type": "application/json"}
            where = f"{house.url}/v1/{path}"
            async with aiohttp.ClientSession() as session, session.post(where, data=data, headers=head) as reply:
                error = (await reply.json())["error"]
                assert reply.status == 400 and error["message"], error
        assert rows(tmp_path / "books.sqlite") == []

    asyncio.run(work())


def test_what_a_tool_gave_in_parts_is_text_and_a_filter_is_told(up: Upstream, tmp_path: Path) -> None:
    reply = whole("parts", USAGE, finish="content_filter")
    up.replies["parts"] = (200, reply)
    call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
    given = {"type": "function_call_output", "call_id": "c", "output": [{"type": "input_text", "text": "sunny"}]}

    async def work() -> None:
        async with running(config(tmp_path, up.url, "parts")) as house:
            _, told = await posted(house, {"model": "parts", "input": [call, given]}, path="responses")
            assert up.seen["parts"][-1]["messages"][-1]["content"] == "sunny"
            assert told["status"] == "incomplete" and told["incomplete_details"] == {"reason": "content_filter"}

    asyncio.run(work())


def test_the_last_key_revoked_leaves_the_door_shut(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        keys = ApiKeyStore(ledger)
        assert not keys.ever()
        secret = keys.create("shop")
        keys.revoke("shop")
        assert keys.ever() and not keys.all()

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            for key in ("", "none", secret):
                status, reply = await posted(house, {"model": "fine", "messages": ASK}, key)
                assert status == 401 and reply["error"]["code"] == "invalid_api_key"

    asyncio.run(work())


def test_schemes_have_no_case(up: Upstream, tmp_path: Path) -> None:
    secret = key_with(tmp_path, "1")

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            for scheme in ("Bearer", "bearer", "BEARER "):
                said = {"authorization": f"{scheme} {secret}"}
                status, _ = await posted(house, {"model": "fine", "messages": ASK}, **said)
                assert status == 200

    asyncio.run(work())


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content-type": "text/plain;charset=json"}, 415),
        ({"content-type": "application/jsonp"}, 415),
        ({"content-type": "APPLICATION/JSON; charset=utf-8"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "https://app.example"}, 200),
        ({"host": "evil.example"}, 421),
        ({"host": "localhost:1"}, 200),
        ({"host": "gate.internal"}, 200),
    ],
)
def test_a_page_of_a_browser_gets_in_only_where_it_is_allowed(
    up: Upstream, tmp_path: Path, headers: dict[str, str], status: int
) -> None:
    services = config(tmp_path, up.url, "fine", origins=["https://app.example"], hosts=["gate.internal"])
    about = {"content-type": "application/json"} | headers
    seen = len(up.seen.get("fine", ()))

    async def work() -> None:
        async with running(services) as house, aiohttp.ClientSession() as session:
            where = f"{house.url}/v1/chat/completions"
            data = json.dumps({"model": "fine", "messages": ASK})
            async with session.post(where, data=data, headers=about) as reply:
                assert reply.status == status
                if status == 200 and "origin" in headers:
                    assert reply.headers["access-control-allow-origin"] == headers["origin"]
            assert (len(up.seen.get("fine", ())) > seen) == (status == 200)
            if "origin" in headers:
                asks = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
                async with session.options(where, headers=asks | {"origin": headers["origin"]}) as reply:
                    assert reply.status == status

    asyncio.run(work())


def test_no_media_type_is_none_of_ours(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            skip = {"data": b"{}", "skip_auto_headers": ["content-type"]}
            where = f"{house.url}/v1/chat/completions"
            async with aiohttp.ClientSession() as session, session.post(where, **skip) as reply:
                assert reply.status == 415

    asyncio.run(work())


def test_a_settlement_that_cannot_be_kept_as_told_is_kept_as_unknown(
    up: Upstream, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NUL in the text of an error, and figures of any size, where the hold has no cap that they would pass."""
    up.replies["nul"] = (200, {"error": {"message": "a\0b"}})
    up.replies["huge"] = (200, whole("huge", chat(11, 10**19)))
    services = config(tmp_path, up.url, "nul", "huge")
    caplog.set_level(logging.WARNING)

    async def work() -> None:
        async with running(services) as house:
            status, _ = await posted(house, {"model": "nul", "messages": ASK})
            assert status == 502
            status, reply = await posted(house, {"model": "huge", "messages": ASK})
            assert status == 200 and reply["comptroller"]["cost"]["usd"] is None
            found = {row["service"]: row for row in await booked(tmp_path, 2)}
            assert "a\ufffdb" in found["nul"]["note"] and found["nul"]["charged_pusd"] > 200 * 10**6
            assert found["huge"]["pusd"] is None and found["huge"]["note"]
            # what the books themselves refuse is booked as unknown; what was never held is counted and told
            desk = house.gateway.desk
            call = Call(call=desk.books.new_id(), request=1, service="huge")
            await desk.hold(ReservationPosting(call, CallQuote(7)))
            desk._write(ReleasePosting(call, "\0"))
            desk._write(ReleasePosting(Call(call=desk.books.new_id(), request=1), "never held"))
            await until(lambda: desk.unbooked and not desk._pending)
            async with aiohttp.ClientSession() as session, session.get(f"{house.url}/ready") as ready:
                told = await ready.json()
            assert told == {"ready": True, "unwritten": 0, "unknown": 2, "unbooked": 1, "doubted": 1}
            (row,) = [row for row in rows(tmp_path / "books.sqlite") if row["charged_pusd"] == 7]
            assert row["pusd"] is None and row["note"].startswith("booked as unknown: call")

    asyncio.run(work())
    assert "is not booked" in caplog.text and "booked as unknown" in caplog.text


def test_holds_end_with_their_process(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            desk = house.gateway.desk
            await desk.hold(ReservationPosting(Call(call=desk.books.new_id(), request=1), CallQuote(7)))
            assert held(tmp_path / "books.sqlite") == 1

    asyncio.run(work())
    assert held(tmp_path / "books.sqlite") == 0
    (row,) = rows(tmp_path / "books.sqlite")
    assert (row["kind"], row["charged_pusd"]) == ("lost", 7)


def test_what_one_caller_sends_does_not_shut_the_service_for_others(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        pictures, shop = (ApiKeyStore(ledger).create(name) for name in ("pictures", "shop"))
    up.replies["text"] = (500, {"error": {"message": "image input is not supported"}})

    async def work() -> None:
        async with running(config(tmp_path, up.url, "text", text={"attempts": 3})) as house:
            body = {"model": "text", "messages": ASK}
            for _ in range(2):
                status, _ = await posted(house, body, pictures)
                assert status == 500
            assert up.tries["text"] == 4, "one more attempt each, not two"
            for _ in range(FAILURES):
                await posted(house, body, pictures)
            assert (await posted(house, body, pictures))[0] == 503, "its own requests alone are spared the service"
            up.replies["text"] = (200, whole("text", USAGE))
            assert (await posted(house, body, shop))[0] == 200
            assert (await posted(house, body, pictures))[0] == 200, "a success shows that the service works"

    asyncio.run(work())


def test_a_breaker_counts_requests_and_callers_not_attempts() -> None:
    breaker = CircuitBreaker()
    for _ in range(10):
        breaker.failed(0.0, "a", request=1)
    assert not breaker.resting(0.1, "a")
    for caller in "ab"[:CALLERS]:
        assert not breaker.resting(0.1, "c")
        for request in range(FAILURES):
            breaker.failed(0.0, caller, request)
    assert breaker.resting(0.1, "c") and breaker.tripped
    breaker.succeeded()
    assert breaker.well and not breaker.resting(0.1, "a")
    for request in range(FAILURES):
        breaker.failed(0.0, "a", request, away=True)
    assert breaker.resting(0.1, "c"), "a service that is not there is there for nobody"


def test_the_upstream_s_words_about_our_key_stay_here(up: Upstream, tmp_path: Path) -> None:
    up.replies["key"] = (401, {"error": {"message": "Incorrect API key provided: sk-TOPSECRET"}})

    async def work() -> None:
        async with running(config(tmp_path, up.url, "key", key={"attempts": 3})) as house:
            before = up.tries["key"]
            status, reply = await posted(house, {"model": "key", "messages": ASK})
            assert status == 502 and "refused the key of the gateway" in reply["error"]["message"]
            assert up.tries["key"] == before + 1
            (row,) = await booked(tmp_path, 1)
            assert row["charged_pusd"] == 0 and "TOPSECRET" not in row["note"]

    asyncio.run(work())


def test_places_go_to_callers_in_turn_and_a_long_line_gives_way() -> None:
    async def work() -> None:
        queue, served, places = UpstreamQueue("a", most=1, waiting=6, wait_s=600.0), list[str](), list[Any]()

        async def ask(caller: str) -> None:
            places.append(await queue.enter(caller))
            served.append(caller)

        places.append(await queue.enter("first"))
        many = [asyncio.create_task(ask("many")) for _ in range(6)]
        await until(lambda: queue.waiting == 6)
        few = [asyncio.create_task(ask("few")) for _ in range(2)]
        await until(lambda: sum(task.done() for task in many) == 2)
        assert queue.waiting == 6
        with pytest.raises(GatewayError, match="6 wait"):
            await queue.enter("many")
        for _ in range(6):
            places.pop().leave()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        told = await asyncio.gather(*many, *few, return_exceptions=True)
        assert served == ["many", "few", "many", "few", "many", "many"]
        assert sum(isinstance(item, GatewayError) for item in told) == 2
        places.pop().leave()
        assert (queue.busy, queue.waiting) == (0, 0)

    asyncio.run(work())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.lists(st.tuples(st.sampled_from("abc"), st.booleans()), max_size=60))
def test_a_key_has_no_more_than_its_places_and_none_stays_free_for_who_may_have_it(
    most: int, per_key: int, steps: list[tuple[str, bool]]
) -> None:
    """Calls that come, leave or give up in any order, against the rule said over sets."""

    async def work() -> None:
        queue = UpstreamQueue("a", most=most, waiting=100, wait_s=600.0, per_key=per_key)
        waiting: list[tuple[str, asyncio.Task[Any]]] = []
        having: list[tuple[str, Any]] = []

        async def settle() -> None:
            for _ in range(3):
                await asyncio.sleep(0)
            for one in [one for one in waiting if one[1].done()]:
                waiting.remove(one)
                if not one[1].cancelled():
                    having.append((one[0], one[1].result()))
            held = Counter(key for key, _ in having)
            assert (queue.busy, queue.waiting) == (len(having), len(waiting)) and len(having) <= most
            assert all(queue.held(key) == held[key] <= per_key for key in "abc")
            for key in "abc":
                assert queue.has_place(key) == (len(having) < most and held[key] < per_key)
                assert not (queue.has_place(key) and any(who == key for who, _ in waiting)), "a place lies idle"

        for key, comes in steps:
            if comes:
                waiting.append((key, asyncio.create_task(queue.enter(key))))
            elif mine := [one for one in having if one[0] == key]:
                having.remove(mine[0])
                mine[0][1].leave()
            elif late := [task for who, task in waiting if who == key]:
                late[0].cancel()
            await settle()
        while having or waiting:
            having.pop(0)[1].leave()
            await settle()

    asyncio.run(work())


def test_a_header_of_100_mb_is_refused_at_once_without_a_key(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", require_key=True)) as house:
            host, port = house.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Large: ")
            sent, piece = 0, b"x" * 2**16
            with pytest.raises(ConnectionError):
                while sent < 100 * 10**6:
                    writer.write(piece)
                    await writer.drain()
                    sent += len(piece)
            assert sent < 20 * 10**6, "hung up long before its end: what was sent since lies in the system's buffers"
            async with aiohttp.ClientSession() as session, session.get(f"{house.url}/health") as reply:
                assert reply.status == 200
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"A: b\r\n" * 12_000)
            assert b" 431 " in await reader.readline()
            writer.close()

    asyncio.run(work())


def test_half_a_request_is_given_up_and_too_many_connections_are_told(up: Upstream, tmp_path: Path) -> None:
    head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    body = head + b"Content-Type: application/json\r\nContent-Length: 500\r\n\r\n{"
    services = config(tmp_path, up.url, "fine", header_s=0.2, body_s=0.2, max_connections=2)

    async def work() -> None:
        async with running(services) as house:
            host, port = house.url.removeprefix("http://").split(":")
            for half in (b"", head, body):
                reader, writer = await asyncio.open_connection(host, int(port))
                writer.write(half)
                assert b" 408 " in await reader.readline()
                assert b"did not come within 0.2 s" in await reader.read()
                writer.close()
            await until(lambda: not house.gateway.desk.open)

    asyncio.run(work())

    async def many() -> None:
        async with running(services | {"header_s": 600.0}) as house:
            host, port = house.url.removeprefix("http://").split(":")
            open_ones = [await asyncio.open_connection(host, int(port)) for _ in range(2)]
            reader, writer = await asyncio.open_connection(host, int(port))
            assert b" 503 " in await reader.readline() and b"2 connections are open" in await reader.read()
            for _, one in (*open_ones, (reader, writer)):
                one.close()

    asyncio.run(many())


def test_what_is_told_in_the_books_is_what_arrived(up: Upstream, tmp_path: Path) -> None:
    """The usual answer is believed: the checks above refuse nothing that is right."""

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            status, _ = await posted(house, {"model": "fine", "messages": ASK, "max_tokens": len(WORDS)})
            assert status == 200
            (row,) = await booked(tmp_path, 1)
            assert row["pusd"] == (11 + 2 * len(WORDS)) * 10**6 and not row["note"]
            assert house.gateway.desk.doubted == house.gateway.desk.unknown == 0

    asyncio.run(work())

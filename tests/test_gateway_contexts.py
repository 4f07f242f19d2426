"""Sleep-time compute: notes are made when nobody asks, within a budget; questions use them, their saving is told."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from books_databases import postgres, where  # noqa: F401
from comptroller.books.contexts import MOST, ContextStore, SleepContext
from comptroller.books.grouping import grouped_totals
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from gateway_houses import GUARD_S, House, config, running, until
from gateway_upstream import Upstream, upstream

TEXT = "The shop opened in 1990 and sold 12 lamps a day."


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


async def call(house: House, method: str, path: str, body: Any = None, key: str = "") -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, f"{house.url}{path}", json=body) as answer,
    ):
        return answer.status, await answer.json()


def about(name: str) -> dict[str, Any]:
    """A chat on a context."""
    messages = [{"role": "user", "content": "How many in a week?"}]
    return {"model": "fine", "messages": messages, "comptroller": {"context": name}}


async def settled(house: House, name: str, **about: Any) -> Any:
    """A context whose notes are made, or are not to be had."""
    end = time.monotonic() + GUARD_S
    while (told := (await call(house, "GET", f"/v1/contexts/{name}", **about))[1])["status"] == "pending":
        assert time.monotonic() < end, "hangs"
        await asyncio.sleep(0.02)
    return told


def context(**about: Any) -> dict[str, Any]:
    return {"model": "fine", "context": TEXT, "budget": "0.01 usd", "max_tokens": 50, "compare": 0.25} | about


def test_notes_are_made_used_and_their_saving_is_measured(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            status, made = await call(house, "POST", "/v1/contexts", context())
            assert status == 201 and made["status"] == "pending" and made["id"].startswith("ctx_")
            assert (await settled(house, made["id"]))["status"] == "ready"
            assert up.seen["fine"][0]["messages"][0]["content"] == TEXT
            for _ in range(8):
                assert (await call(house, "POST", "/v1/chat/completions", about(made["id"])))[0] == 200
            told = [body["messages"][0]["content"] for body in up.seen["fine"][1:]]
            assert [text == TEXT for text in told].count(True) == 2, "a quarter is asked without notes"
            assert all(text.startswith(TEXT) for text in told)
            _, made = await call(house, "GET", f"/v1/contexts/{made['id']}")
            assert made["status"] == "ready" and made["notes"] and made["usd"] == pytest.approx(23e-6)
            assert {kind: item["questions"] for kind, item in made["questions"].items()} == {"with": 6, "without": 2}
            assert made["saved_usd"] == pytest.approx(-23e-6), "this upstream costs the same either way"

    asyncio.run(work())
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        found = {item.group: item["calls"] for item in grouped_totals(ledger, ["role", "tag:notes"])}
    assert found == {("sleeper", ""): 1, ("solver", "with"): 6, ("solver", "without"): 2}


def test_notes_wait_until_nobody_else_asks(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine", "slowly")) as house:
            up.released.clear()
            slow = asyncio.create_task(
                house.client().chat.completions.create(
                    model="slowly", messages=[{"role": "user", "content": "x"}], stream=True
                )
            )
            stream = await slow
            _, made = await call(house, "POST", "/v1/contexts", context(model="slowly"))
            await asyncio.sleep(0.5)
            _, told = await call(house, "GET", f"/v1/contexts/{made['id']}")
            assert told["status"] == "pending"
            up.released.set()
            async for _ in stream:
                pass
            assert (await settled(house, made["id"]))["notes"]

    asyncio.run(work())


@pytest.mark.parametrize(
    ("about", "status", "named"),
    [
        ({"budget": "0.000001 usd"}, 400, "budget: such notes may cost"),
        ({"budget": "2000 tokens"}, 400, "budget"),
        ({"model": "nothing"}, 404, "no model 'nothing'"),
        ({"compare": 2}, 400, "compare"),
        ({"text": "x"}, 400, "text"),
        ({"context": "a\0b"}, 400, "context"),
        ({"context": ""}, 400, "context"),
    ],
)
def test_bad_input(up: Upstream, tmp_path: Path, about: dict[str, Any], status: int, named: str) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            found, told = await call(house, "POST", "/v1/contexts", context(**about))
            assert found == status and named in told["error"]["message"]
            body = {
                "model": "fine",
                "messages": [{"role": "user", "content": "x"}],
                "comptroller": {"context": "ctx_1"},
            }
            found, told = await call(house, "POST", "/v1/chat/completions", body)
            assert found == 404 and "no context 'ctx_1' of this key" in told["error"]["message"]

    asyncio.run(work())


def test_two_gateways_share_contexts_and_one_that_starts_again_has_them(
    up: Upstream,
    tmp_path: Path,
    where: str,  # noqa: F811
) -> None:
    document = config(tmp_path, up.url, "fine") | {"books": where}

    async def work() -> None:
        async with running(document) as one, running(document) as two:
            _, made = await call(one, "POST", "/v1/contexts", context())
            await settled(two, made["id"])
            asked = [call(house, "POST", "/v1/chat/completions", about(made["id"])) for house in (one, two) * 4]
            assert [status for status, _ in await asyncio.gather(*asked)] == [200] * 8
        async with running(document) as three:
            _, told = await call(three, "GET", f"/v1/contexts/{made['id']}")
            assert {kind: item["questions"] for kind, item in told["questions"].items()} == {"with": 6, "without": 2}
            assert told["notes"] and told["usd"] == pytest.approx(23e-6)
            assert (await call(three, "DELETE", f"/v1/contexts/{made['id']}"))[1]["deleted"] is True
            for method in ("GET", "DELETE"):
                assert (await call(three, method, f"/v1/contexts/{made['id']}"))[0] == 404

    asyncio.run(work())


def test_another_gateway_makes_the_notes_of_one_that_ended(up: Upstream, tmp_path: Path, where: str) -> None:  # noqa: F811
    """The call that was broken off counts against the budget of the context."""
    document = config(tmp_path, up.url, "fine", "hangs") | {"books": where}

    async def work() -> None:
        async with running(document) as one:
            _, begun = await call(one, "POST", "/v1/contexts", context(model="hangs", budget="0.0008 usd"))
            await until(lambda: up.tries["hangs"])
            _, waiting = await call(one, "POST", "/v1/contexts", context(model="hangs"))
        services = {"hangs": document["services"]["fine"] | {"model": "fine"}}
        async with running(document | {"services": services}) as two:
            told = await settled(two, begun["id"])
            assert told["status"] == "failed" and "with 1 calls that were broken off" in told["error"]
            assert (await settled(two, waiting["id"]))["notes"]

    asyncio.run(work())


def test_contexts_belong_to_keys(up: Upstream, tmp_path: Path) -> None:
    document = config(tmp_path, up.url, "fine", "hangs")
    with CallLedger.open(document["books"]) as ledger:
        keys = {name: ApiKeyStore(ledger).create(name) for name in ("mine", "theirs")}

    async def work() -> None:
        async with running(document) as house:
            _, made = await call(house, "POST", "/v1/contexts", context(), keys["mine"])
            path = f"/v1/contexts/{made['id']}"
            for method in ("GET", "DELETE"):
                assert (await call(house, method, path, key=keys["theirs"]))[0] == 404
                assert (await call(house, method, path))[0] == 401
            asked = await call(house, "POST", "/v1/chat/completions", about(made["id"]), keys["theirs"])
            assert asked[0] == 404
            _, left = await call(house, "POST", "/v1/contexts", context(model="hangs"), keys["theirs"])
            assert (await settled(house, made["id"], key=keys["mine"]))["status"] == "ready"
        with CallLedger.open(document["books"]) as ledger:
            ApiKeyStore(ledger).revoke("theirs")
        async with running(document):
            with CallLedger.open(document["books"]) as ledger:
                kept = ContextStore(ledger)
                end = time.monotonic() + GUARD_S
                while (found := kept.find("theirs", left["id"])) is not None and found.status == "pending":
                    assert time.monotonic() < end, "hangs"
                    await asyncio.sleep(0.02)
                assert found is not None and found.why == "its key is revoked or expired"

    asyncio.run(work())


def test_a_key_has_its_most_lately_used_contexts(tmp_path: Path) -> None:
    ticks = count(1_900_000_000_000_000)
    with CallLedger.open(str(tmp_path / "books.sqlite"), lambda: next(ticks)) as ledger:
        kept = ContextStore(ledger)
        for number in range(MOST):
            kept.add(SleepContext(f"ctx_{number}", "a", "m", "t", "1 usd", 9, True, 0.1))
        assert kept.take("a", "ctx_0") is not None
        kept.add(SleepContext("ctx_b", "b", "m", "t", "1 usd", 9, True, 0.1))
        kept.add(SleepContext("ctx_new", "a", "m", "t", "1 usd", 9, True, 0.1))
        there = [kept.find("a", f"ctx_{number}") is not None for number in range(MOST)]
        assert there == [True, False, *[True] * (MOST - 2)] and kept.find("b", "ctx_b") is not None
        kept.end("ctx_new", "ready", notes="with a \0 in it")
        assert kept.find("a", "ctx_new").notes == "with a \ufffd in it"  # type: ignore[union-attr]
        assert not kept.begin("ctx_new"), "what is made is not made again"


def test_without_books_there_are_no_contexts(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine") | {"books": ""}) as house:
            status, told = await call(house, "POST", "/v1/contexts", context())
            assert status == 400 and "kept in the books" in told["error"]["message"]

    asyncio.run(work())

"""What a key may call, an auditor's key, the trace of a caller and its own ids of requests."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest
from sqlalchemy import text

from comptroller.books.budgets import SpendBudget
from comptroller.books.keys import AUDITOR, ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.errors import InputError
from comptroller.gateway import attempt
from gateway_houses import config, held, rows, running
from gateway_upstream import Upstream, upstream

ASK: list[Any] = [{"role": "user", "content": "Where?"}]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def test_a_key_calls_the_services_that_it_may(up: Upstream, tmp_path: Path) -> None:
    """Also not as a fallback, nor as a role of a strategy."""
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        secret = ApiKeyStore(ledger).create("shop", models=["small-*"])
        secret = ApiKeyStore(ledger).rotate("shop")

    async def work() -> None:
        made = {
            "small-a": {"model": "refuses", "fallback": ["large"]},
            "small-b": {"model": "fine"},
            "large": {"model": "fine"},
        }
        up.replies["refuses"] = (503, {"error": {"message": "busy"}})
        async with running(config(tmp_path, up.url, *made, **made)) as house:
            client = house.client(secret)
            assert {"small-a", "small-b"} == {
                item.id for item in (await client.models.list()).data if "/" not in item.id
            }
            await client.chat.completions.create(model="small-b", messages=ASK)
            with pytest.raises(openai.PermissionDeniedError, match=r"may call small-\*, not large"):
                await client.chat.completions.create(model="large", messages=ASK)
            with pytest.raises(openai.InternalServerError):
                await client.chat.completions.create(model="small-a", messages=ASK)
            with pytest.raises(openai.PermissionDeniedError):
                await client.chat.completions.create(
                    model="comptroller/once", messages=ASK, extra_body={"comptroller": {"roles": {"solver": "large"}}}
                )
            told = await client.chat.completions.create(
                model="comptroller/once", messages=ASK, extra_body={"comptroller": {"roles": {"solver": "small-b"}}}
            )
            assert told.model_extra["comptroller"]["services"] == ["small-b"]

    asyncio.run(work())


def test_an_auditors_key_reads_and_spends_nothing(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        keys = ApiKeyStore(ledger)
        with pytest.raises(InputError, match="auditor"):
            keys.create("x", role="king")
        with pytest.raises(InputError, match="without spaces"):
            keys.create("x", models=["a b"])
        secret = keys.create("finance", role=AUDITOR)

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house, aiohttp.ClientSession() as session:
            asked = {"headers": {"api-key": secret}}
            for path in ("/metrics", "/v1/models"):
                async with session.get(house.url + path, **asked) as answer:
                    assert answer.status == 200
            body = {"model": "fine", "messages": ASK}
            async with session.post(f"{house.url}/v1/chat/completions", json=body, **asked) as answer:
                assert answer.status == 403 and (await answer.json())["error"]["code"] == "read_only"

    asyncio.run(work())


@pytest.mark.parametrize(
    ("given", "goes_on"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", True),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", False),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", False),
        ("nonsense", False),
    ],
)
def test_a_trace_goes_on_at_the_service_and_ids_of_requests_are_kept(
    up: Upstream, tmp_path: Path, given: str, goes_on: bool
) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house, aiohttp.ClientSession() as session:
            headers = {"traceparent": given, "tracestate": "a=1", "x-request-id": "job-7"}
            body = {"model": "fine", "messages": ASK}
            async with session.post(f"{house.url}/v1/chat/completions", json=body, headers=headers) as answer:
                assert answer.headers["x-request-id"] == "job-7"
                assert answer.headers["x-comptroller-request"].isdigit()
                sent = {name.lower(): value for name, value in up.headers[-1].items()}
                assert ("traceparent" in sent) == ("tracestate" in sent) == goes_on
                if goes_on:
                    assert sent["traceparent"].split("-")[1] == TRACE and sent["traceparent"] != given
                    assert answer.headers["traceparent"] == sent["traceparent"]

    asyncio.run(work())


def test_books_of_an_older_version_get_the_columns(tmp_path: Path) -> None:
    file = str(tmp_path / "books.sqlite")
    with CallLedger.open(file) as books, books.engine.begin() as connection:
        for column in ("models", "role"):
            connection.execute(text(f"ALTER TABLE key DROP COLUMN {column}"))
        connection.execute(text("DELETE FROM migration WHERE name = '0003_key_limits'"))
    with CallLedger.open(file) as books:
        keys = ApiKeyStore(books)
        secret = keys.create("shop", models=["a"])
        found = keys.find(secret)
        assert found is not None and found.models == ("a",)


def budget(folder: Path, limit_pusd: int) -> str:
    """A key with a limit in total."""
    with CallLedger.open(str(folder / "books.sqlite")) as ledger:
        ledger.set_budget(SpendBudget("key", "shop", "total", limit_pusd))
        return ApiKeyStore(ledger).create("shop")


def test_a_call_waits_for_what_open_calls_hold(up: Upstream, tmp_path: Path) -> None:
    """The limit has room for one worst case at a time, and for what ten calls really cost: all ten are answered."""
    secret = budget(tmp_path, 700 * 10**6)

    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            client = house.client(secret)
            asks = [client.chat.completions.create(model="fine", messages=ASK, max_tokens=50) for _ in range(10)]
            assert len(await asyncio.gather(*asks)) == 10

    asyncio.run(work())
    assert sum(row["pusd"] for row in rows(tmp_path / "books.sqlite")) == 10 * 23 * 10**6
    assert held(tmp_path / "books.sqlite") == 0


def test_a_refusal_that_open_calls_alone_caused_asks_to_come_again(
    up: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempt, "HELD_PAUSES_S", (0.01,))
    secret = budget(tmp_path, 300 * 10**6)

    async def work() -> None:
        async with running(config(tmp_path, up.url, "slowly")) as house:
            client = house.client(secret)
            first = await client.chat.completions.create(model="slowly", messages=ASK, max_tokens=50, stream=True)
            with pytest.raises(openai.RateLimitError) as told:
                await client.chat.completions.create(model="slowly", messages=ASK, max_tokens=50)
            assert told.value.code == "budget_held" and told.value.response.headers["retry-after"] == "1"
            assert "x-should-retry" not in told.value.response.headers
            with pytest.raises(openai.RateLimitError) as told:
                await client.chat.completions.create(model="slowly", messages=ASK * 50, max_tokens=100)
            assert told.value.code == "budget_exceeded" and told.value.response.headers["x-should-retry"] == "false"
            up.released.set()
            assert [chunk async for chunk in first]

    asyncio.run(work())

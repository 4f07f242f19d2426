"""Sleep-time compute: notes are made when nobody asks, within a budget; questions use them, their saving is told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from comptroller.books.grouping import grouped_totals
from comptroller.books.ledger import CallLedger
from gateway_houses import House, config, running, until
from gateway_upstream import Upstream, upstream

TEXT = "The shop opened in 1990 and sold 12 lamps a day."


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


async def call(house: House, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async with aiohttp.ClientSession() as session, session.request(method, f"{house.url}{path}", json=body) as answer:
        return answer.status, await answer.json()


def context(**about: Any) -> dict[str, Any]:
    return {"model": "fine", "context": TEXT, "budget": "0.01 usd", "max_tokens": 50, "compare": 0.25} | about


def test_notes_are_made_used_and_their_saving_is_measured(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            status, made = await call(house, "POST", "/v1/contexts", context())
            assert status == 201 and made["status"] == "pending" and made["id"].startswith("ctx_")
            kept = house.gateway.contexts._kept.get(made["id"])
            await until(lambda: kept is not None and kept.status == "ready")
            assert up.seen["fine"][0]["messages"][0]["content"] == TEXT
            for _ in range(8):
                about = {"comptroller": {"context": made["id"]}}
                ask: Any = [{"role": "user", "content": "How many in a week?"}]
                await house.client().chat.completions.create(model="fine", messages=ask, extra_body=about)
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
            kept = house.gateway.contexts._kept.get(made["id"])
            await asyncio.sleep(0.5)
            assert kept is not None and kept.status == "pending"
            up.released.set()
            async for _ in stream:
                pass
            await until(lambda: kept.status != "pending")

    asyncio.run(work())


@pytest.mark.parametrize(
    ("about", "status", "named"),
    [
        ({"budget": "0.000001 usd"}, 400, "budget: such notes may cost"),
        ({"budget": "2000 tokens"}, 400, "budget"),
        ({"model": "nothing"}, 404, "no model 'nothing'"),
        ({"compare": 2}, 400, "compare"),
        ({"text": "x"}, 400, "text"),
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

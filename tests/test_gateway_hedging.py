"""Hedged requests: whoever answers first is heard, the other is called off and booked, and no budget is passed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger
from comptroller.errors import InputError
from comptroller.gateway.config import config_from_document
from comptroller.gateway.hedging import CALLED_OFF, first_of
from comptroller.serving.hedge_timer import LEAST, HedgeTimer
from gateway_houses import House, config, held, rows, running, until
from gateway_upstream import Upstream, upstream


@pytest.fixture
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made
        made.released.set()


@pytest.fixture
def other() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def record(house: House, name: str, seconds: float = 0.01) -> None:
    """Enough calls of a service for its delay to be known."""
    for _ in range(LEAST):
        for streamed in (True, False):
            house.gateway.services[name].hedges.record(streamed, seconds)


async def ask(house: House, model: str, **about: Any) -> Any:
    messages: Any = [{"role": "user", "content": "x"}]
    return await house.client().chat.completions.create(model=model, messages=messages, **about)


def document(folder: Path, up: Upstream, **about: Any) -> dict[str, Any]:
    """A service that does not answer until it is released, with one that does behind it."""
    up.asleep = {"late"}
    return config(folder, up.url, "late", "fine", late={"hedge": 0.5, "fallback": ["fine"]} | about)


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_answers_and_the_first_is_called_off_and_booked(up: Upstream, tmp_path: Path, stream: bool) -> None:
    async def work() -> None:
        async with running(document(tmp_path, up)) as house:
            record(house, "late")
            house.gateway.services["late"].hedges._credit = 1.0
            answer = await ask(house, "late", stream=stream)
            if stream:
                told = [piece async for piece in answer][-1]
                assert told.comptroller["calls"] == 2 and told.comptroller["services"] == ["fine", "late"]
            else:
                assert answer.comptroller["calls"] == 2 and answer.choices[0].message.content.startswith("Gr")
                assert answer.usage.prompt_tokens == 11
            assert house.gateway.services["late"].hedges.counts.won == 1
            text = house.gateway.metrics.text(list(house.gateway.services.values()), house.gateway.desk).decode()
            assert 'comptroller_hedges{service="late",state="won"} 1.0' in text

    asyncio.run(work())
    first, second = sorted(rows(tmp_path / "books.sqlite"), key=lambda row: row["attempt"])
    assert (first["service"], first["finish"], first["pusd"]) == ("late", "cancelled", None)
    assert CALLED_OFF in first["note"] and first["request"] == second["request"]
    assert (second["service"], second["finish"], second["pusd"]) == ("fine", "stop", 23_000_000)
    assert held(tmp_path / "books.sqlite") == 0


def test_the_other_replica_is_asked(up: Upstream, other: Upstream, tmp_path: Path) -> None:
    up.asleep = {"late"}
    made = config(tmp_path, up.url, "late", late={"hedge": 0.5, "urls": [up.url, other.url], "routing": "round_robin"})

    async def work() -> None:
        async with running(made) as house:
            record(house, "late")
            for _ in range(6):
                house.gateway.services["late"].hedges._credit = 1.0
                await ask(house, "late")
            assert up.tries["late"] >= 3 and other.tries["late"] == 6
            assert house.gateway.services["late"].hedges.counts.won >= 3

    asyncio.run(work())
    assert {row["finish"] for row in rows(made["books"]) if row["pusd"] is None} == {"cancelled"}


def test_a_budget_that_has_room_for_one_is_not_passed(up: Upstream, tmp_path: Path) -> None:
    """The worst case of a call is 128 tokens or so of the prompt, and 100 of output at twice their price."""
    made = document(tmp_path, up)
    with CallLedger.open(made["books"]) as ledger:
        ledger.set_budget(SpendBudget("all", "", "total", 500_000_000))

    async def work() -> None:
        async with running(made) as house:
            record(house, "late")
            house.gateway.services["late"].hedges._credit = 1.0
            asked = asyncio.create_task(ask(house, "late"))
            await until(lambda: house.gateway.services["late"].hedges.counts.hedged)
            await asyncio.sleep(0.2)
            up.released.set()
            assert (await asked).comptroller["calls"] == 1
            assert up.tries["fine"] == 0

    asyncio.run(work())
    assert [row["service"] for row in rows(made["books"])] == ["late"]
    with CallLedger.open(made["books"]) as ledger:
        (balance,) = ledger.balances()
        assert (balance.spent_pusd, balance.held_pusd) == (23_000_000, 0)


def test_a_client_that_leaves_leaves_neither(up: Upstream, tmp_path: Path) -> None:
    made = document(tmp_path, up)
    up.asleep = {"late", "fine"}

    async def work() -> None:
        async with running(made) as house:
            record(house, "late")
            house.gateway.services["late"].hedges._credit = 1.0
            asked = asyncio.create_task(ask(house, "late"))
            await until(lambda: up.tries["fine"])
            asked.cancel()
            await until(lambda: not house.gateway.desk.open)
            assert all(service.queue.busy == 0 for service in house.gateway.services.values())

    asyncio.run(work())
    found = rows(made["books"])
    assert [(row["finish"], row["pusd"], CALLED_OFF in row["note"]) for row in found] == [
        ("cancelled", None, False)
    ] * 2
    assert held(made["books"]) == 0


def test_a_request_counts_once_against_a_limit_of_requests(up: Upstream, tmp_path: Path) -> None:
    made = document(tmp_path, up) | {"limits": {"requests": 2}}

    async def work() -> None:
        async with running(made) as house:
            record(house, "late")
            for _ in range(2):
                house.gateway.services["late"].hedges._credit = 1.0
                assert (await ask(house, "late")).comptroller["calls"] == 2
            with pytest.raises(openai.RateLimitError):
                await ask(house, "fine")

    asyncio.run(work())


def test_the_delay_is_that_of_calls_in_the_books(up: Upstream, tmp_path: Path) -> None:
    made = config(tmp_path, up.url, "fine", "late", fine={"hedge": 0.2, "fallback": ["late"]})

    async def work() -> None:
        async with running(made) as house:
            assert house.gateway.services["fine"].hedges.delay_s(False) is None
            body = {"model": "fine", "messages": [{"role": "user", "content": "x"}]}
            async with aiohttp.ClientSession() as session:
                for _ in range(LEAST):
                    async with session.post(f"{house.url}/v1/chat/completions", json=body) as reply:
                        assert reply.status == 200
            before = house.gateway.services["fine"].hedges.delay_s(False)
        async with running(made) as house:
            timer = house.gateway.services["fine"].hedges
            assert before is not None and timer.delay_s(False) == pytest.approx(before, rel=1e-3, abs=1e-4)
            assert timer.delay_s(True) is None, "no stream was recorded"

    asyncio.run(work())


def test_hedges_are_a_share_of_the_calls() -> None:
    timer = HedgeTimer(0.05)
    sent = 0
    for _ in range(1000):
        timer.began()
        sent += timer.take()
    assert sent == timer.counts.hedged == 50
    for _ in range(1000):
        timer.began()
    assert [timer.take() for _ in range(3)] == [True, False, False], "what was not used is not saved up"
    slow = HedgeTimer(0.1)
    for number in range(500):
        slow.record(False, 1.0 + number % 10)
    assert slow.delay_s(False) == 9.0
    for _ in range(1000):
        slow.record(False, 100.0)
    assert slow.delay_s(False) == 100.0


def test_an_error_is_no_answer_while_the_other_runs() -> None:
    async def fails(after_s: float) -> str:
        await asyncio.sleep(after_s)
        raise ValueError(f"after {after_s:g} s")

    async def answers(after_s: float) -> str:
        await asyncio.sleep(after_s)
        return f"after {after_s:g} s"

    async def work() -> None:
        async def drop(late: str) -> None:
            raise AssertionError(late)

        assert await first_of(fails(0.03), 0.0, lambda: answers(0.06), drop) == ("after 0.06 s", True)
        assert await first_of(answers(0.06), 0.0, lambda: fails(0.03), drop) == ("after 0.06 s", False)
        assert await first_of(answers(0.01), 0.0, lambda: None, drop) == ("after 0.01 s", False)
        with pytest.raises(ValueError, match=r"after 0.05 s"):
            await first_of(fails(0.05), 0.0, lambda: fails(0.01), drop)

    asyncio.run(work())


def test_a_hedge_needs_a_second_upstream() -> None:
    with pytest.raises(InputError, match=r"services.a.hedge: there is no second upstream"):
        config_from_document({"services": {"a": {"url": "http://127.0.0.1:9", "hedge": 0.05}}})

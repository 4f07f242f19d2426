"""Two gateway processes on one PostgreSQL: a budget holds over both, and one that is killed loses nothing."""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import URL

from books_databases import postgres  # noqa: F401
from comptroller.books.budgets import SpendBudget
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from gateway_houses import config, held, process, rows, until
from gateway_upstream import WORDS, upstream

PUSD = 11 * 10**6 + len(WORDS) * 2 * 10**6
ASK = [{"role": "user", "content": "Sag was."}]


def test_budgets_hold_over_two_gateways_and_one_may_die(postgres: URL, tmp_path: Path) -> None:  # noqa: F811
    where = postgres.render_as_string(hide_password=False)
    with CallLedger.open(where) as ledger:
        secret = ApiKeyStore(ledger).create("shared")
        ledger.set_budget(SpendBudget("key", "shared", "total", 20 * PUSD))

    async def post(session: aiohttp.ClientSession, url: str, model: str = "fine", **about: Any) -> int:
        headers = {"authorization": f"Bearer {secret}"}
        body = {"model": model, "messages": ASK, "max_tokens": len(WORDS)} | about
        async with session.post(f"{url}/v1/chat/completions", json=body, headers=headers) as reply:
            await reply.read()
            return reply.status

    async def race(urls: list[str]) -> list[int]:
        async with aiohttp.ClientSession() as session:
            return await asyncio.gather(*(post(session, url) for url in urls * 30))

    async def hang(url: str, made: Any) -> None:
        async with aiohttp.ClientSession() as session:
            task = asyncio.create_task(post(session, url, "hangs"))
            await until(lambda: held(where))
            made.send_signal(signal.SIGKILL)
            with pytest.raises(aiohttp.ClientError):
                await task

    with upstream() as up, ExitStack() as stack:
        document = config(tmp_path, up.url, "fine", "hangs") | {"books": where}
        (tmp_path / "a").mkdir()
        (tmp_path / "b").mkdir()
        one, first = stack.enter_context(process(tmp_path / "a", document))
        _, second = stack.enter_context(process(tmp_path / "b", document))
        told = asyncio.run(race([first, second]))
        good = told.count(200)
        assert good + told.count(429) == 60 and 2 <= good <= 20, told
        with CallLedger.open(where) as ledger:
            (balance,) = ledger.balances()
            assert balance.spent_pusd + balance.held_pusd <= 20 * PUSD
            ledger.set_budget(SpendBudget("key", "shared", "total", 10**13))
        while held(where):  # the last settlements of the race
            time.sleep(0.02)
        asyncio.run(hang(first, one))
        with CallLedger.open(where) as ledger:  # whoever opens the books next gives up what the dead one held
            assert ledger.recover() == 1
            (balance,) = ledger.balances()
            assert balance.held_pusd == 0
        found = rows(where)
        assert len({row["segment"] for row in found}) >= 2
        assert sum(row["kind"] == "lost" for row in found) == 1
        assert sum(row["charged_pusd"] for row in found) == balance.spent_pusd

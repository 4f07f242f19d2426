"""The fault cases that a trusted gateway must survive, against a real upstream that misbehaves; nothing is lost.

Numbers are those of the list that the gateway was built to: 1 the client leaves, 2 the upstream drops, 3 usage zero or
absent, 4 usage beside choices, 5 n choices counted as one, 7 retries, 8 upstream ids, 9 one remaining budget, 10 crash,
13 unknown price, 14 all endpoints, 15 429 and 5xx, 16 slow readers, 17 split bytes, 18 books that cannot be written,
20 which budget, 21 too long. Cases 6, 11 and 12 are the books' own (cached tokens, periods, prices corrected) and 22
belongs to the embedded model; 19 is `make flat`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import openai
import pytest

from comptroller.books.budgets import SpendBudget
from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.errors import ComptrollerError
from comptroller.gateway.config import read
from comptroller.gateway.server import serve
from gateway_houses import GUARD_S, House, config, held, process, rows, running, until
from gateway_upstream import USAGE, WORDS, Upstream, upstream

PUSD = 11 * 10**6 + len(WORDS) * 2 * 10**6
"""What the upstream's usual answer costs."""
SAID = "".join(WORDS)
ASK: list[Any] = [{"role": "user", "content": "Sag was."}]


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


async def streamed(house: House, model: str, **about: Any) -> tuple[str, list[Any]]:
    """Text and chunks of a stream."""
    stream = await house.client().chat.completions.create(model=model, messages=ASK, stream=True, **about)
    chunks = [chunk async for chunk in stream]
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    return text, chunks


async def posted(house: House, body: Any, key: str = "") -> tuple[int, Any]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    where = f"{house.url}/v1/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(where, json=body, headers=headers) as reply:
        return reply.status, await reply.json()


async def booked(house: House, folder: Path, count: int) -> list[dict[str, Any]]:
    """The rows, once there are so many and nothing is open."""
    books = folder / "books.sqlite"
    await until(lambda: len(rows(books)) >= count and not held(books))
    return rows(books)


def test_1_a_client_that_leaves_stops_the_upstream_and_is_booked(up: Upstream, tmp_path: Path) -> None:
    services = config(tmp_path, up.url, "endless", "hangs", endless={"running_usage": True, "max_output_tokens": 8000})

    async def leave(house: House, model: str, after: int) -> None:
        body = {"model": model, "messages": ASK, "stream": True}
        where = f"{house.url}/v1/chat/completions"
        async with aiohttp.ClientSession() as session, session.post(where, json=body) as reply:
            while after and (line := await reply.content.readline()):
                after -= line.startswith(b"data:")

    async def work() -> None:
        async with running(services) as house:
            await leave(house, "endless", 20)
            hanging = asyncio.create_task(leave(house, "hangs", 1))
            await until(lambda: up.seen.get("hangs"))
            hanging.cancel()
            await asyncio.wait([hanging])
            mid, early = sorted(await booked(house, tmp_path, 2), key=lambda row: row["service"])
            assert mid["finish"] == early["finish"] == "cancelled"
            # the upstream reported as it went: what is booked is what arrived, at its price
            assert mid["output_tokens"] >= 20 and mid["charged_pusd"] == (11 + 2 * mid["output_tokens"]) * 10**6
            # the other said nothing, so its worst case counts and the row says that it is unknown
            assert early["pusd"] is None and early["charged_pusd"] > 100 * 2 * 10**6
            await until(lambda: up.stopped["endless"] == 1)

    asyncio.run(work())


@pytest.mark.parametrize("model", ["drops", "ends_early", "torn", "stalls", "error_event"])
def test_2_an_upstream_that_breaks_off_is_told_and_booked(up: Upstream, tmp_path: Path, model: str) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, model, **{model: {"idle_s": 0.4, "first_s": 0.4}})) as house:
            with pytest.raises(openai.APIError, match=r"broke off|did not come|cannot be read|out of memory"):
                await streamed(house, model)
            (row,) = await booked(house, tmp_path, 1)
            assert row["finish"] == "failed" and row["pusd"] is None and row["output_tokens"] is None
            assert row["charged_pusd"] >= 200 * 10**6

    asyncio.run(work())


def test_2_3_4_8_17_usage_wherever_it_stands_and_bytes_however_they_come(up: Upstream, tmp_path: Path) -> None:
    models = ("fine", "no_done", "late_usage", "split", "no_usage", "zero_usage")

    async def work() -> None:
        async with running(config(tmp_path, up.url, *models)) as house:
            for model in models[:4]:
                text, chunks = await streamed(house, model)
                assert text == SAID, model
                assert all(chunk.choices for chunk in chunks), "whoever did not ask for usage reads choices[0]"
                assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == len(WORDS)
                text, chunks = await streamed(house, model, stream_options={"include_usage": True})
                assert text == SAID and not chunks[-1].choices
                assert chunks[-1].usage is not None and chunks[-1].usage.model_dump(exclude_none=True) == USAGE
                assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
                assert chunks[-1].model_extra["comptroller"]["cost"]["usd"] == PUSD / 1e12
            fine = await booked(house, tmp_path, 8)
            assert {(row["charged_pusd"], row["finish"]) for row in fine} == {(PUSD, "stop")}
            for model in models[4:]:  # nothing reported, or less than arrived: unknown, never zero
                text, chunks = await streamed(house, model)
                assert text == SAID and chunks[-1].usage is None
                assert chunks[-1].model_extra["comptroller"]["cost"]["usd"] is None
            unknown = (await booked(house, tmp_path, 10))[8:]
            assert all(row["pusd"] is None and row["output_tokens"] is None for row in unknown)
            assert all(row["charged_pusd"] > 200 * 10**6 for row in unknown)

    asyncio.run(work())


def test_3_zero_is_not_believed_where_an_answer_came(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "zero_usage", "no_usage")) as house:
            status, reply = await posted(house, {"model": "zero_usage", "messages": ASK})
            assert status == 200 and reply["comptroller"]["cost"]["usd"] is None and reply["usage"] is None
            status, reply = await posted(house, {"model": "no_usage", "messages": ASK})
            assert status == 200 and reply["comptroller"]["cost"]["usd"] is None
            zero, absent = await booked(house, tmp_path, 2)
            assert (zero["pusd"], zero["output_tokens"]) == (None, None) and zero["charged_pusd"] > 200 * 10**6
            assert (absent["pusd"], absent["output_tokens"]) == (None, None)

    asyncio.run(work())


def test_5_n_choices_counted_as_one_are_found_out_or_asked_one_by_one(up: Upstream, tmp_path: Path) -> None:
    services = config(tmp_path, up.url, "one_of_n", "fine", fine={"single_choice": True})

    async def work() -> None:
        async with running(services) as house:
            ask = {"messages": ASK, "n": 4, "max_tokens": 8}
            _, reply = await posted(house, ask | {"model": "one_of_n"})
            assert len(reply["choices"]) == 4 and reply["usage"] is None
            _, reply = await posted(house, ask | {"model": "fine", "seed": 3})
            assert [choice["index"] for choice in reply["choices"]] == [0, 1, 2, 3]
            assert reply["usage"]["completion_tokens"] == 4 * len(WORDS)
            assert sorted(body["seed"] for body in up.seen["fine"][-4:]) == [3, 4, 5, 6]
            found = await booked(house, tmp_path, 5)
            # the hold of n choices is n times as large
            assert found[0]["pusd"] is None and found[0]["charged_pusd"] >= 4 * 8 * 2 * 10**6
            assert [row["charged_pusd"] for row in found[1:]] == [PUSD] * 4

    asyncio.run(work())


def test_7_15_every_attempt_is_booked_once(up: Upstream, tmp_path: Path) -> None:
    more = {
        "busy_once": {"attempts": 3},
        "broken_once": {"attempts": 3},
        "broken": {"attempts": 2, "fallback": ["fine"]},
    }
    services = config(tmp_path, up.url, "busy_once", "broken_once", "broken", "fine", "busy", "garbage", **more)

    async def work() -> None:
        async with running(services) as house:
            for model, calls in (("busy_once", 2), ("broken_once", 2), ("broken", 3)):
                status, reply = await posted(house, {"model": model, "messages": ASK})
                assert status == 200 and reply["choices"][0]["message"]["content"] == SAID
                assert reply["comptroller"]["calls"] == calls
            found = await booked(house, tmp_path, 7)
            assert len({row["id"] for row in found}) == 7
            assert [row["charged_pusd"] for row in found] == [0, PUSD, 0, PUSD, 0, 0, PUSD]
            assert [row["attempt"] for row in found] == [0, 1, 0, 1, 0, 1, 2]
            assert len({row["request"] for row in found}) == 3
            status, reply = await posted(house, {"model": "busy", "messages": ASK})
            assert status == 429 and reply["error"]["message"] == "slow down", "the service's own words"
            status, reply = await posted(house, {"model": "garbage", "messages": ASK})
            assert status == 502 and "not JSON" in reply["error"]["message"]

    asyncio.run(work())


def test_15_a_service_that_keeps_failing_is_left_alone_for_a_while(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "broken")) as house:
            tries = up.tries["broken"]
            told = [await posted(house, {"model": "broken", "messages": ASK}) for _ in range(8)]
            assert [status for status, _ in told] == [500] * 5 + [503] * 3
            assert "left alone" in told[-1][1]["error"]["message"]
            assert up.tries["broken"] == tries + 5

    asyncio.run(work())


def test_9_20_many_at_once_against_one_remaining_budget(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        secret = ApiKeyStore(ledger).create("shop")
        worst = 8192 * 10**6 + 100 * 2 * 10**6  # bounded by the request's size, which is less than the context
        ledger.set_budget(SpendBudget("key", "shop", "day", 10 * PUSD))

    async def work() -> None:
        services = config(tmp_path, up.url, "fine")
        async with running(services) as house:
            body = {"model": "fine", "messages": ASK, "max_tokens": len(WORDS)}
            told = await asyncio.gather(*(posted(house, body, secret) for _ in range(40)))
            good = [reply for status, reply in told if status == 200]
            refused = [reply for status, reply in told if status == 429]
            assert len(good) + len(refused) == 40 and 1 <= len(good) <= 10 and refused
            words = refused[0]["error"]["message"]
            assert "budget of key shop per day" in words and "limit $0.00023" in words and "spent" in words
            assert refused[0]["error"]["code"] == "budget_exceeded"
            found = await booked(house, tmp_path, len(good))
            assert sum(row["charged_pusd"] for row in found) == len(good) * PUSD <= 10 * PUSD

    assert worst > PUSD
    asyncio.run(work())
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        (balance,) = ledger.balances()
        assert balance.held_pusd == 0 and balance.spent_pusd <= 10 * PUSD


def test_10_kill_9_in_mid_stream_loses_nothing(up: Upstream, tmp_path: Path) -> None:
    """The real server process is killed while one stream runs and another call hangs; the next start finds both."""
    services = config(tmp_path, up.url, "endless", "hangs", "fine")

    async def interrupted(made: Any, url: str) -> None:
        async with aiohttp.ClientSession() as session:
            where = f"{url}/v1/chat/completions"
            async with session.post(where, json={"model": "fine", "messages": ASK}) as reply:
                assert reply.status == 200
            hanging = asyncio.create_task(session.post(where, json={"model": "hangs", "messages": ASK}))
            async with session.post(where, json={"model": "endless", "messages": ASK, "stream": True}) as reply:
                for _ in range(10):
                    await reply.content.readline()
                assert held(tmp_path / "books.sqlite") == 2
                made.send_signal(signal.SIGKILL)
                with pytest.raises(aiohttp.ClientError):
                    while await reply.content.readline():
                        pass
            with pytest.raises(aiohttp.ClientError):
                await hanging

    with process(tmp_path, services) as (made, url):
        asyncio.run(interrupted(made, url))
    assert held(tmp_path / "books.sqlite") == 2

    async def again() -> None:
        async with running(services):
            assert held(tmp_path / "books.sqlite") == 0
            found = rows(tmp_path / "books.sqlite")
            assert sorted(row["kind"] for row in found) == ["lost", "lost", "settled"]
            assert all(row["charged_pusd"] > 200 * 10**6 for row in found if row["kind"] == "lost")

    asyncio.run(again())


def test_a_server_that_is_told_to_stop_lets_requests_end(up: Upstream, tmp_path: Path) -> None:
    """SIGTERM: what is under way ends whole, nothing new is accepted; what takes too long is cut and booked."""
    services = config(tmp_path, up.url, "slowly", "endless")

    async def told(made: Any, url: str) -> tuple[str, str]:
        async def read(session: aiohttp.ClientSession, model: str) -> str:
            body, lines = {"model": model, "messages": ASK, "stream": True}, list[bytes]()
            async with session.post(f"{url}/v1/chat/completions", json=body) as reply:
                with contextlib.suppress(aiohttp.ClientError):
                    async for line in reply.content:
                        lines.append(line)
            chunks = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
            return "".join(choice["delta"].get("content", "") for c in chunks for choice in c.get("choices", ()))

        async with aiohttp.ClientSession() as session:
            reading = [asyncio.create_task(read(session, model)) for model in ("slowly", "endless")]
            await until(lambda: up.seen.get("slowly") and len(up.seen.get("endless", ())) == endless + 1)
            made.send_signal(signal.SIGTERM)
            with pytest.raises(aiohttp.ClientError):
                while True:
                    await session.get(f"{url}/health")
            up.released.set()
            whole, cut = await asyncio.gather(*reading)
            return whole, cut

    endless = len(up.seen.get("endless", ()))

    with process(tmp_path, services) as (made, url):
        whole, cut = asyncio.run(told(made, url))
        made.wait(GUARD_S)
    assert whole == SAID and cut.startswith(" 0 1 2")
    assert held(tmp_path / "books.sqlite") == 0
    assert sorted(row["finish"] for row in rows(tmp_path / "books.sqlite")) == ["cancelled", "stop"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("port = 'x'", "gateway.toml:2: port: text is not allowed (allowed: a whole number)"),
        ("[services.a]\nurl = 'ftp://x'", "service a: url must be http://"),
        (
            "[services.a]\nurl = 'http://x'\ncolour = 1",
            "gateway.toml:4: services.a.colour: unknown field (allowed: backend, url",
        ),
        ("[services.a]\nurl = 'http://x'\nfallback = ['b']", "services.a.fallback: no service 'b'; there are a"),
        ("[services.a]\nurl = 'http://x'\nkey_env = 'NO_SUCH_KEY'", "NO_SUCH_KEY is not set"),
        ("[services.a]\nbackend = 'vlm'", "unknown backend 'vlm'"),
        ("[services.a]\nurl = 'http://x'\nprice = 'nobody/nothing'", "no price for nobody/nothing"),
        ("plan = 'none.json'\n[services.a]\nurl = 'http://x'", "none.json"),
        ("books = '/nowhere/b.sqlite'\n[services.a]\nurl = 'http://x'", "there is no folder /nowhere"),
        ("services = {}", "services: name at least one"),
    ],
)
def test_a_configuration_that_is_wrong_is_told_without_a_traceback(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "gateway.toml"
    file.write_text(
        f"{'' if 'books' in text else 'books = ' + repr(str(tmp_path / 'b.sqlite'))}\n{text}", encoding="utf-8"
    )
    with pytest.raises(ComptrollerError) as caught:
        serve(read(file))
    assert words in str(caught.value)


def test_13_an_unknown_price_is_marked_and_refused_where_a_budget_applies(up: Upstream, tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        secret = ApiKeyStore(ledger).create("shop", "web")
        ledger.set_budget(SpendBudget("project", "web", "month", 10**15))
        free = ApiKeyStore(ledger).create("free")

    async def work() -> None:
        services = config(tmp_path, up.url, "fine")
        del services["services"]["fine"]["price"]
        async with running(services) as house:
            status, reply = await posted(house, {"model": "fine", "messages": ASK}, secret)
            assert status == 429 and "no known price" in reply["error"]["message"]
            status, reply = await posted(house, {"model": "fine", "messages": ASK}, free)
            assert status == 200 and reply["comptroller"]["cost"]["usd"] is None
            (row,) = await booked(house, tmp_path, 1)
            assert row["pusd"] is None and "has no price" in row["note"]

    asyncio.run(work())


def test_14_every_endpoint_is_counted(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "fine")) as house:
            client = house.client()
            await client.chat.completions.create(model="fine", messages=ASK)
            await client.completions.create(model="fine", prompt="Sag was.")
            await client.responses.create(model="fine", input="Sag was.")
            await client.embeddings.create(model="fine", input="Sag was.")
            found = await booked(house, tmp_path, 4)
            assert [row["charged_pusd"] for row in found] == [PUSD, PUSD, PUSD, 4 * 10**6]

    asyncio.run(work())


def test_16_a_slow_reader_holds_nothing_up_and_is_cut_in_the_end(up: Upstream, tmp_path: Path) -> None:
    services = config(tmp_path, up.url, "firehose", "fine", send_s=0.5)

    async def work() -> None:
        async with running(services) as house:
            host, port = house.url.removeprefix("http://").split(":")
            _, writer = await asyncio.open_connection(host, int(port), limit=2**12)
            body = json.dumps({"model": "firehose", "messages": ASK, "stream": True}).encode()
            about = f"Host: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            head = f"POST /v1/chat/completions HTTP/1.1\r\n{about}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            await until(lambda: up.seen.get("firehose"))
            status, _ = await posted(house, {"model": "fine", "messages": ASK})
            assert status == 200, "others are served meanwhile"
            found = await booked(house, tmp_path, 2)
            assert {row["finish"] for row in found} == {"stop", "cancelled"}
            writer.close()

    asyncio.run(work())


def test_18_books_that_cannot_be_written_stop_spending_and_lose_nothing(up: Upstream, tmp_path: Path) -> None:
    books = tmp_path / "books.sqlite"

    async def work() -> None:
        async with running(config(tmp_path, up.url, "endless", "fine")) as house:
            stream = await house.client().chat.completions.create(model="endless", messages=ASK, stream=True)
            await anext(aiter(stream))
            _break(books)
            seen = len(up.seen.get("fine", ()))
            status, reply = await posted(house, {"model": "fine", "messages": ASK})
            assert status == 503 and "nothing is spent" in reply["error"]["message"]
            assert len(up.seen.get("fine", ())) == seen, "the upstream was not called"
            await stream.close()
            await until(lambda: house.gateway.desk.unwritten == 1)
            async with aiohttp.ClientSession() as session, session.get(f"{house.url}/ready") as ready:
                assert ready.status == 503
            _mend(books)
            (row,) = await booked(house, tmp_path, 1)
            assert row["finish"] == "cancelled"

    asyncio.run(work())


def _break(books: Path) -> None:
    """Makes every further row impossible, as a full disk does, without touching what is there."""
    with sqlite3.connect(books) as connection:
        for table in ("hold", "entry"):
            connection.execute(
                f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk is full'); END"
            )


def _mend(books: Path) -> None:
    with sqlite3.connect(books) as connection:
        for table in ("hold", "entry"):
            connection.execute(f"DROP TRIGGER full_{table}")


def test_21_too_long_a_prompt_is_passed_on_and_costs_nothing(up: Upstream, tmp_path: Path) -> None:
    async def work() -> None:
        async with running(config(tmp_path, up.url, "too_long")) as house:
            with pytest.raises(openai.BadRequestError, match="exceed the context") as caught:
                await house.client().chat.completions.create(model="too_long", messages=ASK)
            assert caught.value.code == "context_length_exceeded"
            (row,) = await booked(house, tmp_path, 1)
            assert (row["kind"], row["charged_pusd"]) == ("released", 0)

    asyncio.run(work())

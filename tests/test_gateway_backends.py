"""One suite over every file in `gateway/backends`: a backend answers, streams, counts, stops and fails as documented.

Each is made with the address of a server on loopback that echoes; one that cannot start here says why and is skipped.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from math import isnan
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from comptroller.costs.carbon import CallEnergy
from comptroller.errors import InputError
from comptroller.gateway.backends import GatewayBackend, backend, names
from comptroller.gateway.backends.echo import EchoBackend
from comptroller.gateway.config import ServiceConfig
from comptroller.gateway.events import UpstreamStreamReader
from comptroller.gateway.problems import UpstreamError
from gateway_houses import running

Json = dict[str, Any]
CHAT, TEXT = "chat/completions", "completions"
TURNS = [{"role": "user", "content": "Count slowly: one two three four five six seven eight nine ten"}]
SETTLED = {"model": "echo", "temperature": 0, "seed": 1}
PROMPT: dict[str, Json] = {CHAT: SETTLED | {"messages": TURNS}, TEXT: SETTLED | {"prompt": TURNS[0]["content"]}}
LONGEST_S = 300.0
"""For whatever a backend does here; a stub that hangs is found out by it, none that works comes near."""


class StreamText(NamedTuple):
    """A reply that was streamed: its words, how many events it took, and what was told of it."""

    text: str
    events: int
    reading: UpstreamStreamReader


def streamed(body: Json) -> Json:
    """The same as a stream that tells its usage."""
    return body | {"stream": True, "stream_options": {"include_usage": True}}


async def read(events: AsyncIterator[list[bytes]]) -> StreamText:
    """Reads a stream to its end as the gateway does."""
    reading, words, count = UpstreamStreamReader(), [], 0
    async for data in events:
        assert data, "a list of events is never empty"
        for payload in data:
            count += 1
            for choice in reading.read(payload).chunk.choices:
                words.append((choice.text if choice.delta is None else choice.delta.content) or "")
    return StreamText("".join(words), count, reading)


def said(path: str, reply: Json) -> str:
    """The words of a whole reply."""
    choice = reply["choices"][0]
    return str(choice["message"]["content"] if path == CHAT else choice["text"])


async def answers(one: GatewayBackend, path: str) -> None:
    """A whole reply has words, an end and its usage."""
    reply = await one.send(path, PROMPT[path] | {"max_tokens": 8})
    assert said(path, reply).strip(), "a reply has words"
    assert reply["choices"][0]["finish_reason"] in ("stop", "length")
    usage = reply["usage"]
    assert usage["prompt_tokens"] > 0 and 0 < usage["completion_tokens"] <= 8


async def streams(one: GatewayBackend, path: str) -> None:
    """A stream has the words of the whole reply in several events, an end and its usage."""
    body = PROMPT[path] | {"max_tokens": 8}
    whole = await one.send(path, body)
    found = await read(one.stream(path, streamed(body)))
    assert found.events > 1 and found.text == said(path, whole)
    assert found.reading.finish == whole["choices"][0]["finish_reason"]


async def counts(one: GatewayBackend, path: str) -> None:
    """A stream tells the usage that the whole reply told, and no less than came."""
    body = PROMPT[path] | {"max_tokens": 8}
    whole, found = await one.send(path, body), await read(one.stream(path, streamed(body)))
    assert found.reading.usage is not None
    for what in ("prompt_tokens", "completion_tokens"):
        assert found.reading.usage[what] == whole["usage"][what]
    assert found.reading.counted <= found.reading.usage["completion_tokens"]


async def stops_at_the_cap(one: GatewayBackend, path: str) -> None:
    """A generation ends at max_tokens and says that it did."""
    body = PROMPT[path] | {"max_tokens": 2}
    whole, found = await one.send(path, body), await read(one.stream(path, streamed(body)))
    assert whole["choices"][0]["finish_reason"] == found.reading.finish == "length"
    assert whole["usage"]["completion_tokens"] == 2 and found.reading.counted <= 2


async def can_be_cut(one: GatewayBackend, path: str) -> None:
    """A stream that is closed after its first event ends, a call that is cancelled too; the next is answered."""
    words = " ".join(["word"] * 60)
    body = PROMPT[path] | ({"prompt": words} if path == TEXT else {"messages": [{"role": "user", "content": words}]})
    events: Any = one.stream(path, streamed(body | {"max_tokens": 400}))
    assert await anext(events)
    await events.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(events)
    call = asyncio.create_task(one.send(path, body | {"max_tokens": 400}))
    await asyncio.sleep(0)
    call.cancel()
    assert isinstance((await asyncio.gather(call, return_exceptions=True))[0], asyncio.CancelledError)
    await answers(one, path)


async def refuses(one: GatewayBackend, path: str) -> None:
    """What is no request is an UpstreamError with a status, at once or at the first event; the next is answered."""
    with pytest.raises(UpstreamError) as whole:
        await one.send(path, {"model": "echo"})
    with pytest.raises(UpstreamError) as stream:
        await read(one.stream(path, {"model": "echo", "stream": True}))
    assert whole.value.status >= 400 and stream.value.status >= 400
    await answers(one, path)


async def serves_many(one: GatewayBackend, path: str) -> None:
    """Calls side by side are all answered, and no meter takes joules for less than nothing."""
    meters = [one.meter() for _ in range(4)]
    body = PROMPT[path] | {"max_tokens": 4}
    replies = await asyncio.gather(*(one.send(path, body) for _ in meters))
    assert all(said(path, a) == said(path, b) for a, b in pairwise(replies)), "alike, since nothing is drawn"
    for meter, reply in zip(meters, replies, strict=True):
        energy = meter.end(reply.get("timings"))
        assert isinstance(energy, CallEnergy) and (isnan(energy.j) or energy.j >= 0)


PROPERTIES: tuple[Callable[[GatewayBackend, str], Awaitable[None]], ...] = (
    answers, streams, counts, stops_at_the_cap, can_be_cut, refuses, serves_many,
)  # fmt: skip


@asynccontextmanager
async def started(kind: type[GatewayBackend], url: str) -> AsyncIterator[tuple[GatewayBackend, ServiceConfig]]:
    """A backend that is ready."""
    config = kind.filled(ServiceConfig(url=url, model="echo", first_s=LONGEST_S))
    assert isinstance(config, ServiceConfig)
    one = kind("tested", config, url)
    try:
        await one.start()
        yield one, config
    finally:
        await one.stop()


async def _checked(kind: type[GatewayBackend], check: Callable[[GatewayBackend, str], Awaitable[None]]) -> None:
    document = {"services": {"echo": {"backend": "echo"}}, "books": "", "port": 0}
    async with running(document) as house, started(kind, f"{house.url}/v1") as (one, config):
        for path, endpoint in ((CHAT, "chat"), (TEXT, "completions")):
            if endpoint in config.endpoints:
                async with asyncio.timeout(LONGEST_S):
                    await check(one, path)


@pytest.mark.parametrize("check", PROPERTIES, ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", names())
def test_backend(name: str, check: Any) -> None:
    try:
        asyncio.run(_checked(backend(name), check))
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", names())
def test_embeddings_have_a_row_for_each_text(name: str) -> None:
    async def work() -> None:
        document = {"services": {"echo": {"backend": "echo"}}, "books": "", "port": 0}
        async with running(document) as house, started(backend(name), f"{house.url}/v1") as (one, config):
            if "embeddings" not in config.endpoints:
                return
            reply = await one.send("embeddings", {"model": "echo", "input": ["one", "two words"]})
            assert [row["index"] for row in reply["data"]] == [0, 1]
            assert all(row["embedding"] for row in reply["data"]) and reply["usage"]["prompt_tokens"] > 0

    try:
        asyncio.run(work())
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("name", names())
def test_what_is_not_there_is_an_upstream_error(name: str) -> None:
    """At an address where nobody listens a backend fails as documented, unless it needs no address."""

    async def work() -> None:
        async with started(backend(name), "http://127.0.0.1:9/v1") as (one, _):
            for call in (one.send(CHAT, PROMPT[CHAT]), read(one.stream(CHAT, streamed(PROMPT[CHAT])))):
                try:
                    await call
                except UpstreamError as error:
                    assert error.transient, "another replica may do better"

    try:
        asyncio.run(work())
    except InputError as error:
        pytest.skip(str(error))


class SilentBackend(EchoBackend):
    """Yields nothing, and says nothing."""

    async def send(self, path: str, body: Json) -> Json:
        return {"choices": [{"finish_reason": "stop", "message": {"content": ""}, "text": ""}]}

    async def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        for data in ():
            yield data


class EndlessBackend(EchoBackend):
    """Knows no cap, and does not say where it ends."""

    async def send(self, path: str, body: Json) -> Json:
        return await super().send(path, body | {"max_tokens": 99})

    async def stream(self, path: str, body: Json) -> AsyncIterator[list[bytes]]:
        async for data in super().stream(path, body | {"max_tokens": 99}):
            if b'"finish_reason":null' in data[0]:
                yield data


class StubbornBackend(EchoBackend):
    """Goes on when it is cut, answers what is no request, and gives back joules."""

    async def send(self, path: str, body: Json) -> Json:
        asked = body if "messages" in body or "prompt" in body else PROMPT[path]
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(0.01)
        return await super().send(path, asked)

    def meter(self) -> Any:
        return self

    def end(self, timings: Json | None) -> CallEnergy:
        return CallEnergy(-1.0, 0.0)


STUBS: tuple[tuple[type[GatewayBackend], tuple[Any, ...]], ...] = (
    (SilentBackend, (answers, streams, counts, stops_at_the_cap)),
    (EndlessBackend, (answers, streams, counts, stops_at_the_cap)),
    (StubbornBackend, (can_be_cut, refuses, serves_many)),
)
"""What must not pass, and by which checks it is found out."""


@pytest.mark.parametrize(("kind", "check"), [(kind, check) for kind, checks in STUBS for check in checks])
def test_the_suite_finds_out_a_stub(kind: type[GatewayBackend], check: Any) -> None:
    with pytest.raises((AssertionError, KeyError, pytest.fail.Exception)):
        asyncio.run(_checked(kind, check))


def test_every_check_finds_out_some_stub() -> None:
    assert {check for _, checks in STUBS for check in checks} == set(PROPERTIES)


def test_the_echo_without_a_prompt_refuses() -> None:
    one = EchoBackend("echo", replace(ServiceConfig(), backend="echo"), "")
    with pytest.raises(UpstreamError, match="echo: a request has messages or a prompt"):
        asyncio.run(one.send(CHAT, {"model": "echo"}))

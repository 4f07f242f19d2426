"""No input makes the gateway fail: events in any pieces, bodies of any shape, requests made from its own description.

`make fuzz` looks longer.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import hypothesis
import pytest
import schemathesis
from hypothesis import given, settings
from hypothesis import strategies as some

from comptroller.errors import InputError
from comptroller.gateway.events import UpstreamStreamReader
from comptroller.gateway.formats import ChatRequest, CompletionRequest, EmbeddingRequest, ResponsesRequest, parse
from comptroller.gateway.problems import GatewayError, UpstreamError
from comptroller.gateway.responses import as_chat
from comptroller.gateway.sse import SseEventParser, comment, encode_events
from gateway_houses import config, running
from gateway_upstream import Upstream, upstream

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "5"))
"""Of each endpoint, made from the description."""
TEXT = some.text(max_size=30).map(lambda text: text.encode("utf-8", "surrogatepass"))
PAYLOADS = some.lists(some.text(min_size=1, max_size=20).map(lambda t: json.dumps(t).encode()), max_size=8)
JSON: Any = some.recursive(
    some.none() | some.booleans() | some.integers() | some.floats(allow_nan=False) | some.text(max_size=20),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
FIELDS = some.sampled_from(
    ["model", "messages", "role", "content", "n", "stream", "max_tokens", "prompt", "input", "stop", "tools", "type",
     "comptroller", "checker", "budget", "roles", "strategy", "user", "text", "instructions", "choices", "delta",
     "usage", "error", "timings", "prompt_n", "predicted_n", "finish_reason", "index"]
)  # fmt: skip
BODIES = some.recursive(
    JSON | some.sampled_from(["fine", "user", "comptroller/once", "comptroller/best_of_n:n=2", "5 usd", "function"]),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=20,
)

ODD: Any = (
    JSON
    | some.just({"function": 5})
    | some.lists(
        some.dictionaries(
            some.sampled_from(["id", "index", "type", "function", "name", "arguments", "logprob", "token", "text"]),
            JSON,
            max_size=4,
        ),
        max_size=2,
    )
)
"""Values that a field of a reply may have: anything, and what is nearly right."""


def _odd(fields: str, **right: Any) -> Any:
    """Documents of which some fields are right and others have any shape."""
    names = some.sampled_from([*fields.split(), *right])
    return some.dictionaries(names, ODD, max_size=3).map(lambda odd: right | odd)


_SAID = "tool_calls function_call reasoning_content reasoning refusal audio annotations name"
MESSAGES = _odd(_SAID, role="assistant", content="x")
USAGES = _odd(
    "prompt_tokens_details completion_tokens_details input_tokens output_tokens cost server_tool_use",
    prompt_tokens=5, completion_tokens=3, total_tokens=8,
)  # fmt: skip
CHOICES = some.tuples(_odd("logprobs delta text", index=0, finish_reason="stop"), MESSAGES).map(
    lambda parts: parts[0] | {"message": parts[1]}
)
ODD_REPLIES = some.tuples(_odd("id native service_tier timings system_fingerprint"), CHOICES, USAGES).map(
    lambda parts: {"choices": [parts[1]], "usage": parts[2]} | parts[0]
)
ODD_EVENTS = some.tuples(
    _odd("id native service_tier timings error usage"), _odd("logprobs text", index=0), MESSAGES
).map(lambda parts: {"choices": [parts[1] | {"delta": parts[2]}]} | parts[0])
"""Replies and events that are right but for some fields, at each depth."""
BLOCKS = _odd("id name input tool_use_id signature", type="text", text="x", thinking="x")
ODD_NATIVE = some.tuples(_odd("id model stop_reason stop_sequence usage", type="message"), some.lists(BLOCKS)).map(
    lambda parts: {"content": parts[1], "usage": {"input_tokens": 5, "output_tokens": 3}} | parts[0]
)
NATIVE_EVENTS = some.tuples(
    some.sampled_from(["message_start", "content_block_start", "content_block_delta", "content_block_stop",
                       "message_delta", "message_stop", "ping", "error"]),
    _odd("message content_block delta usage index error"),
).map(lambda parts: parts[1] | {"type": parts[0]})  # fmt: skip
"""The same of Anthropic's API."""


@given(PAYLOADS, some.data(), some.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_events_come_out_however_their_bytes_are_cut(payloads: list[bytes], data: some.DataObject, end: bytes) -> None:
    whole = comment("hi") + encode_events(payloads)
    stream = whole.replace(b"\n", end)
    cuts = sorted(data.draw(some.lists(some.integers(0, len(stream)), max_size=10)))
    events, found = SseEventParser(), list[bytes]()
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += events.feed(stream[start:stop])
    found += events.feed(b"\n")  # a carriage return at the very end waits for what follows
    assert found == payloads and not events.torn


@given(some.lists(some.binary(max_size=60), max_size=6))
def test_any_bytes_are_events_or_nothing(pieces: list[bytes]) -> None:
    events = SseEventParser()
    for piece in pieces:
        for payload in events.feed(piece):
            try:
                UpstreamStreamReader().read(payload)
            except UpstreamError as error:
                assert error.status >= 400


@given(BODIES.map(lambda body: json.dumps(body).encode()) | TEXT)
def test_any_event_is_read_or_refused(payload: bytes) -> None:
    reading = UpstreamStreamReader()
    try:
        reading.read(payload)
    except UpstreamError as error:
        assert error.billable
    assert reading.counted >= 0


@given(some.sampled_from([ChatRequest, CompletionRequest, EmbeddingRequest, ResponsesRequest]), BODIES)
def test_any_body_is_checked_or_refused_with_its_field(kind: Any, body: Any) -> None:
    try:
        request, raw = parse(kind, json.dumps(body).encode())
        if isinstance(request, ResponsesRequest):
            as_chat(request, raw)
    except GatewayError as problem:
        assert problem.status == 400 and problem.document["error"]["message"]


def test_an_endless_event_is_refused() -> None:
    events = SseEventParser()
    with pytest.raises(InputError, match="an event of more than"):
        for _ in range(20):
            events.feed(b"data: " + b"x" * 2**20)


@contextmanager
def in_a_thread(document: dict[str, Any]) -> Iterator[str]:
    """A gateway that runs beside the test."""
    ready, stop, found = threading.Event(), threading.Event(), list[str]()

    async def work() -> None:
        async with running(document) as house:
            found.append(house.url)
            ready.set()
            await asyncio.to_thread(stop.wait)

    thread = threading.Thread(target=lambda: asyncio.run(work()), daemon=True)
    thread.start()
    assert ready.wait(20)
    try:
        yield found[0]
    finally:
        stop.set()
        thread.join(20)


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def document(folder: Path, url: str) -> dict[str, Any]:
    return config(folder, url, "fine", fine={"price": {"input": "1", "output": "2"}}) | {"drain_s": 1.0}


def test_bodies_of_any_shape_get_no_5xx(up: Upstream, tmp_path: Path) -> None:
    base = {"model": "fine", "messages": [{"role": "user", "content": "x"}], "prompt": "x", "input": "x"}

    @settings(max_examples=10 * EXAMPLES, deadline=None)
    @given(some.sampled_from(["chat/completions", "completions", "responses", "embeddings"]), BODIES)
    def check(path: str, body: Any) -> None:
        sent = base | body if isinstance(body, dict) else body
        asyncio.run(post(path, sent))

    async def post(path: str, body: Any) -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/{path}", json=body) as reply:
            text = await reply.text()
            assert reply.status < 500, (path, body, text)

    with in_a_thread(document(tmp_path, up.url)) as url:
        check()


def test_replies_of_any_shape_are_passed_on_or_502(up: Upstream, tmp_path: Path) -> None:
    """What a service answers, whole and as events, is passed on as it is or named as its fault, on every endpoint."""
    whole = {"choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "x"}}]}
    end = {"index": 0, "finish_reason": "stop", "delta": {"content": "x"}}
    turns = [{"role": "user", "content": "x"}]
    asks: list[tuple[str, dict[str, Any]]] = [
        ("chat/completions", {"messages": turns}), ("responses", {"input": "x"}),
        ("messages", {"messages": turns, "max_tokens": 9}),
    ]  # fmt: skip

    @settings(max_examples=4 * EXAMPLES, deadline=None)
    @given(some.sampled_from(asks), ODD_REPLIES | BODIES, some.lists(ODD_EVENTS | BODIES, max_size=3))
    def check(ask: tuple[str, dict[str, Any]], body: Any, events: list[Any]) -> None:
        up.replies["odd"] = (200, body)
        up.events["odd_stream"] = events
        for model in ("odd", "odd_stream"):
            asyncio.run(post(ask[0], ask[1] | {"model": model, "stream": model != "odd"}))
        up.replies["odd"], up.events["odd_stream"] = (200, whole), [{"choices": [end]}]
        for model in ("odd", "odd_stream"):  # a success, so that no breaker opens and hides what follows
            asyncio.run(post(ask[0], ask[1] | {"model": model, "stream": model != "odd"}))

    async def post(path: str, body: Any) -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/{path}", json=body) as reply:
            text = await reply.text()
            # a status that the service itself says in an error event is passed on; no failure is the gateway's
            assert "the gateway failed" not in text and reply.status != 503, (path, body, text)

    about = config(tmp_path, up.url, "odd", "odd_stream") | {"drain_s": 1.0}
    with in_a_thread(about) as url:
        check()


def test_replies_of_any_shape_in_anthropics_words_are_passed_on_or_502(up: Upstream, tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "x"}]
    asks = [("chat/completions", {"messages": turns}), ("messages", {"messages": turns, "max_tokens": 9})]
    right: dict[str, Any] = {"type": "message", "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn"}
    right |= {"usage": {"input_tokens": 5, "output_tokens": 3}}
    ends = [{"type": "message_start"}, {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}]

    @settings(max_examples=4 * EXAMPLES, deadline=None)
    @given(some.sampled_from(asks), ODD_NATIVE | BODIES, some.lists(NATIVE_EVENTS | BODIES, max_size=4))
    def check(ask: tuple[str, dict[str, Any]], body: Any, events: list[Any]) -> None:
        for reply, told in ((body, events), (right, ends)):
            up.replies["odd"], up.events["odd_stream"] = (200, reply), told
            for model in ("odd", "odd_stream"):
                asyncio.run(post(ask[0], ask[1] | {"model": model, "stream": model != "odd"}))

    async def post(path: str, body: Any) -> None:
        async with aiohttp.ClientSession() as session, session.post(f"{url}/v1/{path}", json=body) as reply:
            text = await reply.text()
            assert "the gateway failed" not in text and reply.status != 503, (path, body, text)

    of = {"backend": "anthropic"}
    about = config(tmp_path, up.url, "odd", "odd_stream", odd=of, odd_stream=of) | {"drain_s": 1.0}
    with in_a_thread(about) as url:
        check()


def test_requests_made_from_our_description_get_no_5xx(up: Upstream, tmp_path: Path) -> None:
    with in_a_thread(document(tmp_path, up.url)) as url:
        schema = schemathesis.openapi.from_url(f"{url}/openapi.json")

        for operation in schema.get_all_operations():
            quietly = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
            run = quietly(given(case=operation.ok().as_strategy())(_checked))
            run()


def _checked(case: Any) -> None:
    reply = case.call(timeout=600)
    assert reply.status_code < 500, (case.body, reply.text)

"""`comptroller.solve`: a strategy over a live backend, without a server: the same driver, the same calls."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from comptroller.gateway.admission import GatewayCaller
from comptroller.gateway.config import GatewayConfig, read, single_service_config
from comptroller.gateway.formats import RequestOptions, convert
from comptroller.gateway.live import run as play
from comptroller.gateway.runtime import GatewayRequest, GatewayRuntime
from comptroller.gateway.shapes import cost_of
from comptroller.quantities import Cost
from comptroller.strategies.protocol import Answer, Strategy
from comptroller.strategies.spelling import parse
from comptroller.work.call import Call


@dataclass(frozen=True, slots=True)
class LiveSolveResult:
    """The answer to a question, all that it cost, and every call that was made."""

    answer: Answer
    cost: Cost
    calls: tuple[Call, ...]
    seconds: float


def solve(
    question: str | Sequence[Mapping[str, Any]],
    strategy: str | Strategy = "once",
    backend: str | Path | GatewayConfig = "embedded",
    options: Mapping[str, Any] | None = None,
    request: Mapping[str, Any] | None = None,
    books: str = "",
) -> LiveSolveResult:
    """Answers a question, or a chat, by a strategy.

    backend: `embedded`, `echo`, a gateway's configuration, or the path of one.  options: as the field `comptroller` of
    a request: checker, budget, answer, roles.  request: further fields, such as max_tokens.  books: where the calls
    are booked; nowhere if empty.

    Raises:
        ComptrollerError: nothing came of it; says why.

    >>> solve("blue blue", "sample_and_vote(n=3)", "echo").answer.content
    'blue blue'
    """
    return asyncio.run(solve_live(question, strategy, backend, options, request, books))


async def solve_live(
    question: str | Sequence[Mapping[str, Any]],
    strategy: str | Strategy = "once",
    backend: str | Path | GatewayConfig = "embedded",
    options: Mapping[str, Any] | None = None,
    request: Mapping[str, Any] | None = None,
    books: str = "",
) -> LiveSolveResult:
    """`solve` inside a running event loop."""
    config = backend if isinstance(backend, GatewayConfig) else _config(backend)
    gateway = GatewayRuntime(replace(config, books=books))
    turns = [{"role": "user", "content": question}] if isinstance(question, str) else list(question)
    body = {"model": next(iter(config.services)), "messages": turns, **(request or {})}
    size = len(str(body).encode("utf-8", "surrogatepass"))
    try:
        await gateway.start()
        asked = GatewayRequest(
            "chat/completions", body, size, convert(RequestOptions, dict(options or {})), GatewayCaller(),
            gateway.desk.books.new_id()
        )  # fmt: skip
        await gateway.contexts.apply(asked)
        job = gateway.run(asked, parse(strategy) if isinstance(strategy, str) else strategy)
        assert job is not None
        played = await play(job.drive, job.world)
    finally:
        await gateway.stop()
    attempts = job.world.attempts
    return LiveSolveResult(played.answer, cost_of(attempts), tuple(item.call for item in attempts), played.elapsed_s)


def _config(backend: str | Path) -> GatewayConfig:
    path = Path(backend)
    return read(path) if path.suffix == ".toml" else single_service_config(str(backend))

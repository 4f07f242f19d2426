"""Gateways for tests: in this process, and as a real server."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import uvicorn
from sqlalchemy import create_engine, select

from comptroller.books import schema
from comptroller.gateway.config import config_from_document
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.gateway.server import Pages, listen, server_settings

PRICE = {"input": "1", "output": "2", "source": "test"}
"""Dollars per million tokens: an input token is a million picodollars, an output token two."""


def config(folder: Path, url: str, *models: str, **about: Any) -> dict[str, Any]:
    """A gateway with a service for each model of an upstream."""
    shared = {"url": url, "price": PRICE, "context_tokens": 8192, "max_output_tokens": 100, "attempts": 1}
    services = {model: shared | about.pop(model, {}) for model in models}
    return {"services": services, "books": str(folder / "books.sqlite"), "port": 0, "drain_s": 5.0} | about


@dataclass
class House:
    """A gateway that is served."""

    gateway: GatewayRuntime
    url: str

    def client(self, key: str = "none", **about: Any) -> openai.AsyncOpenAI:
        """The official client."""
        return openai.AsyncOpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, **about)


GUARD_S = 600.0
"""Ends a test that would hang. No result depends on it: no machine is so loaded that it needs as long."""


async def until(condition: Callable[[], object]) -> None:
    """Waits until something is so."""
    end = time.monotonic() + GUARD_S
    while not condition():
        assert time.monotonic() < end, "hangs"
        await asyncio.sleep(0.01)


@asynccontextmanager
async def running(document: dict[str, Any], pages: Pages | None = None) -> AsyncIterator[House]:
    """A gateway in this process, on a real socket. pages: for browsers."""
    made = config_from_document(document)
    gateway = GatewayRuntime(made)
    with listen(made) as door:
        await gateway.start()
        shown = pages(gateway) if pages else None
        settings = server_settings(gateway, shown.routes if shown else ())
        settings.timeout_graceful_shutdown = 2
        server = uvicorn.Server(settings)
        task = asyncio.create_task(server.serve(sockets=[door]))
        try:
            yield House(gateway, f"http://127.0.0.1:{door.getsockname()[1]}")
        finally:
            server.should_exit = True
            await task
            if shown is not None:
                await shown.stop()
            await gateway.stop()


def rows(books: Path | str) -> list[dict[str, Any]]:
    """Rows of the books, oldest first."""
    engine = create_engine(f"sqlite:///{books}" if "://" not in str(books) else str(books))
    with engine.connect() as connection:
        table = schema.entry.join(schema.account, schema.entry.c.account == schema.account.c.id)
        of = schema.account.c
        query = select(schema.entry, of.service, of.role, of.key, of.plan, of.strategy).select_from(table)
        found = [
            dict(row)
            for row in connection.execute(query.order_by(schema.entry.c.at_us, schema.entry.c.number)).mappings()
        ]
    engine.dispose()
    return found


def held(books: Path | str) -> int:
    """Open holds."""
    engine = create_engine(f"sqlite:///{books}" if "://" not in str(books) else str(books))
    with engine.connect() as connection:
        count = len(connection.execute(select(schema.hold.c.id)).all())
    engine.dispose()
    return count


@contextmanager
def process(folder: Path, document: dict[str, Any]) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`comptroller serve` as a process of its own, and its URL."""
    file = folder / "gateway.toml"
    file.write_text(toml(document), encoding="utf-8")
    command = [sys.executable, "-m", "comptroller", "serve", str(file), "--port", "0"]
    made = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1", "COLUMNS": "999"}
    )
    try:
        assert made.stderr is not None
        line = made.stderr.readline()
        assert "http://" in line, line + made.stderr.read()
        yield made, line.split(" at ")[-1].strip().removesuffix("/v1")
    finally:
        if made.poll() is None:
            made.send_signal(signal.SIGKILL)
        made.wait(GUARD_S)
        made.stderr.close()  # type: ignore[union-attr]


def toml(document: dict[str, Any], prefix: str = "") -> str:
    """A document as TOML: JSON's scalars and arrays are TOML's."""
    plain = {name: value for name, value in document.items() if not isinstance(value, dict)}
    lines = [f"{json.dumps(name)} = {json.dumps(value)}" for name, value in plain.items()]
    for name, value in document.items():
        if isinstance(value, dict):
            path = f"{prefix}{json.dumps(name)}"
            lines += [f"[{path}]", toml(value, f"{path}.")]
    return "\n".join(lines) + "\n"

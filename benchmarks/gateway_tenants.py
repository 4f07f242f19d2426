"""A light key beside a flooding one at a real gateway before a slow service: first tokens against those it has alone.

`python benchmarks/gateway_tenants.py` writes results/gateway_tenants.{json,md}. The service is a stand-in that sleeps,
so that what is measured is the queue and not the machine; gateway, service and clients share one process. Where others
are at work on the machine, `chrt -f 50 python benchmarks/gateway_tenants.py` lets it go before them.
"""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import numpy as np
import uvicorn
from aiohttp import web

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.tenant_waits import tenant_waits
from comptroller.gateway.config import config_from_document
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.gateway.server import listen, server_settings
from record import table, write

PLACES = 16
FIRST_S, AFTER_S = 0.3, 0.7
"""Of a call at the service: to its first token, and from there to its end, in the mean; both times 0.5 to 1.5."""
FLOOD = 160
"""Calls that the flooding key always has at the gateway: ten times the places."""
LIGHT, EVERY_S = 100, 0.75
"""Calls of the light key, and seconds between them."""
SLOWEST_S = 1.5 * (FIRST_S + AFTER_S)
LEFT = 1 + math.ceil(SLOWEST_S / EVERY_S)
"""Places that the flood leaves: calls of the light key that may be under way at once, two before one that comes."""
RULES = (("vtc", PLACES), ("vtc", PLACES - LEFT), ("fair_share", PLACES), ("fcfs", PLACES), ("fcfs", PLACES - LEFT))
"""Scheduling policies, and the most places of one key."""


@dataclass(frozen=True)
class TenantLine:
    """First tokens of the light key under a policy; ratios against the light key alone. per_key: most places of a key.
    because: share of its waits in which the flood had the places, as the books tell it."""

    policy: str
    per_key: int
    ttft_p50_s: float
    ttft_p99_s: float
    p50_ratio: float
    p99_ratio: float
    flood_per_s: float
    because: float


async def chat(request: web.Request) -> web.StreamResponse:
    """A stream of two tokens, at drawn times."""
    body = await request.json()
    scale = np.random.default_rng(int(body["seed"])).uniform(0.5, 1.5, 2)
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await response.prepare(request)
    usage = {"prompt_tokens": 30, "completion_tokens": 2, "total_tokens": 32}
    for pause_s, delta, finish in ((FIRST_S, {"content": "Yes"}, None), (AFTER_S, {"content": "."}, "stop")):
        await asyncio.sleep(pause_s * scale[0 if finish is None else 1])
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        told = {"id": "", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        await response.write(f"data: {json.dumps(told | ({'usage': usage} if finish else {}))}\n\n".encode())
    await response.write(b"data: [DONE]\n\n")
    return response


@asynccontextmanager
async def gateway(folder: Path, policy: str, per_key: int) -> AsyncIterator[str]:
    """The address of a gateway before the slow service."""
    app = web.Application()
    app.router.add_post("/v1/chat/completions", chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
    service = {
        "url": f"http://127.0.0.1:{port}/v1", "scheduling": policy, "max_in_flight": PLACES, "max_per_key": per_key,
        "wait_s": 120.0,
    }  # fmt: skip
    document = {"services": {"m": service}, "books": str(folder / "books.sqlite"), "port": 0}
    made = config_from_document(document)
    running = GatewayRuntime(made)
    with listen(made) as door:
        await running.start()
        server = uvicorn.Server(server_settings(running, ()))
        task = asyncio.create_task(server.serve(sockets=[door]))
        try:
            yield f"http://127.0.0.1:{door.getsockname()[1]}/v1/chat/completions"
        finally:
            server.should_exit = True
            await task
            await running.stop()
            await runner.cleanup()


async def first_token_s(session: aiohttp.ClientSession, url: str, key: str, seed: int) -> float:
    """Seconds to the first token of one call, which is read to its end."""
    body = {"model": "m", "stream": True, "seed": seed, "messages": [{"role": "user", "content": "Is it so?"}]}
    begun, first = time.perf_counter(), float("nan")
    async with session.post(url, json=body, headers={"authorization": f"Bearer {key}"}) as reply:
        reply.raise_for_status()
        async for line in reply.content:
            if np.isnan(first) and b'"Yes"' in line:
                first = time.perf_counter() - begun
    return first


async def measured(folder: Path, policy: str, per_key: int, flood: int) -> tuple[list[float], float]:
    """First tokens of the light key beside so many calls of the other, and how many of those ended a second."""
    with CallLedger.open(str(folder / "books.sqlite")) as ledger:
        keys = {name: ApiKeyStore(ledger).create(name) for name in ("flood", "light")}
    async with (
        gateway(folder, policy, per_key) as url,
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session,
    ):
        done, over = 0, False

        async def again(number: int) -> None:
            nonlocal done
            while not over:
                await first_token_s(session, url, keys["flood"], 1_000_000 + number + 1000 * done)
                done += 1

        flooding = [asyncio.create_task(again(number)) for number in range(flood)]
        await asyncio.sleep(5.0)
        begun, before = time.perf_counter(), done
        light = []
        for number in range(LIGHT):
            light.append(asyncio.create_task(first_token_s(session, url, keys["light"], number)))
            await asyncio.sleep(EVERY_S)
        found = list(await asyncio.gather(*light))
        rate = (done - before) / (time.perf_counter() - begun)
        over = True
        await asyncio.gather(*flooding)
    return found, rate


def line(policy: str, per_key: int, alone: list[float]) -> TenantLine:
    """A policy under the flood."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found, rate = asyncio.run(measured(folder, policy, per_key, FLOOD))
        with CallLedger.open(str(folder / "books.sqlite")) as ledger:
            (waits,) = tenant_waits(ledger)
    light = waits.tenants.index("light")
    because = waits.because_s[light]
    at, base = np.percentile(found, (50, 99)), np.percentile(alone, (50, 99))
    share = float(because[waits.tenants.index("flood")] / because.sum()) if because.sum() else 0.0
    return TenantLine(policy, per_key, *map(float, at), *map(float, at / base), rate, share)


def floor_s() -> tuple[float, float]:
    """Median and 99th percentile of first tokens where all places are taken, and the first to end is the light key's.

    What is left of a call under way ends within t with probability int_0^t P(S > u) du / E[S] (renewal theory), and
    the first of k does with 1 - (1 - that)^k. Times are drawn as the service draws them.
    """
    rng, draws = np.random.default_rng(0), 1_000_000
    lasts = FIRST_S * rng.uniform(0.5, 1.5, draws) + AFTER_S * rng.uniform(0.5, 1.5, draws)
    at = np.linspace(0.0, SLOWEST_S, 3001)
    longer = 1.0 - np.searchsorted(np.sort(lasts), at, "right") / draws
    ended = np.concatenate([[0.0], np.cumsum((longer[1:] + longer[:-1]) / 2)]) * at[1] / lasts.mean()
    waits = np.interp(rng.uniform(size=draws), 1.0 - (1.0 - np.minimum(ended, 1.0)) ** PLACES, at)
    p50_s, p99_s = np.percentile(waits + FIRST_S * rng.uniform(0.5, 1.5, draws), (50, 99))
    return float(p50_s), float(p99_s)


def page(base_s: tuple[float, float], lines: Sequence[TenantLine]) -> str:
    """The result in words. base_s: median and 99th percentile of the light key alone."""
    shown = [
        [one.policy, str(one.per_key), *(f"{value:.2f}" for value in (one.ttft_p50_s, one.ttft_p99_s, one.p50_ratio,
         one.p99_ratio)), f"{one.flood_per_s:.1f}", f"{100 * one.because:.0f} %"]
        for one in lines
    ]  # fmt: skip
    heads = ["scheduling", "most places of a key", "TTFT p50 s", "p99 s", "p50, x alone", "p99, x alone",
             "flood's calls/s", "of the flood"]  # fmt: skip
    least_s = floor_s()
    return f"""# A light key beside a flooding one, at the gateway

{LIGHT} calls of a light key, one every {EVERY_S:g} s, before a service of {PLACES} places that sleeps {FIRST_S:g} s
to the first token and {AFTER_S:g} s after it (times 0.5 to 1.5, the same for each call in every row), while another key
always has {FLOOD} calls at the gateway. Alone: p50 {base_s[0]:.2f} s, p99 {base_s[1]:.2f} s. Real: the gateway, its
books, sockets. A stand-in: the service. The p99 of {LIGHT} calls is nearly their latest.
Run before others on a busy machine (`chrt -f 50`).

Where the flood may have all {PLACES} places no order can do better than the first of them to end, for no call
that runs is set aside: by renewal theory p50 {least_s[0]:.2f} s and p99 {least_s[1]:.2f} s,
{least_s[1] / base_s[1]:.2f} times alone. A light call lasts at most {SLOWEST_S:g} s and one comes every {EVERY_S:g} s,
so that {LEFT} places that the flood may not have are never all taken when one comes (`max_per_key`). The last column
is what the books say of the light key's waits (`books waits`): the share in which the flood had the places.

{table(heads, shown)}
"""


def main() -> None:
    """Measures and writes."""
    with tempfile.TemporaryDirectory() as name:
        alone, _ = asyncio.run(measured(Path(name), "vtc", PLACES, 0))
    lines = [line(*rule, alone) for rule in RULES]
    p50_s, p99_s = (float(value) for value in np.percentile(alone, (50, 99)))
    figures = {"alone_ttft_s": {"p50": p50_s, "p99": p99_s}, "lines": [asdict(one) for one in lines]}
    print(write("gateway_tenants", figures, page((p50_s, p99_s), lines), ("aiohttp", "uvicorn")))


if __name__ == "__main__":
    main()

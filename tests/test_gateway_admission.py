"""Who gets a place at a service: the simulator's scheduling policies in the gateway's queue, and waits in the books."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from comptroller.books.keys import ApiKeyStore
from comptroller.books.ledger import CallLedger
from comptroller.books.tenant_waits import TenantWaits, tenant_waits, waits_because
from comptroller.cli import main
from comptroller.errors import FactError, InputError, UnknownIdError, UnsupportedError
from comptroller.gateway.admission_order import KNOWN_COLUMNS, AdmissionOrder
from comptroller.gateway.config import TenantConfig, config_from_document
from comptroller.gateway.problems import GatewayError
from comptroller.gateway.service import UpstreamService
from comptroller.gateway.upstream_queue import UpstreamQueue
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import ServingPolicies, SimulatedFleet, SimulatedReplica, SimulatedService
from comptroller.serving.policies import module, names
from comptroller.serving.ticks import linear
from comptroller.work.call import CallTable
from gateway_houses import House, config, running, until
from gateway_upstream import whole

TENANTS = ("a", "b", "c")


def runs_here(name: str) -> bool:
    file = module("scheduling", name)
    return set(getattr(file, "NEEDS", ())) <= set(KNOWN_COLUMNS) and not getattr(file, "PREEMPTS", False)


HERE = [name for name in names("scheduling") if runs_here(name)]


def test_most_policies_of_the_simulator_run_here() -> None:
    assert HERE == ["fair_share", "fcfs", "priority", "shortest_job", "vtc"]


@pytest.mark.parametrize("policy", HERE)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), count=st.integers(1, 30))
def test_the_gateway_admits_in_the_order_of_the_simulator(policy: str, seed: int, count: int) -> None:
    """One place: the calls of a random trace begin in the same order in the engine and in the gateway's lines."""
    rng = np.random.default_rng(seed)
    priorities = {name: float(rng.integers(0, 2)) for name in TENANTS}
    tenant = rng.integers(0, 3, count)
    calls = CallTable.of(
        {"key": TENANTS}, None, key=tenant,
        arrival_s=np.sort(rng.uniform(0, 0.2 * count, count)),
        input_tokens=rng.integers(1, 400, count), output_tokens=rng.integers(1, 60, count),
        priority=[priorities[TENANTS[one]] for one in tenant],
    )  # fmt: skip
    replica = SimulatedReplica(linear(max_batch=1))
    fleet = SimulatedFleet((SimulatedService("s", (replica,)),), ServingPolicies(scheduling=policy), tenants=3)
    found = simulate(fleet, calls).requests
    begun = [int(row) for row in np.argsort(found.started, kind="stable")]
    output = np.asarray(calls["output_tokens"])

    def made(row: int, tick: int) -> int:
        """Output tokens of a call that are there at a moment: the first, then one with every step, all of a length."""
        if tick >= found["last"][row]:
            return int(output[row])
        steps = (tick - found.first[row]) / (found["last"][row] - found.first[row]) * (output[row] - 1)
        return 1 + int(steps) if tick >= found.first[row] else 0

    lines = AdmissionOrder[int]("s", policy, {name: TenantConfig(priority=value) for name, value in priorities.items()})
    served: list[int] = []
    moments = [(int(found.arrival[row]), 1, row) for row in range(count)] + [
        (int(found["last"][r]), 0, r) for r in begun
    ]
    told = 0
    for tick, arrives, row in sorted(moments):
        if served:
            tokens = made(served[-1], tick)
            lines.serve(TENANTS[tenant[served[-1]]], 0, tokens - told)
            told = tokens
        if arrives:
            lines.join(TENANTS[tenant[row]], int(calls["input_tokens"][row]), int(output[row]), row)
        first = lines.first()
        if first is not None and (not served or tick >= found["last"][served[-1]]):
            lines.admit(first)
            served.append(first.ticket)
            told = 0
    assert served == begun


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(TENANTS), st.integers(1, 50), st.integers(0, 50)), min_size=60, max_size=90))
def test_of_tenants_that_always_wait_each_is_served_by_its_weight(calls: list[tuple[str, int, int]]) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 4.0}
    lines = AdmissionOrder[int]("s", "vtc", {name: TenantConfig(weight) for name, weight in weights.items()})
    had = dict.fromkeys(TENANTS, 0.0)
    for name in TENANTS:
        for prompt in range(1, 40):
            lines.join(name, prompt, 0, 0)
    for _, _, output in calls:
        one = lines.first()
        assert one is not None
        lines.admit(one)
        lines.serve(one.tenant, 0, output)
        had[one.tenant] += one.call.prompt + 2 * output
        if min(map(lines.waiting, TENANTS)) == 0:
            break
        shares = [had[name] / weights[name] for name in TENANTS]
        assert max(shares) - min(shares) <= 39 + 2 * 50  # the dearest call over the least weight


def test_policies_that_no_gateway_can_run_are_refused_by_name() -> None:
    def service(policy: str) -> None:
        document = {"services": {"s": {"url": "http://127.0.0.1:9", "scheduling": policy}}}
        UpstreamService("s", config_from_document(document).services["s"])

    for name in set(names("scheduling")) - set(HERE):
        with pytest.raises(UnsupportedError, match=f"service s: scheduling policy {name} sets running calls aside"):
            service(name)
    with pytest.raises(UnknownIdError, match=r"unknown scheduling policy 'fifo'; nearest: fcfs"):
        service("fifo")


def test_a_policy_of_ones_own_that_needs_more_is_refused(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("NEEDS = ('adapter',)\ndef rank(call):\n    return call.adapter\n", "utf-8")
    with pytest.raises(UnsupportedError, match="needs 'adapter', which a gateway does not know; it knows tenant, "):
        AdmissionOrder("s", str(tmp_path / "own.py"), {})


def test_all_faults_of_tenants_are_told_at_once() -> None:
    document = {"services": {"s": {}}, "tenants": {"web": {"weight": 0}, "shop": {"share": 2, "priority": "high"}}}
    with pytest.raises(InputError) as refused:
        config_from_document(document)
    said = str(refused.value)
    assert isinstance(refused.value, FactError | InputError)
    assert "tenants.web.weight" in said and "tenants.shop.share" in said and "tenants.shop.priority" in said


class GatedUpstream:
    """Answers one call for each time that it is let; asked: who asks, in the order of arrival."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.let = asyncio.Semaphore(0)
        self.url = ""

    async def chat(self, request: web.Request) -> web.Response:
        self.asked.append((await request.json())["messages"][0]["content"].split()[0])
        await self.let.acquire()
        return web.json_response(whole("m", {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50}))


@asynccontextmanager
async def gated() -> AsyncIterator[GatedUpstream]:
    made = GatedUpstream()
    app = web.Application()
    app.router.add_post("/v1/chat/completions", made.chat)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}/v1"  # type: ignore[union-attr]
    try:
        yield made
    finally:
        for _ in range(1000):
            made.let.release()
        await runner.cleanup()


FLOOD, PLACES = 60, 2


async def answers_awaited(
    house: House, up: GatedUpstream, keys: dict[str, str], rounds: int, per_key: int
) -> list[int]:
    """A tenant floods; of each call of another, how many answers come from when it waits until it is served."""
    queue, awaited = house.gateway.services["m"].queue, list[int]()

    async def ask(who: str) -> None:
        messages: Any = [{"role": "user", "content": f"{who} asks"}]
        await house.client(keys[who]).chat.completions.create(model="m", messages=messages)

    flood = [asyncio.create_task(ask("flood")) for _ in range(FLOOD)]
    await until(lambda: queue.waiting == FLOOD - per_key and len(up.asked) == per_key)
    for _ in range(rounds):
        begun, answers = len(up.asked), 0
        light = asyncio.create_task(ask("light"))
        await until(lambda: queue.waiting == FLOOD + len(awaited) + 1 - len(up.asked))
        while up.asked[-1] != "light":
            so_far = len(up.asked)
            up.let.release()
            answers += 1
            await until(lambda most=so_far + 1: len(up.asked) == most)
        awaited.append(answers)
        served = begun + max(answers, 1) + per_key
        for _ in range(PLACES):
            up.let.release()
        await light
        await until(lambda most=served: len(up.asked) == min(most, FLOOD + len(awaited)))
    for _ in range(FLOOD):
        up.let.release()
    await asyncio.gather(*flood)
    return awaited


def flooded(
    folder: Path, policy: str, rounds: int, tenants: dict[str, Any] | None = None, per_key: int = PLACES
) -> list[int]:
    """As `answers_awaited`, in a gateway whose keys are in its books."""
    with CallLedger.open(str(folder / "books.sqlite")) as ledger:
        keys = {name: ApiKeyStore(ledger).create(name) for name in ("flood", "light")}

    async def work() -> list[int]:
        async with gated() as up:
            service = {"max_in_flight": PLACES, "scheduling": policy, "wait_s": 600.0, "max_per_key": per_key}
            async with running(config(folder, up.url, "m", m=service, tenants=tenants or {})) as house:
                return await answers_awaited(house, up, keys, rounds, per_key)

    return asyncio.run(work())


def waits(folder: Path) -> TenantWaits:
    with CallLedger.open(str(folder / "books.sqlite")) as ledger:
        (found,) = tenant_waits(ledger)
    return found


def test_a_light_tenant_waits_for_a_place_alone_beside_a_flood(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone it would wait for no answer, and for one where the places are taken; first come, for all of the flood."""
    folders = {name: tmp_path / name for name in ("vtc", "fcfs")}
    for folder in folders.values():
        folder.mkdir()
    fair, plain = flooded(folders["vtc"], "vtc", 6), flooded(folders["fcfs"], "fcfs", 1)
    assert np.percentile(fair, 99) <= 2 and plain == [FLOOD - PLACES + 1]

    for folder, rounds in zip(folders.values(), (6, 1), strict=True):
        found = waits(folder)
        assert found.tenants == ("flood", "light") and found.of(1, "wait_s").size == rounds
        assert np.allclose(found.because_s.sum(axis=1), [found.of(n, "wait_s").mean() for n in (0, 1)], rtol=0.2)
        assert found.because_s[1, 0] > 0.5 * found.because_s[1].sum(), "who slowed the light one is the flood"
        with pytest.raises(SystemExit) as ended:
            main(["books", "waits", str(folder / "books.sqlite"), "--json"])
        lines = json.loads(capsys.readouterr().out)
        assert ended.value.code == 0 and [line["key"] for line in lines] == ["flood", "light"]
        assert lines[1]["because_of"].startswith("flood ")


def test_places_that_the_flood_may_not_have_are_there_at_once(tmp_path: Path) -> None:
    """A light key alone awaits no answer; nor does it beside a flood that leaves it a place, in whatever order."""
    for policy in ("vtc", "fcfs"):
        (tmp_path / policy).mkdir()
        assert flooded(tmp_path / policy, policy, 3, per_key=PLACES - 1) == [0, 0, 0], policy


@given(most=st.integers(1, 6), callers=st.lists(st.sampled_from(["", "a", "b"]), max_size=12), data=st.data())
def test_a_key_has_at_most_its_places_and_nobody_has_all(most: int, callers: list[str], data: st.DataObject) -> None:
    """Callers come one by one and nobody leaves: a key gets places up to its bound, requests without one up to all."""
    per_key = data.draw(st.integers(1, most))

    async def work() -> list[bool]:
        queue, served = UpstreamQueue("m", most, 0, 1.0, per_key=per_key), []
        for caller in callers:
            try:
                await queue.enter(caller)
            except GatewayError:
                served.append(False)
            else:
                served.append(True)
        return served

    held, expected = Counter[str](), []
    for caller in callers:
        expected.append(held.total() < most and (not caller or held[caller] < per_key))
        held[caller] += expected[-1]
    assert asyncio.run(work()) == expected


def test_more_places_for_a_key_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match=r"services.a.max_per_key: 5 of 4 places .*from 1 to all of them"):
        config_from_document({"services": {"a": {"backend": "echo", "max_in_flight": 4, "max_per_key": 5}}})


def test_priorities_and_weights_are_those_of_the_document(tmp_path: Path) -> None:
    for name, policy, tenants in (
        ("urgent", "priority", {"light": {"priority": 1}}),
        ("heavy", "fair_share", {"light": {"weight": 50}}),
        ("last", "priority", {"flood": {"priority": 1}}),
    ):
        (tmp_path / name).mkdir()
        awaited = flooded(tmp_path / name, policy, 1, tenants)
        assert awaited == [FLOOD - PLACES + 1 if name == "last" else 1], name


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.floats(0, 9), st.floats(0, 5), st.floats(0, 5)), min_size=1, max_size=9)
)
def test_reasons_of_waits_add_up_and_are_those_of_a_plain_sum(calls: list[tuple[int, float, float, float]]) -> None:
    """Against shares counted at the middle of every interval between two moments."""
    member = np.array([one[0] for one in calls])
    came = np.array([one[1] for one in calls])
    began = came + [one[2] for one in calls]
    ended = began + [one[3] for one in calls]
    found = waits_because(member, (came, began), (began, ended), 3)
    moments = np.unique(np.concatenate([came, began, ended]))
    plain = np.zeros_like(found)
    for start, end in pairwise(moments.tolist()):
        middle = (start + end) / 2
        having = np.bincount(member[(began <= middle) & (middle < ended)], minlength=3)
        for row in range(len(calls)):
            if came[row] <= middle < began[row] and having.sum():
                plain[row] += having / having.sum() * (end - start)
    assert np.allclose(found, plain, atol=1e-9)
    assert (found.sum(axis=1) <= began - came + 1e-9).all()

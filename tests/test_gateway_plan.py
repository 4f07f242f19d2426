"""A plan, live: shares, prefixes, what it predicted beside what happened; and what the gateway costs to import."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as some

from comptroller.cli import main
from comptroller.errors import InputError
from comptroller.gateway.config import config_from_document
from comptroller.gateway.plan_drift import PlanDriftMonitor
from comptroller.gateway.routing import AffinityBalancer, PlanRouter
from comptroller.gateway.runtime import GatewayRuntime
from comptroller.planning.ground.plan_document import Plan, load_plan
from comptroller.planning.ground.service_document import PredictedFigure
from gateway_houses import config, rows, running
from gateway_upstream import Upstream, upstream

ASK = [{"role": "user", "content": "hi"}]
GOLDEN = Path(__file__).parent / "golden" / "two_services.json"


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with upstream() as made:
        yield made


def planned(folder: Path, url: str) -> dict[str, Any]:
    """A gateway of the golden plan, whose services are both played by one upstream."""
    plan = load_plan(GOLDEN)
    document = config(folder, url, *(service.id for service in plan.services), plan=str(GOLDEN))
    for service in document["services"].values():
        service["model"] = "fine"
        del service["price"]
    return document


def test_requests_go_where_the_plan_says_and_a_prefix_stays(up: Upstream, tmp_path: Path) -> None:
    async def work() -> tuple[list[str], dict[str, Any]]:
        async with running(planned(tmp_path, up.url)) as house:

            async def ask(text: str, **about: Any) -> Any:
                body = {"model": "comptroller/auto", "messages": [{"role": "user", "content": text}], **about}
                async with session.post(f"{house.url}/v1/chat/completions", json=body) as reply:
                    return await reply.json()

            async with aiohttp.ClientSession() as session:
                told = [(await ask(f"question {n}"))["comptroller"] for n in range(60)]
                again = [(await ask(f"question {n}"))["comptroller"] for n in range(12)]
                streamed = {
                    "model": "comptroller/auto",
                    "stream": True,
                    "messages": [{"role": "user", "content": "hi"}],
                }
                async with session.post(f"{house.url}/v1/chat/completions", json=streamed) as reply:
                    assert reply.headers["x-comptroller-predicted-usd"].startswith("0.000118")
                    await reply.read()
                async with session.get(f"{house.url}/comptroller/plan") as reply:
                    page = await reply.json()
                async with session.get(f"{house.url}/metrics") as reply:
                    text = await reply.text()
            assert 'comptroller_plan{figure="usd",what="predicted"} 0.000185' in text
            kept = sum(a["services"] == b["services"] for a, b in zip(told, again, strict=False))
            assert kept >= 9, "a prefix meets the same service unless that one is ahead of its share"
            assert told[0]["predicted"]["usd"]["source"] == "plan"
            return [item["services"][0] for item in told], page

    services, page = asyncio.run(work())
    shares = Counter(services)
    plan = load_plan(GOLDEN)
    weights = PlanRouter(plan, dict.fromkeys((s.id for s in plan.services), None)).choose(None, 1, 100).roles["solver"]  # type: ignore[arg-type]
    assert any(service.slices for service in plan.services), "short prompts go where the plan sends short prompts"
    for name in (service.id for service in plan.services):
        assert shares[name] / 60 == pytest.approx(weights.get(name, 0.0) / sum(weights.values()), abs=0.15)
    usd = next(item for item in page["figures"] if item["figure"] == "usd")
    assert page["requests"] == 73 and usd["predicted"]["value"] == 0.000185083 and usd["happened"] > 0
    assert any(line.startswith("usd per request is") for line in page["drift"]), "answers were far shorter than planned"
    found = rows(tmp_path / "books.sqlite")
    assert {row["plan"] for row in found} == {page["digest"]} and all(row["pusd"] > 0 for row in found)
    assert all(row["j_decode"] > 0 for row in found), "planned joules where none were measured"


def test_a_plan_whose_services_are_not_there_says_how_to_start_them(tmp_path: Path) -> None:
    document = planned(tmp_path, "http://127.0.0.1:9/v1")
    missing = next(name for name in document["services"] if "mi300x" in name)
    del document["services"][missing]
    with pytest.raises(InputError, match=r"mi300x.*add \[services.*url; it is started with: vllm serve"):
        GatewayRuntime(config_from_document(document))


@given(some.lists(some.floats(0.05, 1.0), min_size=2, max_size=5), some.integers(0, 10**6))
def test_shares_hold_for_many_prefixes_and_for_one(weights: list[float], seed: int) -> None:
    names = {f"s{at}": weight for at, weight in enumerate(weights)}
    for keys in ([f"{seed}/{n}" for n in range(400)], [str(seed)] * 400):
        shares = AffinityBalancer()
        picked = Counter(shares.pick(key, names) for key in keys)
        for name, weight in names.items():
            assert picked[name] / 400 <= 1.25 * weight / sum(weights) + 0.02


def test_drift_is_told_only_outside_the_interval_and_from_thirty_requests_on() -> None:
    plan = load_plan(GOLDEN)
    for usd, late_s, expected in ((0.0002, 0.6, 0), (0.0004, 0.6, 1), (0.0004, 3.0, 2)):
        seen = PlanDriftMonitor(plan)
        for number in range(40):
            assert seen.drifted() == [] or number >= 30
            seen.add(usd=usd, j=float("nan"), ttft_s=late_s, tpot_s=0.05)
        assert len(seen.drifted()) == expected


def test_a_class_that_is_split_gets_its_strategies_by_their_shares() -> None:
    plan = load_plan(GOLDEN)
    one = plan.classes[0]
    classes = [
        one.model_copy(update={"name": "math", "share": 0.3, "strategy": "best_of_n(n=4)"}),
        one.model_copy(update={"name": "math", "share": 0.1, "strategy": "once"}),
        one.model_copy(update={"name": "chat", "share": 0.6}),
    ]
    split: Plan = plan.model_copy(update={"classes": tuple(classes)})
    services: Any = {service.id: object() for service in plan.services}
    routes = PlanRouter(split, services)
    picked = Counter(routes.choose("math", number, 1000).strategy for number in range(1000))
    assert 0.7 < picked["best_of_n(n=4)"] / 1000 < 0.8
    with pytest.raises(Exception, match="name a class of the plan: math, chat"):
        routes.choose(None, 1, 1000)
    with pytest.raises(Exception, match="no class 'law'; it has math, chat"):
        routes.choose("law", 1, 1000)
    assert PredictedFigure(value=1.0).low is None


def test_serving_imports_nothing_that_computes() -> None:
    code = (
        "import json, sys; from comptroller.gateway.server import serve; "
        "from comptroller.strategies.spelling import names, rule; [rule(name) for name in names()]; "
        "print(json.dumps(sorted({name.split('.')[0] for name in sys.modules})))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numba", "scipy", "pyarrow", "highspy", "matplotlib"} & set(json.loads(run.stdout))


def test_books_against_the_plan(up: Upstream, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async def work() -> None:
        async with running(planned(tmp_path, up.url)) as house:
            for number in range(31):
                ask: Any = [{"role": "user", "content": f"question {number}"}]
                await house.client().chat.completions.create(model="comptroller/auto", messages=ask, stream=number < 3)

    asyncio.run(work())
    books = str(tmp_path / "books.sqlite")
    for words, code in ((["--json"], 0), ([], 0)):
        with pytest.raises(SystemExit) as ended:
            main(["books", "against", books, str(GOLDEN), *words])
        assert ended.value.code == code
        out = capsys.readouterr().out
        if words:
            found = json.loads(out)
            assert found["requests"] == 31 and found["figures"][0]["happened"] > 0
            assert found["figures"][0]["predicted"]["value"] == 0.000185083
        else:
            assert "Plan chat" in out and "drift: usd per request is" in out.replace("\n", " ")
    with pytest.raises(SystemExit) as ended:
        main(["books", "against", str(tmp_path / "none.sqlite"), str(GOLDEN)])
    assert ended.value.code == 2

"""The dashboard: its panels from books and plan, what-ifs from the pool and by search, who may read it, bad input."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from multiprocessing import Pipe
from pathlib import Path

import aiohttp
import numpy as np
import pytest
from sqlalchemy import event
from starlette.applications import Starlette
from starlette.testclient import TestClient

from comptroller.books.keys import AUDITOR, ApiKeyStore
from comptroller.books.latency import last_latencies, percentiles_s
from comptroller.books.ledger import CallLedger
from comptroller.dashboard.late import LateDashboard
from comptroller.dashboard.pages import panels_of
from comptroller.dashboard.panels import DashboardSources
from comptroller.dashboard.questions import WhatIfForm, WhatIfQuestion
from comptroller.dashboard.replanning import WhatIfPlanner
from comptroller.dashboard.server import DashboardFiles, _apart, gateway_pages
from comptroller.dashboard.web import COOKIE, DashboardApplication
from comptroller.dashboard.worker import (
    FIRST,
    BaseMessage,
    RefusalMessage,
    WhatIfAnswer,
    WhatIfWorker,
    answer_questions,
)
from comptroller.errors import FactError, InfeasibleError, InputError
from comptroller.gateway.admission import GatewayAdmissionController
from comptroller.gateway.browsers import BrowserGate
from comptroller.gateway.config import GatewayConfig
from comptroller.planning.ground.executor import SILENT
from comptroller.planning.ground.plan_document import load_plan
from comptroller.planning.planner import plan
from comptroller.work.workload import Workload, load
from dashboard_books import fill
from gateway_houses import config, running
from test_report_page import Reader

HERE = Path(__file__).parent
CHAT = load_plan(HERE / "golden" / "chat.json")


@pytest.fixture(scope="module")
def books(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fill(tmp_path_factory.mktemp("dashboard") / "books.sqlite", CHAT)


@pytest.fixture
def ledger(books: Path) -> Iterator[CallLedger]:
    with CallLedger.open(str(books)) as opened:
        yield opened


def client(sources: DashboardSources, host: str = "127.0.0.1") -> TestClient:
    config = GatewayConfig(services={}, host=host)
    if sources.ledger:
        keys = ApiKeyStore(sources.ledger)
        admission = GatewayAdmissionController(config, keys.find, keys.ever)
    else:
        admission = GatewayAdmissionController(config, lambda secret: None, lambda: False)
    app = DashboardApplication(sources, admission)
    return TestClient(BrowserGate(Starlette(routes=app.routes), config), base_url="http://localhost")


def text_of(html: str) -> str:
    reader: HTMLParser = Reader(html)
    assert isinstance(reader, Reader) and not reader.open
    return " ".join(reader.words)


def test_the_page_has_a_place_for_every_panel_and_loads_nothing_from_elsewhere(ledger: CallLedger) -> None:
    sources = DashboardSources("shop", ledger, CHAT)
    answer = client(sources).get("/")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "http" not in re.sub(r"http-equiv", "", answer.text)
    for panel in panels_of(sources):
        assert f'hx-get="/dashboard/panel/{panel.id}"' in answer.text


def test_every_panel_is_drawn_and_read_without_scripts_too(ledger: CallLedger) -> None:
    pytest.importorskip("matplotlib")
    sources = DashboardSources("shop", ledger, CHAT)
    browser = client(sources)
    for panel in panels_of(sources):
        part = browser.get(f"/dashboard/panel/{panel.id}", headers={"hx-request": "true"}).text
        assert part.startswith(f'<section id="{panel.id}"') and panel.title in text_of(part)
        assert text_of(browser.get(f"/dashboard/panel/{panel.id}").text)


@pytest.mark.parametrize("by", ["model", "key", "strategy", "tag:team"])
@pytest.mark.parametrize("measure", ["usd", "output", "j", "gco2e"])
def test_spend_is_by_any_group_in_any_measure(ledger: CallLedger, by: str, measure: str) -> None:
    panel = next(panel for panel in panels_of(DashboardSources("shop", ledger)) if panel.id == "spend")
    content = panel.make(DashboardSources("shop", ledger), {"by": by, "measure": measure, "days": "all"})
    stacked, bars = content.charts
    names = {"model": "qwen3_8b", "key": "shop", "strategy": "once", "tag:team": "red"}
    assert names[by] in [name for name, _ in bars.readings] and len(stacked.readings) == 5
    heights = [sum(series.heights) for series in stacked.series if hasattr(series, "heights")]
    assert sum(heights) == pytest.approx(sum(bars.series[0].heights))
    if measure == "usd":
        assert sum(heights) == pytest.approx(sum(range(1, 13)) * sum(range(1, 6)) / 400)
        assert any(line.name == "budget $2.00" for line in stacked.lines)


def test_budgets_warn_when_they_are_nearly_full(ledger: CallLedger) -> None:
    browser = client(DashboardSources("shop", ledger))
    shown = text_of(browser.get("/dashboard/panel/budgets").text)
    assert "key shop in total: $1.35 spent" in shown and "all per day" in shown and "all per day: " not in shown


def test_latencies_are_those_of_the_last_calls_by_service(ledger: CallLedger) -> None:
    found = last_latencies(ledger, most=12)
    assert len(found.service) == 11  # the twelfth of the day failed
    one = found.of("qwen3_8b")
    assert percentiles_s(one.queue_s, (50,))[50] == pytest.approx(0.02, abs=1e-4)
    assert np.nanmax(found.ttft_s) == pytest.approx(0.3 + 0.02 * 10, abs=1e-3)
    assert sorted(last_latencies(ledger).services) == ["llama_3_1_70b", "openai/gpt-5", "qwen3_8b"]


def test_what_drifted_is_told_beside_its_interval(ledger: CallLedger) -> None:
    shown = text_of(client(DashboardSources("shop", ledger, CHAT)).get("/dashboard/panel/drift").text)
    assert "Over 30 requests of the plan" in shown and "drift: usd per request" in shown
    frontier = client(DashboardSources("shop", ledger, CHAT)).get("/dashboard/panel/frontier").text
    assert "running. " in frontier


def test_panels_read_no_more_rows_however_large_the_books_are(tmp_path: Path) -> None:
    """Rows of calls are read along their key and up to a limit, all else is sums by day."""
    with CallLedger.open(str(fill(tmp_path / "books.sqlite", CHAT, days=2))) as ledger:
        sources, fetched = DashboardSources("shop", ledger, CHAT), list[str]()
        event.listen(ledger.engine, "before_cursor_execute", lambda *args: fetched.append(args[2]))
        for panel in panels_of(sources):
            panel.make(sources, {select.name: select.chosen({}) for select in panel.selects(sources)})
    of_calls = [text for text in fetched if "FROM entry" in text]
    assert of_calls and all("LIMIT" in text and "JOIN" not in text for text in of_calls)


def test_books_without_a_row_say_so(tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "new.sqlite")) as ledger:
        browser = client(DashboardSources("new", ledger))
        texts = [text_of(browser.get(f"/dashboard/panel/{name}").text) for name in ("spend", "latency", "success")]
    assert "No call was booked" in texts[0] and "No call has ended" in texts[1] and "No request was scored" in texts[2]


def test_a_choice_that_there_is_not_is_the_first_and_a_panel_that_there_is_not_is_refused(ledger: CallLedger) -> None:
    browser = client(DashboardSources("shop", ledger))
    wrong = browser.get("/dashboard/panel/spend?by=<script>&measure=nothing&days=-3")
    assert wrong.status_code == 200 and "<script>" not in wrong.text and "dollars a day" in wrong.text
    assert browser.get("/dashboard/panel/nothing").status_code == 404
    assert browser.get("/dashboard/page.css").status_code == 404
    assert browser.get("/dashboard/htmx.min.js").headers["content-type"].startswith("text/javascript")


def test_once_there_is_a_key_only_an_auditor_reads(tmp_path: Path) -> None:
    with CallLedger.open(str(fill(tmp_path / "keys.sqlite", days=1))) as ledger:
        keys = ApiKeyStore(ledger)
        spender, auditor = keys.create("shop"), keys.create("finance", role=AUDITOR)
        browser = client(DashboardSources("shop", ledger))
        assert browser.get("/").status_code == 401 and "A key, please" in browser.get("/dashboard/panel/spend").text
        refused = browser.post("/dashboard/key", data={"key": spender}, headers={"origin": "http://localhost"})
        assert refused.status_code == 403 and COOKIE not in browser.cookies
        foreign = browser.post("/dashboard/key", data={"key": auditor}, headers={"origin": "http://evil.example"})
        assert foreign.status_code == 403
        own = {"origin": "http://localhost"}
        given = browser.post("/dashboard/key", data={"key": auditor}, headers=own, follow_redirects=False)
        assert given.status_code == 303 and "read by finance" in browser.get("/").text
        cookie = given.headers["set-cookie"].lower()
        assert "httponly" in cookie and "samesite=strict" in cookie
        assert client(DashboardSources("shop", ledger)).get("/", headers={"authorization": auditor}).status_code == 200


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (HERE.parent / "examples" / "chat.toml").read_text().replace("rate_per_s = 20.0", "rate_per_s = 3.0")
    small = 'accelerators = ["h100_sxm", "h200_sxm"]\nengines = ["vllm"]\nformats = ["fp8_e4m3"]'
    text = re.sub(r"^accelerators = .*$", small, text, flags=re.M)
    path = tmp_path_factory.mktemp("what_if") / "small.toml"
    path.write_text(text)
    return path


@pytest.fixture(scope="module")
def small(workload: Path) -> Workload:
    return load(workload)


@pytest.fixture(scope="module")
def replanner(small: Workload) -> WhatIfPlanner:
    return WhatIfPlanner(small, SILENT)


def test_the_pool_answers_another_objective_as_the_search_would(replanner: WhatIfPlanner, small: Workload) -> None:
    looser = WhatIfQuestion(latency_s={"TPOT p95": 0.2, "TTFT p95": 5.0})
    at_once = replanner.at_once(looser)
    (searched,) = replanner.searched(looser, SILENT)
    assert at_once.usd_per_h >= searched.usd_per_h * (1 - 1e-9) and at_once.usd_per_h <= replanner.standing.usd_per_h
    assert all(seen_s <= most_s for _, seen_s, most_s in (*at_once.latency, *searched.latency))
    assert searched.final and not at_once.final and "simulated" in at_once.told
    assert searched.usd_per_h == pytest.approx(plan(replanner.changed(looser), quick=True).totals.usd_per_h.value)


def test_prices_and_carbon_change_what_the_pool_costs(replanner: WhatIfPlanner) -> None:
    standing = replanner.at_once(WhatIfQuestion())
    assert standing.final and standing.usd_per_h == pytest.approx(replanner.standing.usd_per_h)
    used = next(name for name in replanner.base.usd_per_device_h if name in standing.fleet)
    cheap = replanner.at_once(WhatIfQuestion(usd_per_device_h={used: 0.01}))
    assert cheap.usd_per_h < 0.1 * standing.usd_per_h
    taxed = replanner.at_once(WhatIfQuestion(carbon_usd_per_t=1000.0))
    assert taxed.carbon_usd_per_h == pytest.approx(taxed.kg_co2e_per_h)
    assert taxed.total_usd_per_h == taxed.usd_per_h + taxed.carbon_usd_per_h


def test_other_accelerators_and_more_work_are_told_for_what_they_are(replanner: WhatIfPlanner) -> None:
    more = replanner.at_once(WhatIfQuestion(rate_per_s=30.0))
    assert "steady state" in more.told and not more.latency and more.usd_per_h > replanner.standing.usd_per_h
    with pytest.raises(InfeasibleError, match="none of the"):
        replanner.at_once(WhatIfQuestion(latency_s={"TPOT p95": 0.001}))
    only = replanner.changed(WhatIfQuestion(accelerators=frozenset({"h200_sxm"}), rate_per_s=6.0, solve=0.5))
    assert only.allow.accelerators == ("h200_sxm",) and only.rate_per_s == 6.0
    priced = replanner.changed(WhatIfQuestion(usd_per_device_h={"h100_sxm": 1.5}))
    offers = priced.library.site("us_neocloud").offers
    assert {round(o.usd_per_s * 3600, 6) for o in offers if o.accelerator == "h100_sxm" and o.term == "on_demand"} == {
        1.5
    }


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ({"rate": "abc"}, "Rate: 'abc' is no number"),
        ({"rate": "nan"}, "Rate: nan: allowed is"),
        ({"latency TPOT p95": "-5"}, "TPOT p95: -5: allowed is 2.5 to 1,000 ms"),
        ({"carbon": "1e9"}, "Carbon price"),
        ({"price h100_sxm": "0"}, "h100_sxm: 0: allowed"),
        ({"rate": "9" * 500}, "Rate"),
    ],
)
def test_what_cannot_be_meant_is_marked_beside_its_field(
    replanner: WhatIfPlanner, query: dict[str, str], fault: str
) -> None:
    form = WhatIfForm.of(replanner.base, {"sent": "1", **query}, list(replanner.base.usd_per_device_h))
    assert len(form.faults) == 1 and form.faults[0].startswith(fault)


def test_devices_that_there_are_not_and_none_at_all_are_faults(replanner: WhatIfPlanner) -> None:
    assert WhatIfForm.of(replanner.base, {"sent": "1"}, []).faults == ["accelerators: tick at least one"]
    assert "not among" in WhatIfForm.of(replanner.base, {"sent": "1"}, ["tpu"]).faults[0]
    untouched = WhatIfForm.of(replanner.base, {}, [])
    assert not untouched.faults and untouched.question == WhatIfQuestion()


def test_a_process_plans_and_answers_and_gives_way_to_the_next_question(workload: Path) -> None:
    async def run() -> tuple[list[object], list[object], str]:
        worker = WhatIfWorker(workload)
        worker.start()
        while worker.base is None:
            assert not worker.refusal, worker.refusal
            await asyncio.sleep(0.05)
        assert isinstance(worker.base, BaseMessage)
        given_up = worker.ask(WhatIfQuestion(rate_per_s=40.0), deep=True)
        first = [await anext(given_up)]
        second = [message async for message in worker.ask(WhatIfQuestion(), deep=False)]
        first += [message async for message in given_up]
        await worker.stop()
        gone = [message async for message in worker.ask(WhatIfQuestion(), deep=False)]
        return first, second, str(gone)

    first, second, gone = asyncio.run(run())
    assert not any(isinstance(message, WhatIfAnswer) for message in first)
    assert [type(message) for message in second] == [WhatIfAnswer] and "ended" in gone


def test_a_workload_that_cannot_be_planned_is_refused_with_the_reason(tmp_path: Path) -> None:
    bad = tmp_path / "bad.toml"
    bad.write_text("name = 'x'\n")
    mine, theirs = Pipe()
    answer_questions(theirs, str(bad))
    number, message = mine.recv()
    assert number == FIRST and isinstance(message, RefusalMessage) and "models" in message.text
    with pytest.raises(FactError, match="models"):
        DashboardFiles(workload=bad).checked()


def test_files_are_known_by_what_they_are(tmp_path: Path) -> None:
    files = DashboardFiles.named(["a.json", "b.sqlite", "c.toml"], "127.0.0.1", 0)
    assert (str(files.plan), files.books, str(files.workload), files.name) == (
        "a.json",
        "b.sqlite",
        "c.toml",
        "a · b · c",
    )
    assert DashboardFiles.named(["postgresql://host/books"], "127.0.0.1", 0).books
    for wrong, why in ((["x.txt"], "neither"), (["a.json", "b.json"], "already"), ([], "name a plan")):
        with pytest.raises(InputError, match=why):
            DashboardFiles.named(wrong, "127.0.0.1", 0)
    with pytest.raises(InputError, match="there are no books"):
        DashboardFiles.named([str(tmp_path / "none.sqlite")], "127.0.0.1", 0).checked()
    with pytest.raises(InputError, match="a key is needed"):
        DashboardFiles.named(["a.json"], "0.0.0.0", 0).checked()


def test_a_gateway_has_its_dashboard_at_the_root_with_live_queues(tmp_path: Path, workload: Path) -> None:
    document = {"services": {"echo": {"backend": "echo"}}, "books": str(tmp_path / "books.sqlite"), "port": 0}
    chat = {"model": "echo", "messages": [{"role": "user", "content": "two words"}]}

    async def look() -> list[str]:
        async with running(document, gateway_pages(workload)) as house, aiohttp.ClientSession(house.url) as browser:
            async with browser.post("/v1/chat/completions", json=chat) as answered:
                assert answered.status == 200
            found = []
            for path in ("/", "/dashboard/panel/latency"):
                async with browser.get(path) as answer:
                    found.append(await answer.text())
            return found

    page, queues = asyncio.run(look())
    assert 'id="spend"' in page and 'id="what-if"' in page
    assert "0 in flight" in queues and "0 wait in the queue" in queues


def test_a_plan_of_another_workload_is_said_to_be_one(workload: Path) -> None:
    assert "is not the workload" in _apart(CHAT, workload) and _apart(None, workload) == ""


def test_a_gateway_loads_its_dashboard_when_somebody_looks(tmp_path: Path) -> None:
    """Neither the planner nor what draws is in the memory of a gateway until then."""
    code = "import sys, comptroller.dashboard.late, comptroller.gateway.server; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"numba", "scipy", "matplotlib", "highspy", "comptroller.planning.planner"} & set(told)

    async def work() -> None:
        document = config(tmp_path, "http://127.0.0.1:9/v1", "fine")
        async with running(document, LateDashboard) as house, aiohttp.ClientSession(house.url) as browser:
            async with browser.get("/") as page:
                assert page.status == 200 and "fine" in await page.text()
            async with browser.get("/dashboard/panel/spend") as panel:
                assert panel.status == 200
            for path in ("/dashboard/nothing", "/dashboard/panel/nothing"):
                async with browser.get(path) as nothing:
                    assert nothing.status == 404
            async with browser.post("/dashboard/panel/spend") as wrong:
                assert wrong.status == 405
            async with browser.get("/health") as health:
                assert health.status == 200

    asyncio.run(work())

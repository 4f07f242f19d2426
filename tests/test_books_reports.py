"""Reports, reconciliation, rerating, metered hardware, alerts and exports, through the library and the command line."""

from __future__ import annotations

import csv
import json
import os
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kendalltau

from books_databases import postgres, where  # noqa: F401
from comptroller.books.alerts import send
from comptroller.books.budgets import SpendBudget
from comptroller.books.export import FOCUS, focus, spans
from comptroller.books.inefficiency import NAMES
from comptroller.books.insight import ListPricedModel, list_priced_models, patterns, reversals
from comptroller.books.invoices import read_invoice
from comptroller.books.ledger import CallLedger, CallQuote, ReservationPosting, SettlementPosting
from comptroller.books.meter_posting import IDLE, MeterReadingBill, post
from comptroller.books.query import LedgerScope, rows, totals
from comptroller.books.reconcile import change, decompose, reconcile
from comptroller.books.rerate import rerate
from comptroller.books.verify import verify
from comptroller.costs.attribution import MeteredWindows
from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import PUSD, CallReceipt, TokenUsage, pusd, rate
from comptroller.costs.usage import parse_usage
from comptroller.errors import InputError, RecordError
from comptroller.facts.grid import GridCarbonIntensity
from comptroller.facts.prices import PriceBook, ProviderPrice
from comptroller.work.call import Call

DATA = Path(os.environ.get("COMPTROLLER_DATA", Path(__file__).parents[2] / "shared" / "data"))
NOW_US = 1_790_000_000_000_000  # 2026-09-21, 14:13 UTC
NOW = datetime.fromtimestamp(NOW_US / 1e6, UTC)


class Clock:
    def __init__(self) -> None:
        self.now_us = NOW_US

    def __call__(self) -> int:
        return self.now_us


def book(ledger: CallLedger, usage: TokenUsage, price: ProviderPrice | None, **about: object) -> Call:
    """One settled call of a usage."""
    energy = CallEnergy(1.0, 2.0, 2.5, 4.0, 0.5, 1e9, "predicted")
    about = {
        "request": ledger.new_id(),
        "service": "openai/gpt-5",
        "key": "shop",
        "project": "web",
        "finish": "stop",
    } | about
    call = Call(call=ledger.new_id(), **usage.call_tokens(), **about)
    receipt = rate(usage, price, energy) if price else CallReceipt(0, energy=energy, extra=usage.extra)
    outcomes = ledger.apply(
        [ReservationPosting(call, CallQuote(receipt.pusd, receipt.pusd)), SettlementPosting(call, receipt)]
    )
    assert outcomes == [receipt.pusd, receipt.pusd]
    return call


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def ledger(where: str, clock: Clock) -> Iterator[CallLedger]:  # noqa: F811
    with CallLedger.open(where, clock) as books:
        yield books
        assert verify(books).faults == ()


@pytest.fixture
def gpt5() -> ProviderPrice:
    return PriceBook.read().price("openai/gpt-5", NOW)


def test_totals_add_up_and_requests_are_counted_once(ledger: CallLedger, gpt5: ProviderPrice) -> None:
    request = ledger.new_id()
    for number in range(3):
        book(
            ledger,
            TokenUsage(100, 50, reasoning=1200),
            gpt5,
            request=request,
            attempt=int(number == 2),
            strategy="best_of_n(n=2)",
        )
    book(ledger, TokenUsage(10, 5), None, request=request, service="own/llama", role="check", strategy="best_of_n(n=2)")
    book(ledger, TokenUsage(100, 50, cached=900), gpt5, key="desk", finish="length")
    whole = totals(ledger, [])[0]
    by_key = {item.group[0]: item for item in totals(ledger, ["key"])}
    by_model = {item.group[0]: item for item in totals(ledger, ["model"])}
    assert (whole.requests, by_key["shop"].requests, by_key["desk"].requests) == (2, 1, 1)
    assert {name: item.requests for name, item in by_model.items()} == {"openai/gpt-5": 2, "own/llama": 1}
    assert whole["calls"] == 5 and whole["retries"] == 1 and whole["over_1k"] == 3 and whole["predicted"] == 5
    assert sum(item["pusd"] for item in by_key.values()) == whole["pusd"] == sum(row["pusd"] for row in rows(ledger))
    assert whole["j"] == 15.0 and whole["cached_tokens"] == 900
    ledger.score(request, 0.25)
    ledger.score(request, 0.75)  # the last word counts
    (shop,) = totals(ledger, ["strategy", "key"], LedgerScope(only={"key": "shop"}))
    assert (shop.solved, shop.scored) == (0.75, 1)
    assert totals(ledger, ["day"], LedgerScope(until=date(2026, 9, 21))) == []
    with pytest.raises(InputError, match="cannot group by 'colour'; allowed: day, key"):
        totals(ledger, ["colour"])


def test_rerating_keeps_both_and_prices_what_had_no_price(
    ledger: CallLedger, gpt5: ProviderPrice, tmp_path: Path
) -> None:
    ledger.set_budget(SpendBudget("key", "shop", "total", 9 * PUSD))
    first = book(ledger, TokenUsage(1000, 100), gpt5)
    unknown = Call(call=ledger.new_id(), service="openai/gpt-5", key="shop", input_tokens=2000, output_tokens=0)
    ledger.reserve(unknown, CallQuote(PUSD))
    ledger.settle(unknown, CallReceipt.unknown("no price was known"))
    book(ledger, TokenUsage(10, 10), None, service="own/llama")
    assert totals(ledger, [])[0]["unpriced"] == 1
    own = tmp_path / "prices.toml"
    own.write_text(
        '[[prices]]\nprovider = "openai"\nmodel = "gpt-5"\nsince = 2026-09-01\nsource = "contract"\n'
        'input = "1.00"\noutput = "10.00"\n'
    )
    prices = PriceBook.read([own])
    planned = rerate(ledger, prices, dry=True)
    done = rerate(ledger, prices)
    assert (planned.changed, done.changed, done.read) == (2, 2, 3) and rerate(ledger, prices).changed == 0
    whole = totals(ledger, [])[0]
    assert whole["pusd"] == pusd("0.002") + pusd("0.002") and whole["unpriced"] == 0 and whole["calls"] == 3
    assert ledger.balances()[0].spent_pusd == pusd("0.004")
    with ledger.engine.connect() as connection:
        kept = connection.exec_driver_sql(f"SELECT pusd FROM entry WHERE id = {first.call}").scalar()
    assert kept == pusd("0.00225")


def test_a_meter_is_attributed_to_the_rows_and_idle_gets_its_own(ledger: CallLedger) -> None:
    start = NOW_US / 1e6
    for number in range(4):
        times = {
            "started_s": start + 10 * number,
            "first_s": start + 10 * number + 2,
            "last_s": start + 10 * number + 8,
        }
        finish = "cancelled" if number == 3 else "stop"
        book(ledger, TokenUsage(100, 50), None, service="own/llama", finish=finish, arrival_s=start, **times)
    edges = start + np.array([0.0, 20.0, 40.0, 60.0])
    joules = MeteredWindows(edges, np.array([9000.0, 8000.0, 3000.0]), np.array([3000.0, 3000.0, 3000.0]))
    dollars = MeteredWindows(edges, np.full(3, 1e12 / 3 + 0.3), np.zeros(3))
    bill = MeterReadingBill(joules, dollars, "nvml", GridCarbonIntensity("here", 1e-4, {}), pue=1.5)
    post(ledger, "own/llama", bill)
    found = list(rows(ledger))
    assert sum(row["pusd"] for row in found) == round(dollars.amount.sum())
    assert sum(row["j_prefill"] + row["j_decode"] for row in found) == pytest.approx(20_000 * 1.5, rel=1e-9)
    assert sum(row["gco2e"] for row in found) == pytest.approx(3.0, rel=1e-9)
    idle = [row for row in found if row["role"] == IDLE]
    assert len(idle) == 1 and idle[0]["j_decode"] == pytest.approx(9000 * 1.5) and idle[0]["pusd"] > 3 * 10**11
    assert {row["energy"] for row in found} == {"nvml"} and len(found) == 5
    ended = {row["finish"]: row["pusd"] for row in found if row["role"] != IDLE}
    assert ended["cancelled"] > 0  # waste keeps its own line
    with pytest.raises(InputError, match="no call of other"):
        post(ledger, "other", bill)


def test_focus_goes_out_and_comes_back_without_a_difference(
    ledger: CallLedger, gpt5: ProviderPrice, tmp_path: Path
) -> None:
    for key in ("shop", "desk", "shop"):
        book(ledger, TokenUsage(100, 333, cached=900, reasoning=77), gpt5, key=key)
    file = tmp_path / "focus.csv"
    with file.open("w", newline="") as out:
        assert focus(ledger, out) == 2
    with file.open() as read:
        lines = list(csv.DictReader(read))
    assert set(lines[0]) == set(FOCUS) and all(line["BillingCurrency"] == "USD" for line in lines)
    assert {line["ChargePeriodStart"] for line in lines} == {"2026-09-21T00:00:00Z"}
    found = reconcile(ledger, read_invoice(file))
    assert len(found) == 2 and all(item.invoice == item.meter == item.estimate for item in found)


def test_a_difference_to_the_invoice_is_explained_and_adds_up(
    ledger: CallLedger, gpt5: ProviderPrice, tmp_path: Path
) -> None:
    book(ledger, TokenUsage(1_000_000, 100_000, cached=500_000), gpt5)
    file = tmp_path / "invoice.csv"
    file.write_text(  # the provider saw 10 % more output, cached nothing, and asks 10 % more for output
        "day,model,kind,tokens,usd\n2026-09-21,openai/gpt-5,input,1500000,1.875\n"
        "2026-09-21,openai/gpt-5,output,110000,1.21\n2026-09-20,openai/gpt-5,output,5,0.00005\n"
    )
    other_day, item = reconcile(ledger, read_invoice(file))
    assert other_day.meter == 0 and other_day.invoice == other_day.rest == pusd("0.00005")
    assert (item.tokens, item.caching, item.price) == (pusd("0.1"), pusd("0.5625"), pusd("0.11"))
    assert item.invoice - item.meter == item.tokens + item.caching + item.price + item.rest and item.rest == 0


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("day,model\n2026-01-01,x\n", r"no column for usd \(usd or cost or BilledCost\)"),
        ("day,model,usd\n2026-01-01,x,ten\n2026-01-02,x,1\n", "1 bad row: row 2"),
        ("day,model,usd\nsoon,x,1\nlater,x,1\n", "2 bad rows: row 2: Invalid isoformat"),
        ("day,model,usd\n2026-01-01,x,inf\n", "inf dollars"),
    ],
)
def test_a_wrong_invoice_names_the_row(tmp_path: Path, content: str, named: str) -> None:
    file = tmp_path / "invoice.csv"
    file.write_text(content)
    with pytest.raises(RecordError, match=named):
        read_invoice(file)


GROUP = st.tuples(st.integers(1, 10**6), st.integers(1, 10**9), st.integers(0, 10**15))
SIDE = st.dictionaries(st.sampled_from("abcd"), GROUP)


@given(before=SIDE, after=SIDE)
def test_the_parts_of_a_change_add_up_exactly(
    before: dict[str, tuple[int, int, int]], after: dict[str, tuple[int, int, int]]
) -> None:
    found = decompose(before, after)
    assert found.volume + found.mix + found.efficiency + found.price == found.after - found.before
    same = decompose(before, before)
    assert (same.volume, same.mix, same.efficiency, same.price) == (0, 0, 0, 0)


def test_each_cause_of_a_change_is_found() -> None:
    base = {"a": (100, 10_000, 10**12), "b": (100, 20_000, 4 * 10**12)}
    double = {name: (2 * calls, 2 * tokens, 2 * money) for name, (calls, tokens, money) in base.items()}
    wordy = {name: (calls, 2 * tokens, 2 * money) for name, (calls, tokens, money) in base.items()}
    dear = {name: (calls, tokens, 2 * money) for name, (calls, tokens, money) in base.items()}
    moved = {"a": (50, 5_000, 10**12 // 2), "b": (150, 30_000, 6 * 10**12)}
    for after, cause in ((double, "volume"), (wordy, "efficiency"), (dear, "price"), (moved, "mix")):
        found = decompose(base, after)
        assert getattr(found, cause) == found.after - found.before != 0


def test_change_between_periods_of_the_books(ledger: CallLedger, clock: Clock, gpt5: ProviderPrice) -> None:
    book(ledger, TokenUsage(1000, 0), gpt5)
    clock.now_us += 86_400 * 10**6
    for _ in range(3):
        book(ledger, TokenUsage(1000, 0), gpt5)
    days = [LedgerScope(date(2026, 9, day), date(2026, 9, day + 1)) for day in (21, 22)]
    assert change(ledger, *days).volume == pusd("0.0025")


def test_price_reversal_of_measured_runs(tmp_path: Path) -> None:
    """AIME of lchen001/pricing-reversal through the books: costs as recorded, pairs as the paper counts them."""
    parquet = pytest.importorskip("pyarrow.parquet")
    file = DATA / "evidence" / "pricing_reversal.parquet"
    if not file.exists():
        pytest.skip(f"no {file}")
    services = {
        "MiniMax-M2.5": "minimax/MiniMax-M2.5",
        "gpt-5.2-high": "openai/gpt-5.2",
        "gpt-5-mini": "openai/gpt-5-mini",
    }
    services |= {name: f"google/{name}" for name in ("gemini-3-flash-preview", "gemini-3.1-pro-preview")}
    services |= {
        "claude-opus-4.6-thinking": "anthropic/claude-opus-4-6",
        "claude-haiku-4.5": "anthropic/claude-haiku-4-5",
    }
    services |= {"kimi-k2.5": "moonshotai/kimi-k2.5"}
    records = [r for r in parquet.read_table(file).to_pylist() if r["task"] == "aime"]
    prices, on = PriceBook.read(), datetime(2026, 2, 28, tzinfo=UTC)
    with CallLedger.open(str(tmp_path / "books.sqlite")) as ledger:
        postings = []
        for record in records:
            service = services[record["model"]]
            details = {
                "completion_tokens_details": {
                    "reasoning_tokens": min(record["thinking_tokens"], record["completion_tokens"])
                }
            }
            counts = {name: record[name] for name in ("prompt_tokens", "completion_tokens")}
            usage, price = parse_usage(counts | details), prices.price(service, on)
            receipt = rate(usage, price)
            assert receipt.pusd == pytest.approx(record["cost"] * PUSD, abs=1)
            call = Call(call=ledger.new_id(), request=ledger.new_id(), service=service, **usage.call_tokens())
            postings += [ReservationPosting(call, CallQuote(receipt.pusd)), SettlementPosting(call, receipt)]
        assert all(isinstance(outcome, int) for outcome in ledger.apply(postings))
        found = reversals(list_priced_models(ledger))
    assert (len(records), found.pairs) == (480, 28)
    assert len(found.reversed) == 5 and found.tau == pytest.approx(0.643, abs=1e-3)
    assert found.tau_visible == pytest.approx(0.857, abs=1e-3)


@given(st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), min_size=2, max_size=12))
def test_tau_is_scipys(pairs: list[tuple[int, int]]) -> None:
    models = [ListPricedModel(str(n), float(a), float(b), float(b)) for n, (a, b) in enumerate(pairs)]
    expected = kendalltau([a for a, _ in pairs], [b for _, b in pairs]).statistic
    assert reversals(models).tau == pytest.approx(expected, nan_ok=True)


def test_inefficient_trajectories_in_prefill_token_equivalents(ledger: CallLedger) -> None:
    request = ledger.new_id()
    first = book(ledger, TokenUsage(1000, 100), None, request=request)
    tool = book(ledger, TokenUsage(0, 0), None, request=request, parent=first.call, role="tool:search", wait_s=2.0)
    book(
        ledger, TokenUsage(6100, 50, cached=0), None, request=request, parent=tool.call
    )  # 1,100 again, 5,000 of answer
    other = book(ledger, TokenUsage(0, 0), None, request=request, parent=first.call, role="tool:python", wait_s=1.0)
    book(ledger, TokenUsage(200, 10, cached=1100), None, request=request, parent=other.call, finish="failed")
    book(ledger, TokenUsage(50, 5), None)
    found = patterns(ledger, gamma=0.0)
    tokens = {item.name: (item.requests, item.tokens) for item in found.found}
    known, several, blind, failed, again, answers = NAMES
    assert tokens[known] == tokens[blind] == (0, 0)
    assert (found.requests, found.tokens) == (2, 1000 + 6100 + 200 + 50)
    assert tokens[again] == (1, 1100) and tokens[answers] == (1, 5000 + 200)
    assert tokens[several] == (1, 7300) and tokens[failed] == (1, 200)
    assert patterns(ledger, gamma=0.001).tokens > found.tokens


class Hook(BaseHTTPRequestHandler):
    got: list[dict[str, object]]
    status = 200

    def do_POST(self) -> None:
        self.got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(type(self).status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def hook() -> Iterator[tuple[str, type[Hook]]]:
    handler = type("Hook", (Hook,), {"got": [], "status": 200})
    server = HTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/", handler
    server.shutdown()


def test_alerts_are_sent_once_each_and_again_if_not_taken(ledger: CallLedger, hook: tuple[str, type[Hook]]) -> None:

    url, handler = hook
    ledger.set_budget(SpendBudget("key", "shop", "day", 100))
    assert send(ledger, url) == []
    for amount, percent in ((49, None), (1, 50), (1, None), (29, 80), (20, 100)):
        call = Call(call=ledger.new_id(), key="shop")
        ledger.reserve(call, CallQuote(amount))
        ledger.settle(call, CallReceipt(amount))
        if percent == 80:
            handler.status = 500
            with pytest.raises(InputError, match="was not taken"):
                send(ledger, url)
            handler.status = 200
        assert [alert.percent for alert in send(ledger, url)] == ([percent] if percent else [])
    assert [body["percent"] for body in handler.got] == [50, 80, 80, 100]
    assert handler.got[-1]["budget"] == "key shop per day" and handler.got[-1]["period"] == "2026-09-21"
    with pytest.raises(InputError, match="begins with http"):
        send(ledger, "ftp://x")


def test_spans_are_otlp_with_the_genai_attributes(ledger: CallLedger, gpt5: ProviderPrice, tmp_path: Path) -> None:
    times = {"started_s": 1.79e9, "last_s": 1.79e9 + 2.5}
    call = book(ledger, TokenUsage(100, 50, cached=20, reasoning=5), gpt5, **times)
    book(ledger, TokenUsage(1, 1), None, parent=call.call, finish="failed")
    with (tmp_path / "spans.jsonl").open("w") as out:
        assert spans(ledger, out) == 2
    resource = json.loads((tmp_path / "spans.jsonl").read_text())["resourceSpans"][0]
    first, second = resource["scopeSpans"][0]["spans"]
    known = {item["key"]: next(iter(item["value"].values())) for item in first["attributes"]}
    assert known["gen_ai.provider.name"] == "openai" and known["gen_ai.request.model"] == "gpt-5"
    assert known["gen_ai.usage.input_tokens"] == "120" and known["gen_ai.usage.cache_read.input_tokens"] == "20"
    assert int(first["endTimeUnixNano"]) - int(first["startTimeUnixNano"]) == 2_500_000_000
    assert second["parentSpanId"] == first["spanId"] and len(first["traceId"]) == 32 and second["status"]["code"] == 2

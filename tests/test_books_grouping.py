"""Reports by time in any zone, by single tags, with totals, and in other currencies."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest

from books_databases import postgres, where  # noqa: F401
from comptroller.books.grouping import grouped_totals, zone_of
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.query import LedgerScope, rows
from comptroller.cli import main
from comptroller.costs.rating import CallReceipt
from comptroller.work.call import Call
from test_books_reports import Clock

HOUR_US = 3_600_000_000
MIDNIGHT_US = 1_789_948_800_000_000  # 2026-09-21 00:00 UTC
Capture = pytest.CaptureFixture[str]


def fill(ledger: CallLedger, clock: Clock) -> None:
    """A dollar at each of three times: 22 h on the 20th, 23 h on the 21st and noon on the 24th, UTC."""
    for hours, team in ((-2, "search"), (23, "ads"), (84, "search")):
        clock.now_us = MIDNIGHT_US + hours * HOUR_US
        call = Call(
            call=ledger.new_id(), request=ledger.new_id(), service="p/m", key="shop", finish="stop", input_tokens=3,
            output_tokens=2,
        )  # fmt: skip
        ledger.reserve(call, CallQuote(10**12, tags=f"env=prod;team={team}"))
        ledger.settle(call, CallReceipt(10**12))
        ledger.score(call.request, 1.0)


@pytest.fixture
def ledger(where: str) -> Iterator[CallLedger]:  # noqa: F811
    clock = Clock()
    with CallLedger.open(where, clock) as books:
        fill(books, clock)
        yield books


@pytest.mark.parametrize(
    ("by", "zone", "expected"),
    [
        ("day", "UTC", {"2026-09-20": 1, "2026-09-21": 1, "2026-09-24": 1}),
        ("day", "Asia/Tokyo", {"2026-09-21": 1, "2026-09-22": 1, "2026-09-24": 1}),
        ("day", "America/Los_Angeles", {"2026-09-20": 1, "2026-09-21": 1, "2026-09-24": 1}),
        ("hour", "Asia/Kathmandu", {f"2026-09-{hour}:00+0545": 1 for hour in ("21 03", "22 04", "24 17")}),
        ("week", "UTC", {"2026-W38": 1, "2026-W39": 2}),
        ("week", "Asia/Tokyo", {"2026-W39": 3}),
        ("month", "UTC", {"2026-09": 3}),
        ("tag:team", "UTC", {"search": 2, "ads": 1}),
        ("tag:cost_centre", "UTC", {"": 3}),
    ],
)  # fmt: skip
def test_groups_of_times_and_tags(ledger: CallLedger, by: str, zone: str, expected: dict[str, int]) -> None:
    found = grouped_totals(ledger, [by], zone=zone_of(zone))
    assert {item.group[0]: item.usd for item in found} == expected
    assert sum(item.requests for item in found) == sum(item.solved for item in found) == 3


def test_days_of_a_selection_are_those_of_the_zone(ledger: CallLedger) -> None:
    scope = LedgerScope(date(2026, 9, 21), date(2026, 9, 22), {"finish": "stop"})
    assert [item.usd for item in grouped_totals(ledger, [], scope)] == [1]
    assert [item["calls"] for item in grouped_totals(ledger, [], scope, zone_of("Asia/Tokyo"))] == [1]
    assert len(list(rows(ledger, scope))) == 1


def test_a_row_that_is_corrected_later_keeps_its_day(ledger: CallLedger) -> None:
    call = Call(call=ledger.new_id(), request=ledger.new_id(), service="p/m", key="shop", finish="stop")
    ledger.reserve(call, CallQuote(5))
    ledger.settle(call, CallReceipt(5))
    ledger.clock.now_us += 30 * 24 * HOUR_US  # type: ignore[attr-defined]
    ledger.correct(call, CallReceipt(4), "a credit")
    days = {item.group[0]: item["pusd"] for item in grouped_totals(ledger, ["day"], zone=zone_of("Asia/Tokyo"))}
    assert days["2026-09-24"] == 10**12 + 4 and len(days) == 3


def test_the_report_has_a_total_a_zone_and_a_currency(tmp_path: Path, capsys: Capture) -> None:
    file, table, page = (str(tmp_path / name) for name in ("books.sqlite", "t.csv", "p.html"))
    clock = Clock()
    with CallLedger.open(file, clock) as books:
        fill(books, clock)
    rates = tmp_path / "rates.csv"
    rates.write_text("day,currency,usd\n2026-09-18,EUR,1.25\n2026-09-22,EUR,2\n")

    def run(*words: str) -> tuple[int, str]:
        with pytest.raises(SystemExit) as ended:
            main(["books", "report", file, *words])
        told = capsys.readouterr()
        return ended.value.code or 0, told.out + told.err

    code, text = run("--by", "tag:team,day", "--zone", "Asia/Tokyo", "--table", table)
    totals = [line.split()[:5] for line in text.splitlines() if line.startswith("total")]
    assert code == 0 and ["total", "3", "3", "3", "1"] in totals
    with Path(table).open() as written:
        assert len(list(csv.DictReader(written))) == 3, "a table that is read further has no row of the total"
    euro = ("--currency", "EUR", "--rates", str(rates))
    code, text = run("--by", "day", "--json", *euro, "--html", page)
    assert code == 0 and [record["eur"] for record in json.loads(text[: text.index("wrote")])] == [0.8, 0.8, 0.5]
    drawn = Path(page).read_text()
    assert "2026-09-22" in drawn and "2.10 EUR" in drawn, "a day without spend has its place"
    assert "EUR has no rate for 2026-09-20" in run("--currency", "EUR")[1]
    code, text = run("--zone", "Mars")
    assert code == 2 and "no such time zone" in text
    code, text = run("--by", "tag:")
    assert code == 2 and "cannot group by 'tag:'" in text

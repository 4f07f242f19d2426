"""Old rows move away; sums, limits and the chain stay, and both sides fit."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import select

from books_databases import postgres, where  # noqa: F401
from comptroller.books import schema
from comptroller.books.archive import archive
from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.query import LedgerScope, rows, totals
from comptroller.books.verify import digest, verify
from comptroller.cli import main
from comptroller.costs.rating import PUSD, CallReceipt
from comptroller.errors import InputError
from comptroller.work.call import Call
from test_books_reports import Clock

DAY_US = 86_400_000_000
CUT = date(2026, 9, 23)


def spend(ledger: CallLedger, pusd: int, user: str = "") -> Call:
    call = Call(
        call=ledger.new_id(), request=ledger.new_id(), service="p/m", key="shop", finish="stop", input_tokens=3,
        output_tokens=2, question="who is it",
    )  # fmt: skip
    ledger.reserve(call, CallQuote(pusd, user=user, tags="team=search"))
    ledger.settle(call, CallReceipt(pusd))
    return call


@pytest.fixture
def ledger(where: str) -> Iterator[CallLedger]:  # noqa: F811
    """Four days, two writers, a limit; a call of the first day is corrected on the second, one on the last."""
    clock = Clock()
    with CallLedger.open(where, clock) as first:
        first.set_budget(SpendBudget("key", "shop", "month", PUSD))
        early, late = spend(first, 7, "ann"), spend(first, 9, "ann")
        clock.now_us += DAY_US
        first.correct(early, CallReceipt(5), "a credit")
        spend(first, 11)
    with CallLedger.open(where, clock) as second:
        spend(second, 13, "bob")
        clock.now_us += 2 * DAY_US
        second.correct(late, CallReceipt(8), "a credit")
        spend(second, 17)
        yield second


def spent(ledger: CallLedger, *by: str) -> dict[tuple[str, ...], float]:
    return {item.group: item["pusd"] for item in totals(ledger, by)}


def test_rows_move_and_sums_limits_and_chains_fit_on_both_sides(ledger: CallLedger, tmp_path: Path) -> None:
    before, recorded = spent(ledger, "day", "key"), digest(ledger)
    with ledger.engine.connect() as connection:
        hash_of = select(schema.entry.c.hash).where(schema.entry.c.segment == 1, schema.entry.c.number == 1)
        recorded["segments"].append({"id": 1, "rows": 2, "head": bytes(connection.execute(hash_of).scalar_one()).hex()})
    balance = ledger.balances()[0].spent_pusd
    assert balance == 5 + 8 + 11 + 13 + 17
    file = tmp_path / "old.sqlite"
    moved = archive(ledger, CUT, file)
    assert (moved.rows, moved.first, moved.last, moved.kept) == (5, date(2026, 9, 21), date(2026, 9, 22), 0)
    assert spent(ledger, "day", "key") == before and ledger.balances()[0].spent_pusd == balance
    assert verify(ledger).faults == ()
    assert [row["pusd"] for row in rows(ledger, LedgerScope(since=CUT))] == [17]
    with CallLedger.open(str(file), Clock()) as old:
        assert verify(old).faults == ()
        assert spent(old) == {(): 5 + 11 + 13}, "a row that is corrected here counts here"
        assert verify(ledger, recorded, archives=[old]).faults == ()
    assert "name it with --archive" in verify(ledger, recorded).faults[0]
    with pytest.raises(InputError, match=r"rows before 2026-09-23 are in archives, the last of them old.sqlite"):
        list(rows(ledger))


def test_writing_goes_on_and_the_next_archive_begins_where_the_first_ends(ledger: CallLedger, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("one.sqlite", "two.sqlite")]
    archive(ledger, date(2026, 9, 22), files[0])
    with CallLedger.open(str(ledger.engine.url.render_as_string(hide_password=False)), ledger.clock) as third:
        spend(third, 19)
        assert archive(third, CUT, files[1]).rows == 3
        spend(third, 23)
    spend(ledger, 29)
    with CallLedger.open(str(files[0])) as one, CallLedger.open(str(files[1])) as two:
        assert verify(ledger, archives=[one, two]).faults == ()
        with schema.writing(one.engine) as connection:
            connection.execute(schema.segment.update().values(head=b"x" * 32))
        assert any("begin" in fault for fault in verify(ledger, archives=[one, two]).faults)
    assert ledger.balances()[0].spent_pusd == 5 + 8 + 11 + 13 + 17 + 19 + 23 + 29


def test_rows_cut_off_without_an_archive_are_named(ledger: CallLedger, tmp_path: Path) -> None:
    archive(ledger, CUT, tmp_path / "old.sqlite")
    with schema.writing(ledger.engine) as connection:
        connection.exec_driver_sql("DELETE FROM entry WHERE number = (SELECT MIN(number) FROM entry)")
    assert any("is missing" in fault or "daily sums" in fault for fault in verify(ledger).faults)


def test_an_anonymised_archive_tells_calls_apart_and_nobody_who_made_them(ledger: CallLedger, tmp_path: Path) -> None:
    file = tmp_path / "old.sqlite"
    archive(ledger, CUT, file, anonymised=True)
    assert verify(ledger).faults == ()
    with CallLedger.open(str(file), Clock()) as old:
        assert verify(old).faults == () and spent(old) == {(): 5 + 11 + 13}
        assert len(spent(old, "user")) == 3, "ann, bob and nobody"
        assert "anonymised" in verify(ledger, archives=[old]).faults[0]
    written = file.read_bytes()
    assert not any(word in written for word in (b"shop", b"ann", b"bob", b"search", b"who is it"))
    with ledger.engine.connect() as connection:
        names = set(connection.scalars(select(schema.account.c.end_user)))
    assert names == {"", "ann"} and spent(ledger, "user")["ann",] == 8 + 5, "the correction that stays has its user"
    spend(ledger, 1, "bob")  # whose account this writer knew
    assert verify(ledger).faults == ()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--before", "2026-09-01"], "no rows before 2026-09-01"),
        (["--before", "2999-01-01"], "has not begun"),
        (["--before", "soon"], "'soon' is no day"),
    ],
)
def test_bad_input(tmp_path: Path, words: list[str], named: str, capsys: pytest.CaptureFixture[str]) -> None:
    file = str(tmp_path / "books.sqlite")
    with CallLedger.open(file, Clock()) as books:
        spend(books, 1)
    with pytest.raises(SystemExit) as ended:
        main(["books", "archive", file, *words])
    assert ended.value.code == 2 and named in capsys.readouterr().err


def test_the_command_moves_verifies_and_exports_without_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, old, out = (str(tmp_path / name) for name in ("books.sqlite", "old.sqlite", "out"))
    with CallLedger.open(file, Clock()) as books:
        spend(books, 7)

    def run(*words: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["books", *words])
        told = capsys.readouterr()
        assert not ended.value.code, told.err
        return told.out

    for kind in ("focus", "otel"):
        run("export", file, "--out", out, "--as", kind, "--anonymised")
        assert "shop" not in Path(out).read_text()
    assert len(json.loads(Path(out).read_text())["resourceSpans"]) == 1
    assert "1 rows of 2026-09-21 to 2026-09-21 would move" in run("archive", file, "--before", "2026-09-22")
    assert "moved to" in run("archive", file, "--before", "2026-09-22", "--out", old)
    assert "0 rows fit" in run("verify", file, "--archive", old)
    run("export", old, "--out", out)
    assert [row["x_Key"] for row in csv.DictReader(Path(out).read_text().splitlines())] == ["shop"]

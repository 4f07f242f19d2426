"""Tampering is named, bad databases are refused with the fix, a full disk stops spending."""

from __future__ import annotations

import json
import os
import re
import resource
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import URL, create_engine, text

from books_databases import fresh, postgres, where  # noqa: F401
from comptroller.books import schema
from comptroller.books.budgets import SpendBudget
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.books.verify import check_signature, digest, sign, verify
from comptroller.costs.rating import PUSD, CallReceipt
from comptroller.errors import InputError, LedgerError
from test_books_ledger import balance, done, made, rows


def booked(books: CallLedger, count: int) -> None:
    for _ in range(count):
        call = made(books)
        books.reserve(call, CallQuote(10))
        books.settle(done(call), CallReceipt(7))


@pytest.fixture
def two_segments(where: str) -> CallLedger:  # noqa: F811
    with CallLedger.open(where) as first:
        first.set_budget(SpendBudget("all", "", "total", PUSD))
        booked(first, 5)
    with CallLedger.open(where) as second:
        booked(second, 5)
        yield second


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE entry SET pusd = 6 WHERE segment = 1 AND number = 2", r"segment 1, row 2 \(call \d+\): was changed"),
        ("UPDATE entry SET hash = (SELECT hash FROM entry WHERE segment = 1 AND number = 0) "
         "WHERE segment = 1 AND number = 3", r"segment 1, row 3 .* was changed"),
        ("DELETE FROM entry WHERE segment = 1 AND number = 2", r"segment 1, row 3 .* row 2 is missing"),
        ("DELETE FROM entry WHERE segment = 2 AND number = 4", "segment 2: ends after row 3, but 5 rows"),
        ("DELETE FROM entry WHERE segment = 1 AND number > 2", "segment 1: ends after row 2"),
        ("DELETE FROM segment WHERE id = 1", "segment 2: the 5 rows of segment 1 that it follows are gone"),
        ("UPDATE account SET project = 'other'", r"account \d+: was changed"),
        ("UPDATE daily SET pusd = pusd - 1", r"daily sums of .*69.* the rows sum to .*70"),
        ("UPDATE balance SET spent_pusd = 0", "budget 1 : spent is 0, the rows sum to 70"),
        ("UPDATE balance SET held_pusd = 5", "budget 1 : held is 5, the open calls sum to 0"),
    ],
)  # fmt: skip
def test_verify_names_the_first_row_that_does_not_fit(two_segments: CallLedger, damage: str, named: str) -> None:
    assert verify(two_segments).faults == () and verify(two_segments).rows == 10
    with schema.writing(two_segments.engine) as connection:
        connection.execute(text(damage))
    found = "\n".join(verify(two_segments).faults)
    assert re.search(named, found), found


def test_a_signed_digest_shows_rows_that_were_cut_off_with_care(two_segments: CallLedger) -> None:
    key = Ed25519PrivateKey.generate()
    raw, pem = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    private = key.private_bytes(raw, pem, serialization.NoEncryption())
    public = key.public_key().public_bytes(raw, serialization.PublicFormat.SubjectPublicKeyInfo)
    signed = json.loads(json.dumps(sign(digest(two_segments), private)))
    check_signature(signed, public)
    with pytest.raises(InputError, match="not what was signed"):
        check_signature(signed | {"at_us": 0}, public)
    with pytest.raises(InputError, match="cannot be read"):
        sign({}, b"no key")
    booked(two_segments, 1)
    assert verify(two_segments, signed).faults == ()
    fourth = rows_of(two_segments, 2)[3]
    with schema.writing(two_segments.engine) as connection:  # an insider who also mends what we keep beside the rows
        connection.execute(schema.entry.delete().where(schema.entry.c.segment == 2, schema.entry.c.number > 3))
        connection.execute(schema.segment.update().where(schema.segment.c.id == 2).values(rows=4, head=fourth["hash"]))
        connection.execute(schema.balance.update().values(spent_pusd=63))
        sums = {"calls": 9, "pusd": 63, "charged_pusd": 63, "input_tokens": 900, "output_tokens": 180}
        connection.execute(schema.daily.update().values(sums))
    assert verify(two_segments).faults == ()
    assert verify(two_segments, signed).faults == ("segment 2: its first 5 rows are not those of the digest",)


def rows_of(books: CallLedger, segment: int) -> list[dict[str, object]]:
    return [row for row in rows(books) if row["segment"] == segment]


def test_a_newer_schema_is_refused(where: str) -> None:  # noqa: F811
    with CallLedger.open(where) as books, schema.writing(books.engine) as connection:
        connection.execute(schema.migration.insert().values(name="0099_water", at_us=1))
    with pytest.raises(LedgerError, match=r"newer Comptroller \(migration 0099_water\): pip install -U"):
        CallLedger.open(where)


def test_what_is_no_ledger_is_refused_with_the_fix(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("not a database " * 100)
    with pytest.raises(LedgerError, match="not an SQLite file: name another"):
        CallLedger.open(str(tmp_path / "text.sqlite"))
    sqlite3.connect(tmp_path / "other.sqlite").execute("CREATE TABLE x (y)")
    with pytest.raises(LedgerError, match="but not books"):
        CallLedger.open(str(tmp_path / "other.sqlite"))
    with pytest.raises(InputError, match="no folder"):
        CallLedger.open(str(tmp_path / "missing" / "books.sqlite"))
    with pytest.raises(InputError, match="only sqlite and postgresql"):
        CallLedger.open("mysql://host/books")
    with pytest.raises(InputError, match="lost with the process"):
        CallLedger.open("sqlite://")
    with pytest.raises(LedgerError, match="does not answer"):
        CallLedger.open(f"postgresql://nobody@/books?host={tmp_path}")


def test_a_damaged_file_is_named_by_verify_or_refused(tmp_path: Path) -> None:
    file = tmp_path / "books.sqlite"
    with CallLedger.open(str(file)) as books:
        booked(books, 300)
    with sqlite3.connect(file) as plain:
        plain.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    plain.close()
    data = bytearray(file.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 6000] = os.urandom(6000)
    file.write_bytes(data)
    try:
        with CallLedger.open(str(file)) as damaged:
            assert verify(damaged).faults
    except LedgerError as refusal:
        assert "damaged: restore a copy" in str(refusal)


def test_a_full_disk_stops_spending_and_nothing_is_half_written(tmp_path: Path) -> None:
    with CallLedger.open(str(tmp_path / "books.sqlite")) as books:
        books.set_budget(SpendBudget("all", "", "total", PUSD))
        call = made(books)
        books.reserve(call, CallQuote(10))
        full = "PRAGMA max_page_count = 1"  # SQLite takes the file's present size instead
        with books.engine.connect() as connection:
            connection.exec_driver_sql(full)
        with pytest.raises(LedgerError, match="disk is full: make room; nothing is spent"):
            for _ in range(500):
                another = made(books)
                books.reserve(another, CallQuote(10))
                books.settle(done(another), CallReceipt(7))
        with books.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert verify(books).faults == ()
        books.settle(done(call), CallReceipt(7))  # the hold is still there
        booked(books, 3)
        assert balance(books)[0] == 7 * len(rows(books)) and verify(books).faults == ()


SMALL = """
import sys
import threading
from test_books_ledger import made, done
from comptroller.books.ledger import CallLedger, CallQuote
from comptroller.costs.rating import CallReceipt
from comptroller.errors import LedgerError
books = CallLedger.open(sys.argv[1])
try:
    for number in range(100000):
        call = made(books)
        books.reserve(call, CallQuote(10))
        books.settle(done(call), CallReceipt(7))
except LedgerError as refusal:
    print(number, refusal)
"""


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path) -> None:
    """The kernel refuses the write, as it does where no block is left."""
    file = tmp_path / "books.sqlite"

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))

    command = [sys.executable, "-c", "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)" + SMALL, str(file)]
    run = subprocess.run(
        command, preexec_fn=limit, capture_output=True, text=True, cwd=Path(__file__).parent, check=True
    )
    number, refusal = run.stdout.split(" ", 1)
    assert "the disk" in refusal and "nothing is spent" in refusal
    with CallLedger.open(str(file)) as books:
        assert verify(books).faults == () and len(rows(books)) + books.recover() in {int(number), int(number) + 1}


def test_a_connection_that_is_cut_loses_nothing(postgres: URL) -> None:  # noqa: F811
    with CallLedger.open(fresh(postgres)) as books:
        booked(books, 2)
        call = made(books)
        books.reserve(call, CallQuote(10))
        admin = create_engine(postgres)
        with admin.begin() as connection:
            others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid != pg_backend_pid()"
            connection.execute(text(others))
        admin.dispose()
        with CallLedger.open(str(postgres.render_as_string(False))) as another:  # it finds the first one's lock free
            assert another.recover() == 1
        assert books.settle(done(call), CallReceipt(7)) == 7  # which was alive after all: a correction
        booked(books, 2)
        assert verify(books).faults == () and [row["kind"] for row in rows(books)].count("correction") == 1


def test_a_writer_that_waits_too_long_says_who_holds_it_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "BUSY_S", 0.2)
    file = str(tmp_path / "books.sqlite")
    with CallLedger.open(file) as books:
        booked(books, 1)
        other = sqlite3.connect(file, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="another process has written for too long"):
            booked(books, 1)
        other.execute("ROLLBACK")
        booked(books, 1)
        assert len(rows(books)) == 2 and verify(books).faults == ()


def test_what_serving_imports_is_light() -> None:
    code = "import sys, comptroller.books.writer, comptroller.books.keys, comptroller.facts.prices; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"numba", "scipy", "pyarrow", "matplotlib", "genai_prices"} & set(run.stdout.split())


def test_books_that_are_written_meanwhile_fit(where: str) -> None:  # noqa: F811
    with CallLedger.open(where) as writer, CallLedger.open(where) as reader:
        writer.set_budget(SpendBudget("all", "", "total", PUSD))
        thread = threading.Thread(target=booked, args=(writer, 150))
        thread.start()
        seen = []
        while thread.is_alive():
            found = verify(reader)
            assert found.faults == ()
            seen.append(found.rows)
        thread.join()
        assert verify(reader).rows == 150 and seen == sorted(seen)

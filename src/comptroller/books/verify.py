"""Verification of the books: hash chains of rows and segments, ids of accounts and prices, balances, daily sums."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select

from comptroller.books import schema
from comptroller.books.budgets import Place, split_places
from comptroller.books.chain import START, account_number, link
from comptroller.books.ledger import CallLedger
from comptroller.books.query import exact_sum, in_force, whole
from comptroller.errors import InputError

Progress = Callable[[int, int], None]
CHUNK = 2000
"""Rows fetched at a time, and between reports of progress.

It bounds memory. From 200 to 20,000 rows the time to verify 20,000 rows varies within the noise (measured).
"""
SHOWN = 3
"""Most faults listed of one kind that a single damage can cause many of: enough to see the pattern."""


@dataclass(frozen=True, slots=True)
class LedgerVerification:
    """Number of rows read, and the faults: the first of each chain, all others, at most three of daily sums."""

    rows: int
    faults: tuple[str, ...]


def verify(
    ledger: CallLedger,
    digest: Mapping[str, Any] | None = None,
    progress: Progress = lambda *_: None,
    archives: Sequence[CallLedger] = (),
) -> LedgerVerification:
    """Reads every row, recomputes every hash and compares every stored sum.

    digest: an earlier result of `digest`, whose rows must be unchanged.  progress: called with rows read and in all.
    archives: where rows went; they must fit, and these books begin where they end.

    Raises:
        LedgerError: the database cannot be read.
    """
    faults: list[str] = []
    rows, earlier = 0, dict[tuple[int, int], bytes]()
    for moved in archives:
        faults += _archive_faults(moved, ledger, digest, earlier)
    with schema.refusals("verify"), _at_one_moment(ledger) as connection:
        faults += _file_faults(connection)
        total = connection.scalar(select(func.count()).select_from(schema.entry)) or 0
        heads: dict[tuple[int, int], bytes] = {(0, 0): START} | earlier
        in_digest = {(item["id"], item["rows"]): item["head"] for item in (digest or {}).get("segments", ())}
        wanted = {(s.after, s.after_rows) for s in connection.execute(select(schema.segment))} | in_digest.keys()
        for segment in connection.execute(select(schema.segment).order_by(schema.segment.c.id)).all():
            walk = _SegmentWalk(segment, heads.get((segment.after, segment.after_rows)), wanted)
            faults += walk.faults(connection, partial(_report_progress, progress, rows, total))
            heads |= walk.heads
            rows += walk.number - segment.archived
        moved_to = {row.id: row.archived for row in connection.execute(select(schema.segment))}
        away = {place for place in in_digest if place not in heads and place[1] < moved_to.get(place[0], 0)}
        faults += [
            f"segment {s}: its first {n} rows are in an archive: name it with --archive" for s, n in sorted(away)
        ]
        changed = [
            place for place, head in in_digest.items() if place not in away and heads.get(place, b"").hex() != head
        ]
        faults += [f"segment {s}: its first {n} rows are not those of the digest" for s, n in sorted(changed)]
        listed = {segment for segment, _ in heads}
        unlisted = connection.scalars(
            select(schema.entry.c.segment).where(schema.entry.c.segment.not_in(listed)).distinct()
        )
        faults += [f"segment {number}: it has rows but is not listed" for number in unlisted]
        faults += [*_account_faults(connection), *_price_faults(connection), *_balance_faults(connection)]
        faults += _daily_faults(connection)
    return LedgerVerification(rows, tuple(faults))


def _at_one_moment(ledger: CallLedger) -> Connection:
    """A connection with a consistent snapshot of the books while others write; on SQLite every transaction has one."""
    connection = ledger.engine.connect()
    if connection.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _report_progress(progress: Progress, before: int, total: int, read: int) -> None:
    progress(before + read, total)


def _archive_faults(
    moved: CallLedger, ledger: CallLedger, digest: Mapping[str, Any] | None, heads: dict[tuple[int, int], bytes]
) -> Iterator[str]:
    """What does not fit in an archive, or at the place where these books go on. heads: gets the hashes of its ends, and
    at the places of a digest."""
    name = str(moved.engine.url.database)
    yield from (f"{name}: {fault}" for fault in verify(moved).faults)
    wanted = {(item["id"], item["rows"]) for item in (digest or {}).get("segments", ())}
    with moved.engine.connect() as there, ledger.engine.connect() as here:
        if there.scalar(select(func.max(schema.archive.c.anonymised))):
            yield f"{name}: it is anonymised, and has a chain of its own: verify it by itself"
            return
        begins = {(row.id, row.archived): row.archived_head for row in here.execute(select(schema.segment))}
        for row in there.execute(select(schema.segment)).all():
            start, end = (row.id, row.archived), (row.id, row.rows)
            if start in heads and heads[start] != bytes(row.archived_head):
                yield f"{name}: its segment {row.id} does not begin where the archive before it ends"
            if begins.get(end) is not None and bytes(begins[end]) != bytes(row.head):
                yield f"{name}: its segment {row.id} does not end where these books go on"
            heads[end] = bytes(row.head)
        for segment, number in wanted:
            place = (schema.entry.c.segment == segment, schema.entry.c.number == number - 1)
            if (head := there.execute(select(schema.entry.c.hash).where(*place)).scalar()) is not None:
                heads[segment, number] = bytes(head)


class _SegmentWalk:
    """Walk over the rows of a segment. head: hash so far.  number: rows so far.  heads: hashes at wanted places."""

    def __init__(self, segment: Row[Any], head: bytes | None, wanted: set[tuple[int, int]]) -> None:
        self.segment, self.head, self.number, self._wanted = segment, head, segment.archived, wanted
        self.heads: dict[tuple[int, int], bytes] = {}
        self._parted = False
        if segment.archived_head is not None:
            begun = bytes(segment.archived_head)
            self._parted = head is not None and not segment.archived and head != begun
            self.head = begun

    def faults(self, connection: Connection, progress: Callable[[int], None]) -> Iterator[str]:
        name = f"segment {self.segment.id}"
        if self.head is None:
            yield f"{name}: the {self.segment.after_rows} rows of segment {self.segment.after} that it follows are gone"
            return
        if self._parted:
            yield f"{name}: it does not begin where segment {self.segment.after} was"
            return
        self._keep_head()
        table = schema.entry
        query = select(table).where(table.c.segment == self.segment.id).order_by(table.c.number)
        for row in connection.execution_options(yield_per=CHUNK).execute(query).mappings():
            self.head = link(self.head, dict(row)) if row["number"] == self.number else b""
            if self.head != bytes(row["hash"]):
                why = "was changed" if self.head else f"follows, row {self.number} is missing"
                yield f"{name}, row {row['number']} (call {row['id']}): {why}"
                return
            self.number += 1
            self._keep_head()
            if self.number % CHUNK == 0:
                progress(self.number)
        if self.number != self.segment.rows or self.head != bytes(self.segment.head):
            yield f"{name}: ends after row {self.number - 1}, but {self.segment.rows} rows were written"

    def _keep_head(self) -> None:
        """Keeps the hash at this place if a later segment or a digest begins here."""
        place = (self.segment.id, self.number)
        if place in self._wanted and self.head is not None:
            self.heads[place] = self.head
        elif self.number == self.segment.archived:
            self.heads[place] = self.head or START


def _file_faults(connection: Connection) -> list[str]:
    if connection.dialect.name != "sqlite":
        return []
    messages = connection.exec_driver_sql(f"PRAGMA quick_check({SHOWN})").scalars().all()
    return [f"file: {text}" for text in messages if text != "ok"]


def _account_faults(connection: Connection) -> list[str]:
    rows = connection.execute(select(schema.account)).all()
    return [f"account {row.id}: was changed" for row in rows if account_number(tuple(row[1:])) != row.id]


def _price_faults(connection: Connection) -> list[str]:
    rows = connection.execute(select(schema.price)).all()
    changed = [row.id for row in rows if hashlib.sha256(row.document.encode()).hexdigest()[:16] != row.id]
    return [f"price {name}: was changed" for name in changed]


def _balance_faults(connection: Connection) -> list[str]:
    """Balances that differ from the sums of the rows in force and of the open holds."""
    spent = charged_sums(connection, in_force())
    held = _sums(connection, schema.hold.c.worst_pusd, schema.hold.c.worst_pusd.isnot(None))
    return [
        f"budget {row.budget} {row.span}: {name} is {stored}, the {what} sum to {sums[row.budget, row.span]}"
        for row in connection.execute(select(schema.balance))
        for name, stored, what, sums in (
            ("spent", row.spent_pusd - row.before_pusd, "rows", spent),
            ("held", row.held_pusd, "open calls", held),
        )
        if stored != sums[row.budget, row.span]
    ]


_COMPARED = schema.ARCHIVED_SUMS[1:]
"""Columns whose daily sums are compared beside the number of calls: money, and the tokens it depends on."""


def _daily_faults(connection: Connection) -> list[str]:
    """Daily sums, which reports read, that differ from the sums of the rows in force."""
    daily, entry = schema.daily, schema.entry
    stored = _by_day(connection, daily, func.sum(daily.c.calls), daily.c.calls > 0)
    summed = _by_day(connection, entry, func.count(), in_force())
    for place, moved in _by_day(connection, schema.archived, func.sum(schema.archived.c.calls)).items():
        both = tuple(map(sum, zip(moved, summed.get(place, (0,) * len(moved)), strict=True)))
        summed[place] = both
    summed = {place: sums for place, sums in summed.items() if sums[0]}
    wrong = [place for place in sorted(stored.keys() | summed.keys()) if stored.get(place) != summed.get(place)]
    return [
        f"daily sums of {place}: {stored.get(place)}, the rows sum to {summed.get(place)}" for place in wrong[:SHOWN]
    ]


def _by_day(connection: Connection, table: Table, calls: Any, *where: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """(day, account, finish) -> number of calls and sums of the columns in `_COMPARED`."""
    place = [table.c[name] for name in ("day", "account", "finish")]
    sums = [part for name in _COMPARED for part in exact_sum(table.c[name])]
    query = select(*place, calls, *sums).where(*where).group_by(*place)
    rows = (tuple(row) for row in connection.execute(query))
    return {row[:3]: (int(row[3]), *map(whole, row[4::2], row[5::2])) for row in rows}


def charged_sums(connection: Connection, where: Any) -> Counter[Place]:
    """What rows were charged, by budget and period."""
    return _sums(connection, schema.entry.c.charged_pusd, where)


def _sums(connection: Connection, column: Any, where: Any) -> Counter[Place]:
    """Sum of a column by budget and period, over the rows of a condition."""
    table = column.table
    query = select(table.c.budgets, *exact_sum(column)).where(where, table.c.budgets != "").group_by(table.c.budgets)
    sums: Counter[Place] = Counter()
    for budgets, high, low in connection.execute(query):
        for place in split_places(budgets):
            sums[place] += whole(high, low)
    return sums


def digest(ledger: CallLedger) -> dict[str, Any]:
    """Number of rows and hash of every segment. Kept outside the books, it shows later changes or truncation."""
    query = select(schema.segment).order_by(schema.segment.c.id)
    with schema.refusals("digest"), ledger.engine.connect() as connection:
        rows = connection.execute(query).all()
    segments = [{"id": row.id, "rows": row.rows, "head": bytes(row.head).hex()} for row in rows]
    return {"comptroller_books": 1, "at_us": ledger.clock(), "segments": segments}


def sign(document: Mapping[str, Any], private_pem: bytes, name: str = "") -> dict[str, Any]:
    """The digest with an Ed25519 signature over its canonical JSON. name: of the key's file, for messages.

    Raises:
        InputError: the key is no Ed25519 private key in PEM, or cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_private_key(private_pem, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"{name and name + ': '}the signing key cannot be read: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError(f"{name and name + ': '}the signing key is not Ed25519: openssl genpkey -algorithm ed25519")
    return {**document, "signature": key.sign(_canonical(document)).hex()}


def check_signature(document: Mapping[str, Any], public_pem: bytes, names: str = "") -> None:
    """Checks the Ed25519 signature of a digest against a public key. names: of their files, for messages.

    Raises:
        InputError: the signature does not match the digest, the digest cannot be read, the key is no Ed25519
            public key in PEM, or cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        key = serialization.load_pem_public_key(public_pem)
        signature = bytes.fromhex(document.get("signature", ""))
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise InputError(f"{names and names + ': '}the public key is not Ed25519")
        key.verify(signature, _canonical({name: document[name] for name in document if name != "signature"}))
    except InvalidSignature as error:
        raise InputError("the digest is not what was signed with this key") from error
    except ValueError as error:
        raise InputError(f"{names and names + ': '}the digest or the key cannot be read: {error}") from error


def _canonical(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":")).encode()


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise InputError("signatures need cryptography: pip install 'comptroller[sign]'") from error
    return serialization, ed25519

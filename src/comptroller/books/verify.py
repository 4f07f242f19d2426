"""Does everything fit: rows to their chain, segments to each other, accounts and prices to ids, budgets to rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import Connection, Row, Table, func, select

from comptroller.books import schema
from comptroller.books.budgets import Place, split_places
from comptroller.books.chain import START, link, number_of
from comptroller.books.ledger import CallLedger
from comptroller.books.query import exact_sum, in_force, whole
from comptroller.errors import InputError

Progress = Callable[[int, int], None]
CHUNK = 2000


@dataclass(frozen=True, slots=True)
class LedgerVerification:
    """How many rows were read, and what does not fit: the first of each chain, and everything beside."""

    rows: int
    faults: tuple[str, ...]


def verify(
    ledger: CallLedger, digest: Mapping[str, Any] | None = None, progress: Progress = lambda *_: None
) -> LedgerVerification:
    """Read every row and compute every hash again.

    digest: of an earlier `digest`; its rows must still be there as they were.
    """
    faults: list[str] = []
    rows = 0
    with schema.refusals("verify"), _at_one_moment(ledger) as connection:
        faults += _file_faults(connection)
        total = connection.scalar(select(func.count()).select_from(schema.entry)) or 0
        heads: dict[tuple[int, int], bytes] = {(0, 0): START}
        promised = {(item["id"], item["rows"]): item["head"] for item in (digest or {}).get("segments", ())}
        wanted = {(s.after, s.after_rows) for s in connection.execute(select(schema.segment))} | promised.keys()
        for segment in connection.execute(select(schema.segment).order_by(schema.segment.c.id)).all():
            walk = _Walk(segment, heads.get((segment.after, segment.after_rows)), wanted)
            faults += walk.faults(connection, partial(_report_progress, progress, rows, total))
            heads |= walk.heads
            rows += walk.number
        gone = [place for place, head in promised.items() if heads.get(place, b"").hex() != head]
        faults += [f"segment {s}: its first {n} rows are not those of the digest" for s, n in sorted(gone)]
        known = {segment for segment, _ in heads}
        loose = connection.scalars(
            select(schema.entry.c.segment).where(schema.entry.c.segment.not_in(known)).distinct()
        )
        faults += [f"segment {number}: it has rows but is not listed" for number in loose]
        faults += [*_account_faults(connection), *_price_faults(connection), *_balance_faults(connection)]
        faults += _daily_faults(connection)
    return LedgerVerification(rows, tuple(faults))


def _at_one_moment(ledger: CallLedger) -> Connection:
    """A connection that sees the books as they were when it began, whoever writes meanwhile; SQLite's always does."""
    connection = ledger.engine.connect()
    if connection.dialect.name == "postgresql":
        return connection.execution_options(isolation_level="REPEATABLE READ")
    return connection


def _report_progress(progress: Progress, before: int, total: int, read: int) -> None:
    progress(before + read, total)


class _Walk:
    """One segment, row by row."""

    def __init__(self, segment: Row[Any], head: bytes | None, wanted: set[tuple[int, int]]) -> None:
        self.segment, self.head, self.number, self._wanted = segment, head, 0, wanted
        self.heads: dict[tuple[int, int], bytes] = {}

    def faults(self, connection: Connection, progress: Callable[[int], None]) -> Iterator[str]:
        name = f"segment {self.segment.id}"
        if self.head is None:
            yield f"{name}: the {self.segment.after_rows} rows of segment {self.segment.after} that it follows are gone"
            return
        self._keep()
        table = schema.entry
        query = select(table).where(table.c.segment == self.segment.id).order_by(table.c.number)
        for row in connection.execution_options(yield_per=CHUNK).execute(query).mappings():
            self.head = link(self.head, dict(row)) if row["number"] == self.number else b""
            if self.head != bytes(row["hash"]):
                why = "was changed" if self.head else f"follows, row {self.number} is missing"
                yield f"{name}, row {row['number']} (call {row['id']}): {why}"
                return
            self.number += 1
            self._keep()
            if self.number % CHUNK == 0:
                progress(self.number)
        if self.number != self.segment.rows or self.head != bytes(self.segment.head):
            yield f"{name}: ends after row {self.number - 1}, but {self.segment.rows} rows were written"

    def _keep(self) -> None:
        place = (self.segment.id, self.number)
        if place in self._wanted and self.head is not None:
            self.heads[place] = self.head
        elif self.number == 0:
            self.heads[place] = self.head or START


def _file_faults(connection: Connection) -> list[str]:
    if connection.dialect.name != "sqlite":
        return []
    found = connection.exec_driver_sql("PRAGMA quick_check(3)").scalars().all()
    return [f"file: {text}" for text in found if text != "ok"]


def _account_faults(connection: Connection) -> list[str]:
    rows = connection.execute(select(schema.account)).all()
    return [f"account {row.id}: was changed" for row in rows if number_of(*row[1:]) != row.id]


def _price_faults(connection: Connection) -> list[str]:
    rows = connection.execute(select(schema.price)).all()
    found = [row.id for row in rows if hashlib.sha256(row.document.encode()).hexdigest()[:16] != row.id]
    return [f"price {name}: was changed" for name in found]


def _balance_faults(connection: Connection) -> list[str]:
    """Balances that are not the sum of the rows in force and of the open holds."""
    spent = _sums(connection, schema.entry.c.charged_pusd, in_force())
    held = _sums(connection, schema.hold.c.worst_pusd, schema.hold.c.worst_pusd.isnot(None))
    return [
        f"budget {row.budget} {row.span}: {name} is {found}, the {what} sum to {sums[row.budget, row.span]}"
        for row in connection.execute(select(schema.balance))
        for name, found, what, sums in (
            ("spent", row.spent_pusd, "rows", spent),
            ("held", row.held_pusd, "open calls", held),
        )
        if found != sums[row.budget, row.span]
    ]


_TOLD = ("pusd", "charged_pusd", "input_tokens", "output_tokens")


def _daily_faults(connection: Connection) -> list[str]:
    """Daily sums, which reports read, that are not those of the rows in force."""
    daily, entry = schema.daily, schema.entry
    kept = _by_day(connection, daily, func.sum(daily.c.calls), daily.c.calls > 0)
    found = _by_day(connection, entry, func.count(), in_force())
    wrong = [place for place in sorted(kept.keys() | found.keys()) if kept.get(place) != found.get(place)]
    return [f"daily sums of {place}: {kept.get(place)}, the rows sum to {found.get(place)}" for place in wrong[:3]]


def _by_day(connection: Connection, table: Table, calls: Any, where: Any) -> dict[tuple[Any, ...], tuple[int, ...]]:
    """Calls and some sums by day, account and finish."""
    place = [table.c[name] for name in ("day", "account", "finish")]
    sums = [part for name in _TOLD for part in exact_sum(table.c[name])]
    query = select(*place, calls, *sums).where(where).group_by(*place)
    read = (tuple(row) for row in connection.execute(query))
    return {row[:3]: (int(row[3]), *map(whole, row[4::2], row[5::2])) for row in read}


def _sums(connection: Connection, column: Any, where: Any) -> Counter[Place]:
    table = column.table
    query = select(table.c.budgets, *exact_sum(column)).where(where, table.c.budgets != "").group_by(table.c.budgets)
    found: Counter[Place] = Counter()
    for budgets, high, low in connection.execute(query):
        for place in split_places(budgets):
            found[place] += whole(high, low)
    return found


def digest(ledger: CallLedger) -> dict[str, Any]:
    """Where every segment stands: kept elsewhere, it shows later whether rows were changed or cut off."""
    query = select(schema.segment).order_by(schema.segment.c.id)
    with schema.refusals("digest"), ledger.engine.connect() as connection:
        rows = connection.execute(query).all()
    segments = [{"id": row.id, "rows": row.rows, "head": bytes(row.head).hex()} for row in rows]
    return {"comptroller_books": 1, "at_us": ledger.clock(), "segments": segments}


def sign(found: Mapping[str, Any], private_pem: bytes) -> dict[str, Any]:
    """The digest with an Ed25519 signature over its canonical JSON.

    Raises:
        InputError: the key is no Ed25519 private key in PEM, or cryptography is not installed.
    """
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_private_key(private_pem, None)
    except (ValueError, TypeError) as error:
        raise InputError(f"the signing key cannot be read: {error}") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError("the signing key is not Ed25519: openssl genpkey -algorithm ed25519")
    return {**found, "signature": key.sign(_canonical(found)).hex()}


def check_signature(found: Mapping[str, Any], public_pem: bytes) -> None:
    """Whether a digest was signed with the private half of a key.

    Raises:
        InputError: it was not, or was changed since; or the key is no Ed25519 public key in PEM.
    """
    serialization, ed25519 = _cryptography()
    from cryptography.exceptions import InvalidSignature

    try:
        key = serialization.load_pem_public_key(public_pem)
        signature = bytes.fromhex(found.get("signature", ""))
        if not isinstance(key, ed25519.Ed25519PublicKey):
            raise InputError("the public key is not Ed25519")
        key.verify(signature, _canonical({name: found[name] for name in found if name != "signature"}))
    except InvalidSignature as error:
        raise InputError("the digest is not what was signed with this key") from error
    except ValueError as error:
        raise InputError(f"the digest or the key cannot be read: {error}") from error


def _canonical(found: Mapping[str, Any]) -> bytes:
    return json.dumps(found, sort_keys=True, separators=(",", ":")).encode()


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise InputError("signatures need cryptography: pip install 'comptroller[sign]'") from error
    return serialization, ed25519

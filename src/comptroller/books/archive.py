"""Retention: old rows move into a file of books of their own, and daily sums, limits and the chain of hashes stay.

The rows of a segment leave from its beginning on, so that what stays is the chain's end and the archive its beginning;
each begins with the hash at which the other ends. Corrections leave with or after what they correct.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, case, delete, false, func, or_, select

from comptroller.books import schema
from comptroller.books.chain import START, account_number
from comptroller.books.daily import DAY_US, DailySumChanges
from comptroller.books.ledger import CallLedger
from comptroller.books.limits import tell_writers
from comptroller.books.locks import exclude_writers
from comptroller.books.pseudonyms import PseudonymBook
from comptroller.books.query import DAY_0, FETCHED, in_force
from comptroller.books.schema import ARCHIVED_SUMS, archived, entry, segment
from comptroller.books.service_names import put_names, service_names
from comptroller.books.statements import PreparedSql
from comptroller.books.verify import charged_sums, verify
from comptroller.errors import InputError, LedgerError

Ends = Mapping[int, int]
"""Segment -> number of its first row that stays."""


@dataclass(frozen=True, slots=True)
class LedgerArchive:
    """Rows that moved (or would), the first and the last day of them, and those that stay for the sake of others."""

    rows: int
    first: date
    last: date
    kept: int


def archive(ledger: CallLedger, before: date, to: Path, anonymised: bool = False) -> LedgerArchive:
    """Moves the rows before a day (UTC) into new books. They are written, verified, and only then removed.

    anonymised: names of keys, projects, users and tags become pseudonyms there, texts and questions are left out, the
    chain begins anew; here, sums by user lose the user.

    Raises:
        InputError: there are no such rows, the day is not over, or the file exists.
        LedgerError: the books cannot be read or written.
    """
    if to.exists():
        raise InputError(f"{to}: it exists; an archive is a file of its own")
    found, ends = archivable(ledger, before)
    _name_services(ledger)
    with CallLedger.open(str(to), ledger.clock) as target:
        _ArchiveWriter(ledger, target, PseudonymBook() if anonymised else None).copy(ends)
        _record(target, before, found.rows, "", anonymised)
        if faults := verify(target).faults:
            raise LedgerError(f"{to}: it does not fit, and nothing was removed: {faults[0]}")
        for day in range((found.first - DAY_0).days, (before - DAY_0).days):
            _remove(ledger, day + 1)
        _leave_out_corrected(ledger, target)
    if anonymised:
        _forget_users(ledger, before)
    _record(ledger, before, found.rows, to.name, anonymised)
    return found


def archivable(ledger: CallLedger, before: date) -> tuple[LedgerArchive, Ends]:
    """What would move, and where each segment would begin then.

    Raises:
        InputError: there are no rows before the day, or it is not over.
    """
    day = (before - DAY_0).days
    if day > ledger.clock() // DAY_US:
        raise InputError(f"--before {before}: that day has not begun; rows of days that are over can be moved")
    with schema.refusals("archive"), ledger.engine.connect() as connection:
        ends = _ends(connection, day)
        inside = _inside(ends)
        query = select(func.count(), func.min(entry.c.day), func.max(entry.c.day)).where(inside)
        rows, first, last = connection.execute(query).one()
        older = connection.scalar(select(func.count()).where(entry.c.at_us < day * DAY_US).where(~inside))
    if not rows:
        raise InputError(f"no rows before {before} that could be moved")
    days = (DAY_0 + timedelta(first), DAY_0 + timedelta(last))
    return LedgerArchive(rows, *days, int(older or 0)), ends


def _ends(connection: Connection, day: int) -> Ends:
    """Where each segment is cut: at its first row that was written on the day or later, or that corrects one that
    stays."""
    first = func.min(case((entry.c.at_us >= day * DAY_US, entry.c.number)))
    query = select(entry.c.segment, first, func.max(entry.c.number) + 1).group_by(entry.c.segment)
    ends = {number: (stays if stays is not None else after) for number, stays, after in connection.execute(query)}
    target = entry.alias()
    pairs = select(entry.c.segment, entry.c.number, target.c.segment, target.c.number)
    pairs = pairs.join(target, target.c.id == entry.c.corrects)
    corrections = connection.execute(pairs).all()
    changed = True
    while changed:
        changed = False
        for number, at, of, place in corrections:
            if at < ends[number] and place >= ends[of]:
                ends[number], changed = at, True
    return ends


def _inside(ends: Ends) -> ColumnElement[bool]:
    places = [and_(entry.c.segment == number, entry.c.number < end) for number, end in ends.items() if end]
    return or_(false(), *places)


def _start_heads(connection: Connection) -> dict[int, bytes]:
    """Segment -> the hash that its first row which is here follows."""
    starts: dict[int, bytes] = {0: START}
    archived_to = {0: 0}
    for row in connection.execute(select(segment).order_by(segment.c.id)).all():
        archived_to[row.id] = row.archived
        if row.archived_head is not None:
            starts[row.id] = bytes(row.archived_head)
        elif row.after_rows == archived_to[row.after]:
            starts[row.id] = starts[row.after]
        else:
            place = (entry.c.segment == row.after, entry.c.number == row.after_rows - 1)
            starts[row.id] = bytes(connection.execute(select(entry.c.hash).where(*place)).scalar_one())
    return starts


class _ArchiveWriter:
    """Copies rows with all that they name into new books."""

    def __init__(self, ledger: CallLedger, target: CallLedger, pseudonyms: PseudonymBook | None) -> None:
        self._ledger, self._target, self._pseudonyms = ledger, target, pseudonyms
        self._accounts: dict[int, dict[str, Any]] = {}

    def copy(self, ends: Ends) -> None:
        """Everything that the rows before `ends` need."""
        with (
            schema.refusals("archive"),
            self._ledger.engine.connect() as source,
            schema.writing(self._target.engine) as to,
        ):
            self._copy_names(source, to)
            starts = _start_heads(source)
            for row in source.execute(select(segment).order_by(segment.c.id)).mappings().all():
                if ends.get(row["id"], 0) > row["archived"]:
                    self._copy_segment((source, to), dict(row), starts[row["id"]], ends[row["id"]])
            requests = select(entry.c.request).where(_inside(ends)).distinct()
            _put(to, schema.score, source.execute(select(schema.score).where(schema.score.c.request.in_(requests))))
            sums = DailySumChanges()
            for row in to.execute(select(entry).where(in_force())).mappings():
                sums.add(dict(row), 1)
            sums.write(PreparedSql(to))

    def _copy_names(self, source: Connection, to: Connection) -> None:
        """Prices, services and accounts, whether or not a row names them: there are few."""
        _put(to, schema.price, source.execute(select(schema.price)))
        billed = {} if self._pseudonyms is None else {"account": ""}
        services = [dict(row) | billed for row in source.execute(select(schema.service)).mappings()]
        accounts = [dict(row) for row in source.execute(select(schema.account)).mappings()]
        self._accounts = {row["id"]: self._pseudonyms.account(row) if self._pseudonyms else row for row in accounts}
        for table, rows in ((schema.service, services), (schema.account, self._accounts.values())):
            if by_id := {row["id"]: row for row in rows}:
                to.execute(table.insert(), list(by_id.values()))

    def _copy_segment(self, sides: tuple[Connection, Connection], row: dict[str, Any], start: bytes, end: int) -> None:
        """The rows of one segment up to a number, with the hashes that they have, or new ones under pseudonyms."""
        source, to = sides
        if self._pseudonyms is not None:
            row, start = row | {"after": 0, "after_rows": 0}, START
        head = start
        query = select(entry).where(entry.c.segment == row["id"], entry.c.number < end).order_by(entry.c.number)
        found = source.execute(query, execution_options={"yield_per": FETCHED}).mappings()
        for chunk in found.partitions(FETCHED):
            rows = [dict(item) for item in chunk]
            if self._pseudonyms is not None:
                rows = self._pseudonyms.relinked(rows, self._accounts, head)
            head = bytes(rows[-1]["hash"])
            to.execute(entry.insert(), rows)
        to.execute(segment.insert(), [row | {"head": head, "rows": end, "archived_head": start}])


def _put(to: Connection, table: Any, found: Any) -> None:
    if rows := [dict(row) for row in found.mappings()]:
        to.execute(table.insert(), rows)


def _remove(ledger: CallLedger, day: int) -> None:
    """Removes the rows before a day, in one transaction: what is not removed yet is whole at every moment."""
    with schema.refusals("archive"), schema.writing(ledger.engine) as connection:
        exclude_writers(connection)
        ends = _ends(connection, day)
        inside = _inside(ends)
        heads = _start_heads(connection)
        for number, head in heads.items():
            connection.execute(
                segment.update().where(segment.c.id == number, segment.c.archived_head.is_(None)).values(
                    archived_head=head
                )
            )  # fmt: skip
        _keep_sums(connection, inside)
        for place, pusd in charged_sums(connection, and_(inside, in_force())).items():
            table = schema.balance
            spent = table.update().where(table.c.budget == place[0], table.c.span == place[1])
            connection.execute(spent.values(before_pusd=table.c.before_pusd + pusd))
        for number, end in ends.items():
            last = select(entry.c.hash).where(entry.c.segment == number, entry.c.number == end - 1)
            if (cut := connection.execute(last).scalar()) is not None:
                values = {"archived": end, "archived_head": bytes(cut)}
                connection.execute(segment.update().where(segment.c.id == number).values(values))
        connection.execute(delete(entry).where(inside))


def _keep_sums(connection: Connection, inside: ColumnElement[bool]) -> None:
    """What `verify` needs of rows that go: their sums by day, account and finish."""
    place = [entry.c[name] for name in ("day", "account", "finish")]
    sums = [func.count().label("calls"), *(func.sum(entry.c[name]).label(name) for name in ARCHIVED_SUMS[1:])]
    query = select(*place, *sums).where(inside, in_force()).group_by(*place)
    _add_sums(connection, [dict(row) for row in connection.execute(query).mappings()], 1)


def _add_sums(connection: Connection, rows: Sequence[Mapping[str, Any]], sign: int) -> None:
    made = [
        {name: row[name] for name in ("day", "account", "finish")}
        | {name: sign * int(row[name] or 0) for name in ARCHIVED_SUMS}
        for row in rows
    ]
    add = ", ".join(f"{name} = archived.{name} + excluded.{name}" for name in ARCHIVED_SUMS)
    PreparedSql(connection).insert(archived, made, f"ON CONFLICT (day, account, finish) DO UPDATE SET {add}")


def _leave_out_corrected(ledger: CallLedger, target: CallLedger) -> None:
    """Takes rows out of the archive's sums that are corrected by rows which stayed: those count here."""
    here = select(entry.c.id)
    query = select(entry.c.corrects).where(entry.c.corrects.isnot(None), entry.c.corrects.not_in(here))
    with schema.refusals("archive"), ledger.engine.connect() as connection:
        corrected = list(connection.scalars(query))
    sums = DailySumChanges()
    with schema.refusals("archive"), schema.writing(target.engine) as to:
        sql = PreparedSql(to)
        rows = sql.records(entry, "WHERE id AMONG ?", sql.listed(corrected))
        for row in rows:
            sums.add(row, -1)
        sums.write(sql)
        _add_sums(to, [row | {"calls": 1} for row in rows], -1)


def _name_services(ledger: CallLedger) -> None:
    """Keeps the names of services that follow from the prices of rows, which may go."""
    with schema.refusals("archive"), ledger.engine.connect() as connection:
        told = set(connection.scalars(select(schema.service.c.id)))
    for name, names in service_names(ledger).items():
        if name not in told:
            put_names(ledger, names)


def _forget_users(ledger: CallLedger, before: date) -> None:
    """Sums of the days before lose the user, and so do accounts that no row has any more."""
    day, users = (before - DAY_0).days, schema.account.c.end_user != ""
    with schema.refusals("archive"), schema.writing(ledger.engine) as connection:
        exclude_writers(connection)
        sql = PreparedSql(connection)
        for row in connection.execute(select(schema.account).where(users)).mappings().all():
            nobody = dict(row) | {"end_user": ""}
            nobody["id"] = account_number(tuple(nobody[name] for name in schema.ACCOUNT))
            sql.insert(schema.account, [nobody], "ON CONFLICT DO NOTHING")
            for table in (schema.daily, archived):
                _move_sums(sql, table, (row["id"], nobody["id"]), day)
        used = [select(table.c.account) for table in (entry, schema.hold, schema.daily)]
        gone = delete(schema.account).where(users, *(schema.account.c.id.not_in(query) for query in used))
        connection.execute(gone)
        tell_writers(connection)


def _move_sums(sql: PreparedSql, table: Table, accounts: tuple[int, int], day: int) -> None:
    """Adds the sums of one account before a day to those of another, but of days of which it has rows that stay."""
    where = f"WHERE account = ? AND day < ? AND day NOT IN (SELECT day FROM entry WHERE account = {table.name}.account)"
    rows = sql.records(table, where, accounts[0], day)
    names = [column.name for column in table.c if column.name not in ("day", "account", "finish")]
    add = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names)
    made = [row | {"account": accounts[1]} for row in rows]
    sql.insert(table, made, f"ON CONFLICT (day, account, finish) DO UPDATE SET {add}")
    sql.run(f"DELETE FROM {table.name} {where}", accounts[0], day)


def _record(ledger: CallLedger, before: date, rows: int, file: str, anonymised: bool) -> None:
    """Notes an archive: `file` where the rows went, empty in the archive itself."""
    about = {"at_us": ledger.clock(), "day": (before - DAY_0).days, "rows": rows, "file": file}
    with schema.refusals("archive"), schema.writing(ledger.engine) as connection:
        connection.execute(schema.archive.insert().values(about | {"anonymised": int(anonymised)}))

"""Queries of the books: sums by group, rows in force, scores of requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from math import nan
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, func, select

from comptroller.books import schema
from comptroller.books.daily import NAMES
from comptroller.books.ledger import CallLedger
from comptroller.books.schema import FIRSTS, account, daily, entry, score
from comptroller.errors import InputError

DAY_0 = date(1970, 1, 1)
"""Day 0 of the column `day`."""
MEGA = 10**6
"""Divisor that splits picodollars for exact sums.

Sums of remainders fit in 63 bits up to 9.2e12 rows, sums of quotients up to 9.2e12 dollars. Twice the divisor halves
the rows and doubles the dollars.
"""
FETCHED = 2000
"""Rows fetched at a time. It bounds memory; `verify` takes the same time from 200 to 20,000 (measured)."""
GROUPS: Mapping[str, ColumnElement[Any]] = {
    "day": daily.c.day,
    "key": account.c.key,
    "project": account.c.project,
    "model": account.c.service,
    "strategy": account.c.strategy,
    "role": account.c.role,
    "plan": account.c.plan,
    "user": account.c.end_user,
    "tags": account.c.tags,
    "finish": daily.c.finish,
}
"""Name of a group -> its column."""
MONEY = ("pusd", "charged_pusd", "estimate_pusd", "retry_pusd")
"""Columns in picodollars, whose sums may exceed 64 bits."""


@dataclass(frozen=True, slots=True)
class LedgerScope:
    """A selection of rows. since: first day.  until: day after the last.  only: name in `GROUPS` -> required value."""

    since: date | None = None
    until: date | None = None
    only: Mapping[str, str] = field(default_factory=dict)

    def limits(self, day: ColumnElement[int]) -> list[ColumnElement[bool]]:
        """The selection as SQL conditions; day: the column of days to compare."""
        table = day.table
        columns = {name: table.c.finish if name == "finish" else column for name, column in GROUPS.items()}
        conditions = [columns[name] == value for name, value in self.only.items()]
        if self.since:
            conditions.append(day >= (self.since - DAY_0).days)
        if self.until:
            conditions.append(day < (self.until - DAY_0).days)
        return conditions


EVERYTHING = LedgerScope()
"""All rows."""


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Sums of the rows of one group. Money is exact; unknown values are left out and counted.

    group: values of the columns grouped by.  amounts: name in `daily.NAMES` -> sum.  requests: distinct requests.
    solved: sum of the scores of the requests, NaN where none has a score.  scored: requests with a score.
    """

    group: tuple[str, ...]
    amounts: Mapping[str, float]
    requests: int = 0
    solved: float = nan
    scored: int = 0

    def __getitem__(self, name: str) -> float:
        return self.amounts[name]

    @property
    def usd(self) -> float:
        """Dollars of the rows with known price."""
        return self.amounts["pusd"] / 1e12


def totals(ledger: CallLedger, by: Sequence[str], scope: LedgerScope = EVERYTHING) -> list[LedgerTotals]:
    """Sums by some of `GROUPS`, the dearest first; grouped by day first, in order of days.

    Raises:
        InputError: a name to group by is unknown.
        LedgerError: the database cannot be read.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder, CallLedger.open(f"{folder}/books.sqlite") as ledger:
    ...     totals(ledger, ["model"])
    []
    """
    unknown = sorted(set(by) - GROUPS.keys())
    if unknown:
        raise InputError(f"cannot group by {unknown[0]!r}; allowed: {', '.join(GROUPS)}")
    columns = [GROUPS[name] for name in by]
    summed = [column for name in NAMES for column in _sum_columns(name)]
    query = select(*columns, *summed).join_from(daily, account, daily.c.account == account.c.id)
    with schema.refusals("report"), ledger.engine.connect() as connection:
        rows = connection.execute(query.where(*scope.limits(daily.c.day)).group_by(*columns)).all()
        solved = {tuple(row[:-2]): row[-2:] for row in connection.execute(_score_query(by, scope))}
    groups = [_totals(by, tuple(row), solved) for row in rows if any(row[len(by) :])]
    return sorted(groups, key=lambda item: item.group if by[:1] == ["day"] else (-item["pusd"], item.group))


def _sum_columns(name: str) -> list[ColumnElement[Any]]:
    column = daily.c[name]
    return list(exact_sum(column)) if name in MONEY else [func.sum(column)]


def _totals(by: Sequence[str], row: tuple[Any, ...], solved: Mapping[tuple[Any, ...], Sequence[Any]]) -> LedgerTotals:
    values = iter(row[len(by) :])
    amounts = {n: whole(next(values), next(values)) if n in MONEY else next(values) or 0 for n in NAMES}
    group = row[: len(by)]
    score_sum, scored = solved.get(group, (nan, 0))
    score_sum = nan if score_sum is None else float(score_sum)
    return LedgerTotals(_group_labels(by, group), amounts, int(amounts[_request_count(by)]), score_sum, int(scored))


def _request_count(by: Sequence[str]) -> str:
    """Name of the count of distinct requests in a group: a request has several models and roles, but one key."""
    return FIRSTS[1] if "model" in by else FIRSTS[2] if "role" in by else FIRSTS[0]


def _score_query(by: Sequence[str], scope: LedgerScope) -> Select[Any]:
    """Sum and count of request scores by group."""
    bit = FIRSTS.index(_request_count(by))
    columns = [entry.c.day if n == "day" else entry.c.finish if n == "finish" else GROUPS[n] for n in by]
    return (
        select(*columns, func.sum(score.c.score), func.count())
        .join_from(score, entry, entry.c.request == score.c.request)
        .join(account, account.c.id == entry.c.account)
        .where(entry.c.firsts.op("&")(1 << bit) != 0, entry.c.kind != "correction")
        .where(*scope.limits(entry.c.day))
        .group_by(*columns)
    )


def _group_labels(by: Sequence[str], group: tuple[Any, ...]) -> tuple[str, ...]:
    return tuple(
        (DAY_0 + timedelta(days=value)).isoformat() if name == "day" else value
        for name, value in zip(by, group, strict=True)
    )


def rows(ledger: CallLedger, scope: LedgerScope = EVERYTHING, *also: ColumnElement[bool]) -> Iterator[dict[str, Any]]:
    """The rows in force with the names of their account, in the order of writing.

    also: further SQL conditions.
    """
    names = [account.c[name] for name in schema.ACCOUNT]
    query = (
        select(entry, *names)
        .join(account, account.c.id == entry.c.account)
        .where(in_force(), *scope.limits(entry.c.day), *also)
        .order_by(entry.c.segment, entry.c.number)
    )
    with schema.refusals("rows"), ledger.engine.connect() as connection:
        require_rows(connection, scope)
        for row in connection.execution_options(yield_per=FETCHED).execute(query).mappings():
            yield dict(row)


def require_rows(connection: Connection, scope: LedgerScope) -> None:
    """Refuses a selection whose rows are partly in an archive: they would be missing without a word.

    Raises:
        InputError: names the day from which rows are here, and the last archive.
    """
    last = connection.execute(
        select(schema.archive).where(schema.archive.c.file != "").order_by(schema.archive.c.day.desc()).limit(1)
    ).one_or_none()
    if last is not None and (scope.since is None or (scope.since - DAY_0).days < last.day):
        day = DAY_0 + timedelta(last.day)
        raise InputError(
            f"rows before {day} are in archives, the last of them {last.file}: --since {day}, or ask those"
        )


def in_force() -> ColumnElement[bool]:
    """The condition that no other row corrects a row."""
    corrected = select(entry.c.corrects).where(entry.c.corrects.isnot(None))
    return entry.c.id.not_in(corrected)


def exact_sum(column: Any) -> tuple[ColumnElement[Any], ColumnElement[Any]]:
    """Two SQL sums, of quotients and remainders by `MEGA`: a single 64-bit sum of picodollars could overflow."""
    return func.sum(column // MEGA), func.sum(column % MEGA)


def whole(high: int | None, low: int | None) -> int:
    """The sum from the two parts of `exact_sum`; no rows (None) give 0."""
    return int(high or 0) * MEGA + int(low or 0)

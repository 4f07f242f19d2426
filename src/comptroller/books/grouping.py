"""Sums of the books by hours, weeks and months, in any time zone, by single tags, and in other currencies.

Days of UTC are summed as rows are written (`daily`); of hours and other zones every row is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from decimal import Decimal
from math import isnan
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import select

from comptroller.books import schema
from comptroller.books.daily import DAY_US, NAMES, amounts
from comptroller.books.invoices import CurrencyRates
from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, GROUPS, MONEY, LedgerScope, LedgerTotals, rows, totals
from comptroller.errors import InputError

TIMES: Mapping[str, str] = {"hour": "%Y-%m-%d %H:00%z", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m"}
"""Group of a time -> how it is written; weeks as in ISO 8601, hours with their offset, for one hour comes twice."""
TAG = "tag:"
"""Beginning of a group by one tag, as `tag:team`."""
DAY = timedelta(1)


def zone_of(name: str) -> tzinfo:
    """A time zone by its IANA name.

    Raises:
        InputError: there is none of that name.

    >>> zone_of("UTC"), str(zone_of("Europe/Berlin"))
    (datetime.timezone.utc, 'Europe/Berlin')
    """
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(
            f"--zone {name}: no such time zone; write it as Europe/Berlin (a system without any: pip install tzdata)"
        ) from error


@dataclass(frozen=True, slots=True)
class ReportMoney:
    """The currency of a report, and its dated rates."""

    code: str = "USD"
    rates: CurrencyRates | None = None

    def converted(self, item: LedgerTotals, day: date) -> LedgerTotals:
        """Sums with their money in the currency, at the rate of a day or the last before it.

        Raises:
            InputError: there is no rate.
        """
        if self.code == "USD":
            return item
        try:
            usd = (self.rates or CurrencyRates()).usd(Decimal(1), self.code, day)
        except ValueError as error:
            raise InputError(str(error)) from error
        money = {name: round(Decimal(int(item[name])) / usd) for name in MONEY}
        return replace(item, amounts={**item.amounts, **money})


DOLLARS = ReportMoney()


def grouped_totals(
    ledger: CallLedger,
    by: Sequence[str],
    scope: LedgerScope = EVERYTHING,
    zone: tzinfo = UTC,
    money: ReportMoney = DOLLARS,
) -> list[LedgerTotals]:
    """Sums by groups of `GROUPS`, of `TIMES`, and by tags (`tag:team`), the dearest first; in order of time where that
    comes first. Days of the scope are the zone's.

    Raises:
        InputError: a name to group by is unknown, or there is no rate for a day.
        LedgerError: the database cannot be read.
    """
    for name in by:
        if name not in GROUPS and name not in TIMES and not (name.startswith(TAG) and name != TAG):
            allowed = f"{', '.join(GROUPS)}, hour, week, month, tag:NAME"
            raise InputError(f"cannot group by {name!r}; allowed: {allowed}")
    plain = ["tags" if name.startswith(TAG) else name for name in by if name not in TIMES]
    base = ["day", *dict.fromkeys(plain)]
    if zone is UTC and "hour" not in by:
        found = totals(ledger, base, scope)
        moments = (datetime.fromisoformat(item.group[0]).replace(tzinfo=UTC) for item in found)
        parts = list(zip(found, moments, strict=True))
    else:
        parts = list(_by_hour(ledger, base, scope, zone))
    label = _labels(base, by)
    summed: dict[tuple[str, ...], LedgerTotals] = {}
    for item, moment in parts:
        group = label(item.group, moment)
        told = replace(money.converted(item, moment.date()), group=group)
        summed[group] = _sum(summed[group], told) if group in summed else told
    ordered = by[:1] and by[0] in TIMES
    return sorted(summed.values(), key=lambda item: item.group if ordered else (-item["pusd"], item.group))


def _labels(base: Sequence[str], by: Sequence[str]) -> Callable[[tuple[str, ...], datetime], tuple[str, ...]]:
    """The group of a base group at a moment."""

    def label(group: tuple[str, ...], moment: datetime) -> tuple[str, ...]:
        named = dict(zip(base, group, strict=True))
        return tuple(
            moment.strftime(TIMES[name])
            if name in TIMES
            else tag_value(named["tags"], name.removeprefix(TAG))
            if name.startswith(TAG)
            else named[name]
            for name in by
        )

    return label


def tag_value(tags: str, name: str) -> str:
    """The value of a tag; empty where it is not there.

    >>> tag_value("env=prod;team=search", "team"), tag_value("env=prod", "team")
    ('search', '')
    """
    return dict(tag.partition("=")[::2] for tag in tags.split(";")).get(name, "")


def _sum(one: LedgerTotals, other: LedgerTotals) -> LedgerTotals:
    both = {name: one[name] + other[name] for name in NAMES}
    solved = other.solved if isnan(one.solved) else one.solved if isnan(other.solved) else one.solved + other.solved
    return LedgerTotals(one.group, both, one.requests + other.requests, solved, one.scored + other.scored)


def moment_of(row: Mapping[str, Any]) -> float:
    """When a row counts, in seconds since 1970: when it was written; a correction, at the day of what it corrects.

    >>> moment_of({"kind": "settled", "at_us": 86_400_000_001, "day": 1, "last_s": None})
    86400.000001
    >>> moment_of({"kind": "correction", "at_us": 10**13, "day": 1, "last_s": 86_500.5})
    86500.5
    """
    if row["at_us"] // DAY_US == row["day"]:
        return float(row["at_us"]) / 1e6
    day_s = DAY_US / 1e6
    last_s = row["last_s"]
    return float(last_s) if last_s is not None and last_s // day_s == row["day"] else (row["day"] + 0.5) * day_s


def _by_hour(
    ledger: CallLedger, base: Sequence[str], scope: LedgerScope, zone: tzinfo
) -> Iterable[tuple[LedgerTotals, datetime]]:
    """Sums of rows by the hour of a zone and by the other groups of `base`, with the hour's beginning."""
    wider = replace(
        scope, since=scope.since - DAY if scope.since else None, until=scope.until + DAY if scope.until else None
    )
    with schema.refusals("report"), ledger.engine.connect() as connection:
        scores = {row.request: row.score for row in connection.execute(select(schema.score))}
    bit = 1 if "model" in base else 2 if "role" in base else 0
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for row in rows(ledger, wider):
        local = datetime.fromtimestamp(moment_of(row), zone)
        if (scope.since and local.date() < scope.since) or (scope.until and local.date() >= scope.until):
            continue
        hour = local.replace(minute=0, second=0, microsecond=0)
        place = (hour, *(row[_COLUMNS.get(name, name)] for name in base[1:]))
        first = row["firsts"] >> bit & 1
        scored = first and row["request"] in scores
        values = (*amounts(row), first, scores[row["request"]] if scored else 0.0, int(bool(scored)))
        known = sums.get(place)
        sums[place] = list(values) if known is None else [a + b for a, b in zip(known, values, strict=True)]
    for (hour, *words), (*found, requests, solved, scored) in sums.items():
        made = dict(zip(NAMES, found, strict=True))
        group = (hour.date().isoformat(), *words)
        yield LedgerTotals(group, made, requests, solved if scored else float("nan"), scored), hour


_COLUMNS = {"model": "service", "user": "end_user"}
"""Group -> column of a row, where they differ."""

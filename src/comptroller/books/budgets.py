"""Budgets: limits on the spend of keys, projects, models, users, tags or all calls in a period, in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal, get_args

from comptroller.errors import InputError

Scope = Literal["key", "project", "model", "user", "tag", "all"]
Period = Literal["hour", "day", "week", "month", "total"]
MOST_PUSD = 9 * 10**18
"""The largest limit: 9 million dollars. Twice as many picodollars exceed a signed 64-bit integer (9.22e18)."""

_FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "total": ""}
"""Period -> format of its name; weeks and their years as in ISO 8601."""


@dataclass(frozen=True, slots=True)
class SpendBudget:
    """A limit on spend. name: of the key, project, service (scope `model`) or user, or NAME=VALUE of a tag; empty for
    scope `all`.  id: in the books, 0 before it is stored.

    Raises:
        InputError: the scope, period, name or limit is not allowed.
    """

    scope: Scope
    name: str
    period: Period
    limit_pusd: int
    id: int = 0

    def __post_init__(self) -> None:
        if self.scope not in get_args(Scope) or self.period not in get_args(Period):
            allowed = f"{', '.join(get_args(Scope))}; period: {', '.join(get_args(Period))}"
            raise InputError(f"budget of {self.scope} per {self.period}: allowed are scope: {allowed}")
        if bool(self.name) == (self.scope == "all"):
            raise InputError(f"budget of {self.scope} {self.name!r}: what is limited has a name, all has none")
        if not 0 <= self.limit_pusd <= MOST_PUSD:
            raise InputError(f"budget of {self}: the limit must be 0 to 9,000,000 dollars")

    def __str__(self) -> str:
        per = "in total" if self.period == "total" else f"per {self.period}"
        return f"{f'{self.scope} {self.name}'.strip()} {per}"

    def span(self, at_us: int) -> str:
        """Name of the period of a time; at_us: microseconds since 1970, UTC.

        >>> SpendBudget("all", "", "week", 0).span(1_798_761_600_000_000), SpendBudget("all", "", "total", 0).span(0)
        ('2026-W53', '')
        """
        return _span(self.period, at_us // 10**6)

    def start_us(self, at_us: int) -> int:
        """The beginning of the period of a time; both in microseconds since 1970, UTC.

        >>> SpendBudget("all", "", "month", 0).start_us(1_798_761_600_000_000) == 1_798_761_600_000_000
        True
        """
        if self.period == "total":
            return 0
        moment = datetime.fromtimestamp(at_us // 10**6, UTC).replace(minute=0, second=0, microsecond=0)
        if self.period != "hour":
            moment = moment.replace(hour=0)
        if self.period == "week":
            moment -= timedelta(days=moment.weekday())
        if self.period == "month":
            moment = moment.replace(day=1)
        return int(moment.timestamp()) * 10**6


@dataclass(slots=True)
class BudgetBalance:
    """Spend of a budget in one period, and the worst case of its open calls, in picodollars."""

    budget: SpendBudget
    span: str
    spent_pusd: int = 0
    held_pusd: int = 0

    @property
    def left_pusd(self) -> int:
        """The most that a further call may cost."""
        return self.budget.limit_pusd - self.spent_pusd - self.held_pusd


@lru_cache(maxsize=64)
def _span(period: Period, at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime(_FORMATS[period])


Place = tuple[int, str]
"""A budget's id and a period: the key of a balance."""


def join_places(places: list[Place]) -> str:
    """Places as one text, the form stored in rows.

    >>> join_places([(3, "2026-11"), (5, "")]), list(split_places("3@2026-11;5@"))
    ('3@2026-11;5@', [(3, '2026-11'), (5, '')])
    """
    return ";".join(f"{budget}@{span}" for budget, span in places)


def split_places(text: str) -> Iterator[Place]:
    """The places of a row's text."""
    for part in filter(None, text.split(";")):
        budget, _, span = part.partition("@")
        yield int(budget), span

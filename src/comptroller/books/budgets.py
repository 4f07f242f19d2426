"""Budgets: limits on what keys, projects or everything may spend in a period, in UTC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal, get_args

from comptroller.errors import InputError

Scope = Literal["key", "project", "all"]
Period = Literal["hour", "day", "week", "month", "total"]
MOST_PUSD = 9 * 10**18
"""The largest limit: what a 64-bit number of picodollars can hold."""

_FORMATS = {"hour": "%Y-%m-%dT%H", "day": "%Y-%m-%d", "week": "%G-W%V", "month": "%Y-%m", "total": ""}


@dataclass(frozen=True, slots=True)
class SpendBudget:
    """A limit. name: of the key or project; empty for scope `all`.

    Raises:
        InputError: scope, period, name or limit is none of those allowed.
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
            raise InputError(f"budget of {self.scope} {self.name!r}: a key or project has a name, all has none")
        if not 0 <= self.limit_pusd <= MOST_PUSD:
            raise InputError(f"budget of {self}: the limit must be 0 to 9,000,000 dollars")

    def __str__(self) -> str:
        per = "in total" if self.period == "total" else f"per {self.period}"
        return f"{f'{self.scope} {self.name}'.strip()} {per}"

    def span(self, at_us: int) -> str:
        """The period a moment belongs to; `at_us` is microseconds since 1970.

        >>> SpendBudget("all", "", "week", 0).span(1_798_761_600_000_000), SpendBudget("all", "", "total", 0).span(0)
        ('2026-W53', '')
        """
        return datetime.fromtimestamp(at_us // 10**6, UTC).strftime(_FORMATS[self.period])


@dataclass(slots=True)
class BudgetBalance:
    """What a budget has spent, and what open calls may still cost, in one period."""

    budget: SpendBudget
    span: str
    spent_pusd: int = 0
    held_pusd: int = 0

    @property
    def left_pusd(self) -> int:
        """What a further call may cost at most."""
        return self.budget.limit_pusd - self.spent_pusd - self.held_pusd


Place = tuple[int, str]
"""A budget's id and a period: the key of a balance."""


def join_places(places: list[Place]) -> str:
    """Places as one text, as rows keep them.

    >>> join_places([(3, "2026-11"), (5, "")]), list(split_places("3@2026-11;5@"))
    ('3@2026-11;5@', [(3, '2026-11'), (5, '')])
    """
    return ";".join(f"{budget}@{span}" for budget, span in places)


def split_places(text: str) -> Iterator[Place]:
    """The places of a row's text."""
    for part in filter(None, text.split(";")):
        budget, _, span = part.partition("@")
        yield int(budget), span

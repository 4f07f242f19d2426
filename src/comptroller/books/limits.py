"""Setting and dropping budgets: a limit counts what was spent in its period before it was set, and open calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import Connection, delete, func, select

from comptroller.books import schema
from comptroller.books.budgets import SpendBudget, join_places, split_places
from comptroller.books.daily import DAY_US
from comptroller.books.locks import exclude_writers
from comptroller.books.schema import account, daily, entry, hold

Words = Mapping[str, Any]
COLUMNS = {"key": "key", "project": "project", "model": "service", "user": "end_user"}
"""Scope of a budget -> the name in an account that it is about."""


def set_limit(connection: Connection, budget: SpendBudget, at_us: int) -> None:
    """Sets a limit, or changes that of the same scope, name and period, within a writing transaction.

    at_us: the time in the books.
    """
    exclude_writers(connection)
    table = schema.budget
    same = (table.c.scope == budget.scope, table.c.name == budget.name, table.c.period == budget.period)
    values = {"limit_pusd": budget.limit_pusd, "at_us": at_us}
    if not connection.execute(table.update().where(*same).values(values)).rowcount:
        named = {"scope": budget.scope, "name": budget.name, "period": budget.period}
        inserted = connection.execute(table.insert().values(named | values)).inserted_primary_key
        assert inserted is not None
        _count_what_was_before(connection, budget, inserted.id, at_us)
    tell_writers(connection)


def drop_limit(connection: Connection, number: int) -> None:
    """Removes a limit, within a writing transaction; rows keep what was spent."""
    exclude_writers(connection)
    connection.execute(delete(schema.balance).where(schema.balance.c.budget == number))
    connection.execute(delete(schema.budget).where(schema.budget.c.id == number))
    tell_writers(connection)


def tell_writers(connection: Connection) -> None:
    """Lets writers read limits and accounts anew."""
    table = schema.revision
    connection.execute(table.update().where(table.c.what == "budgets").values(number=table.c.number + 1))


def _count_what_was_before(connection: Connection, budget: SpendBudget, number: int, at_us: int) -> None:
    """The balance of a new limit in the period of now: rows since its beginning, and open calls, which count in it
    from now on."""
    rows = connection.execute(select(account)).mappings()
    counts = _condition_of(budget)
    accounts = {row["id"] for row in rows if counts(dict(row))}
    start_us, place = budget.start_us(at_us), (number, budget.span(at_us))
    if budget.period == "hour":  # sums are kept by day
        corrected = select(entry.c.corrects).where(entry.c.corrects.isnot(None))
        spent = select(entry.c.account, func.sum(entry.c.charged_pusd)).where(entry.c.at_us >= start_us)
        spent = spent.where(entry.c.id.not_in(corrected)).group_by(entry.c.account)
    else:
        spent = select(daily.c.account, func.sum(daily.c.charged_pusd)).where(daily.c.day >= start_us // DAY_US)
        spent = spent.where(daily.c.day <= at_us // DAY_US).group_by(daily.c.account)
    before = sum(int(pusd) for number, pusd in connection.execute(spent).all() if number in accounts)
    held = 0
    for row in connection.execute(select(hold)).all():
        if row.account in accounts:
            held += row.worst_pusd or 0
            counted = join_places([*split_places(row.budgets), place])
            connection.execute(hold.update().where(hold.c.id == row.id).values(budgets=counted))
    values = {"budget": number, "span": place[1], "spent_pusd": before, "held_pusd": held, "before_pusd": before}
    connection.execute(schema.balance.insert().values(values))


def _condition_of(budget: SpendBudget) -> Callable[[Words], bool]:
    """Whether a budget is about an account."""
    if budget.scope == "all":
        return lambda words: True
    if budget.scope == "tag":
        return lambda words: budget.name in words["tags"].split(";")
    column = COLUMNS[budget.scope]
    return lambda words: bool(words[column] == budget.name)

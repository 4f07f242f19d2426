"""Plain SQL on the connection of a transaction: the statements that every request takes, prepared once by the driver.

SQLAlchemy compiles a query and builds a result at each execution, which took ten times as long as the database did.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

Row = tuple[Any, ...]


class PreparedSql:
    """Statements of one transaction. Parameters are written `?`; lists are one parameter, `AMONG`.

    Errors are SQLAlchemy's, as those of its own statements.
    """

    def __init__(self, connection: Connection) -> None:
        raw = connection.connection.dbapi_connection
        assert raw is not None
        self._raw: Any = raw
        self._dialect = connection.dialect
        self._error: Any = connection.dialect.loaded_dbapi.Error
        self.postgres = connection.dialect.name == "postgresql"

    def rows(self, sql: str, *values: Any) -> list[Row]:
        """The rows of a query."""
        found: list[Row] = self._execute(sql, values).fetchall()
        return found

    def records(self, table: Table, where: str, *values: Any) -> list[dict[str, Any]]:
        """The rows of a table, by the names of their columns."""
        names = table.c.keys()
        found = self.rows(f"SELECT {', '.join(names)} FROM {table.name} {where}", *values)
        return [dict(zip(names, row, strict=True)) for row in found]

    def run(self, sql: str, *values: Any) -> int:
        """Changes rows; returns how many."""
        return int(self._execute(sql, values).rowcount)

    def many(self, sql: str, rows: Sequence[Row]) -> None:
        """The same statement for many rows."""
        if len(rows) == 1:
            self._execute(sql, rows[0])
        elif rows:
            cursor = self._raw.cursor()
            try:
                cursor.executemany(_driver_sql(sql, self.postgres), rows)
            except self._error as error:
                raise self._refused(sql, error) from error

    def insert(self, table: Table, rows: Sequence[Mapping[str, Any]], clash: str = "") -> None:
        """Inserts many rows at once, faster than row by row: as one JSON document into PostgreSQL, as tuples into
        SQLite. clash: an `ON CONFLICT` clause, or empty.
        """
        if not rows:
            return
        sql, pick = _insertion(table, self.postgres)
        if self.postgres:
            self.run(f"{sql} {clash}", json.dumps(rows, default=_as_bytea))
        else:
            self.many(f"{sql} {clash}", list(map(pick, rows)))

    def listed(self, values: Iterable[int]) -> Any:
        """A list of numbers as the parameter of `AMONG`."""
        return list(values) if self.postgres else json.dumps(list(values))

    def _execute(self, sql: str, values: Row) -> Any:
        try:
            return self._raw.execute(_driver_sql(sql, self.postgres), values)
        except self._error as error:
            raise self._refused(sql, error) from error

    def _refused(self, sql: str, error: Exception) -> Exception:
        return DBAPIError.instance(sql, None, error, self._error, dialect=self._dialect)


@lru_cache(maxsize=256)
def _driver_sql(sql: str, postgres: bool) -> str:
    """A statement as the driver takes it.

    >>> _driver_sql("DELETE FROM hold WHERE id AMONG ?", True), _driver_sql("DELETE FROM hold WHERE id AMONG ?", False)
    ('DELETE FROM hold WHERE id = ANY(%s)', 'DELETE FROM hold WHERE id IN (SELECT value FROM json_each(?))')
    """
    if postgres:
        return sql.replace("AMONG ?", "= ANY(?)").replace("?", "%s")
    return sql.replace("AMONG ?", "IN (SELECT value FROM json_each(?))").replace(" FOR UPDATE", "")


@lru_cache(maxsize=64)
def _insertion(table: Table, postgres: bool) -> tuple[str, itemgetter[Any]]:
    """The statement that inserts rows, and what of a row it takes."""
    names = table.c.keys()
    columns = ", ".join(f'"{name}"' for name in names)
    if postgres:
        values = f"SELECT {columns} FROM json_populate_recordset(NULL::{table.name}, ?::json)"
    else:
        values = f"VALUES ({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({columns}) {values}", itemgetter(*names)


def _as_bytea(value: bytes) -> str:
    """Bytes in PostgreSQL's hexadecimal notation."""
    return "\\x" + value.hex()

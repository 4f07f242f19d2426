"""Locks that show which writers are alive: the kernel or the server releases a writer's lock when it dies."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text

from comptroller.books.statements import PreparedSql

_ALIVE, _WRITING, _LIMITS = 0x436D7074, 0x436D7075, 0x436D7076
"""First halves of the keys of our advisory locks in PostgreSQL: `Cmpt` and its successors; the second is the segment,
or 0 for the limits.

Other applications of the same database must not use them; any other two numbers would do.
"""


class WriterLock(Protocol):
    """An acquired lock."""

    def release(self) -> None:
        """Releases the lock."""


class _FileLock:
    def __init__(self, file: int, path: Path) -> None:
        self._file, self._path = file, path

    def release(self) -> None:
        self._path.unlink(missing_ok=True)
        os.close(self._file)


class _ServerLock:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def release(self) -> None:
        self._connection.invalidate()
        self._connection.close()


def claim(engine: Engine, segment: int) -> WriterLock | None:
    """Acquires the lock of a segment; None where its writer is alive.

    SQLite: a locked file beside the database. PostgreSQL: an advisory lock of one connection, so a pooler that shares
    connections between transactions cannot be used.
    """
    if engine.dialect.name == "sqlite":
        return _claim_file(Path(f"{engine.url.database}-writer-{segment}"))
    connection = engine.connect()
    acquired = connection.scalar(text("SELECT pg_try_advisory_lock(:kind, :id)"), {"kind": _ALIVE, "id": segment})
    if acquired:  # wait for a transaction that the writer sent before it died
        connection.execute(text("SELECT pg_advisory_xact_lock(:kind, :id)"), {"kind": _WRITING, "id": segment})
    connection.commit()
    if acquired:
        return _ServerLock(connection)
    connection.close()
    return None


def announce(connection: Connection, segment: int) -> None:
    """Marks a transaction of a segment as running (PostgreSQL): `claim` of the segment waits for its end, and so does
    who changes limits."""
    if connection.dialect.name == "postgresql":
        sql = "SELECT pg_advisory_xact_lock_shared(?, ?), pg_advisory_xact_lock_shared(?, 0)"
        PreparedSql(connection).rows(sql, _WRITING, segment, _LIMITS)


def exclude_writers(connection: Connection) -> None:
    """Lets no transaction of postings run beside this one, which changes limits. On SQLite none does."""
    if connection.dialect.name == "postgresql":
        PreparedSql(connection).rows("SELECT pg_advisory_xact_lock(?, 0)", _LIMITS)


def _claim_file(path: Path) -> WriterLock | None:
    file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return _FileLock(file, path)

"""Tables of the books, the named migrations that create them, and connections to SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import (
    URL,
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    create_engine,
    event,
    inspect,
    make_url,
    select,
)
from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from comptroller.books.statements import PreparedSql
from comptroller.errors import InputError, LedgerError

BUSY_S = 10.0
"""Seconds that a writer waits for another process that writes to the same SQLite file.

A transaction of 1,000 postings takes well under a second, so a longer wait means a stuck process; after it the posting
fails with `LedgerError`. At twice the value a caller waits twice as long for that error.
"""
CACHE_KIB = 65_536
"""Page cache of SQLite per connection, in KiB: 64 MiB of memory at most, twice that at twice the value."""

METADATA = MetaData()
_Serial = BigInteger().with_variant(Integer(), "sqlite")


def _int(name: str, null: bool = False) -> Column[int]:
    return Column(name, BigInteger, nullable=null)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False, default="")


def _real(name: str) -> Column[float]:
    return Column(name, Float(53), nullable=True)


migration = Table("migration", METADATA, Column("name", Text, primary_key=True), _int("at_us"))
segment = Table(
    "segment",
    METADATA,
    Column("id", _Serial, primary_key=True),
    *map(_int, ("after", "after_rows")),
    Column("head", LargeBinary, nullable=False),
    *map(_int, ("rows", "at_us")),
    Column("archived", BigInteger, nullable=False, server_default="0"),
    Column("archived_head", LargeBinary, nullable=True),
)
account = Table(
    "account",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    *map(_text, ("role", "strategy", "service", "key", "project", "plan", "end_user", "tags")),
)
ACCOUNT = ("role", "strategy", "service", "key", "project", "plan", "end_user", "tags")
"""Names in an account."""
hold = Table(
    "hold",
    METADATA,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    *map(_int, ("segment", "at_us", "account", "request", "parent", "attempt")),
    _text("question"),
    _real("arrival_s"),
    _int("worst_pusd", null=True),
    _int("estimate_pusd", null=True),
    _text("budgets"),
)
entry = Table(
    "entry",
    METADATA,
    *map(_int, ("segment", "number", "id")),
    _text("kind"),
    _int("corrects", null=True),
    *map(_int, ("at_us", "day", "account", "request", "parent", "attempt", "session", "preemptions")),
    _int("firsts"),
    *map(_text, ("question", "finish")),
    *map(_real, ("arrival_s", "started_s", "first_s", "last_s", "wait_s")),
    *(_int(f"{kind}_tokens", null=True) for kind in ("input", "cached", "cache_write", "output", "reasoning")),
    *map(_real, ("device_s", "flops", "j_prefill", "j_decode", "low_j", "high_j", "gco2e")),
    *map(_text, ("source", "energy")),
    _int("estimate_pusd", null=True),
    _int("charged_pusd"),
    _int("pusd", null=True),
    *map(_text, ("price", "extra", "budgets", "note")),
    Column("hash", LargeBinary, nullable=False),
    PrimaryKeyConstraint("segment", "number"),
    sqlite_with_rowid=False,
)
Index("entry_id", entry.c.id, unique=True)
_corrected = entry.c.corrects.isnot(None)
Index("entry_corrects", entry.c.corrects, unique=True, sqlite_where=_corrected, postgresql_where=_corrected)
Index("entry_request", entry.c.request, entry.c.account)
FIRSTS = ("requests", "service_requests", "role_requests")
"""Bits of the column `firsts`: the row is its request's first, its first to the service, its first in the role."""
SQLITE_SETTINGS = (
    f"busy_timeout={int(BUSY_S * 1000)}",
    "journal_mode=WAL",  # readers do not wait for the writer
    "synchronous=FULL",  # a committed hold survives a power failure; NORMAL may lose the last commits
    f"cache_size=-{CACHE_KIB}",
    "temp_store=MEMORY",
)
"""Pragmas of every connection to SQLite."""
SUMS: tuple[str, ...] = (
    *FIRSTS,
    *("calls", "unpriced", "unreported", "pusd", "charged_pusd", "estimate_pusd", "retries", "retry_pusd"),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens", "preemptions"),
    *("over_1k", "over_3k", "over_5k", "metered", "predicted"),
)
"""Integer columns of the daily sums."""
REAL_SUMS = ("device_s", "flops", "j", "low_j", "high_j", "gco2e")
"""Real columns of the daily sums."""
daily = Table(
    "daily",
    METADATA,
    *map(_int, ("day", "account")),
    _text("finish"),
    *map(_int, SUMS),
    *(Column(name, Float(53), nullable=False) for name in REAL_SUMS),
    PrimaryKeyConstraint("day", "account", "finish"),
    sqlite_with_rowid=False,
)
budget = Table(
    "budget",
    METADATA,
    Column("id", _Serial, primary_key=True),
    *map(_text, ("scope", "name", "period")),
    _int("limit_pusd"),
    _int("at_us"),
)
Index("budget_of", budget.c.scope, budget.c.name, budget.c.period, unique=True)
balance = Table(
    "balance",
    METADATA,
    *map(_int, ("budget",)),
    _text("span"),
    *map(_int, ("spent_pusd", "held_pusd")),
    Column("before_pusd", BigInteger, nullable=False, server_default="0"),
    PrimaryKeyConstraint("budget", "span"),
)
revision = Table("revision", METADATA, Column("what", Text, primary_key=True), _int("number"))
bucket = Table(
    "bucket",
    METADATA,
    *map(_text, ("name", "unit")),
    Column("level", Float(53), nullable=False),
    _int("at_us"),
    PrimaryKeyConstraint("name", "unit"),
)
ARCHIVED_SUMS = ("calls", "pusd", "charged_pusd", "input_tokens", "output_tokens")
"""Sums that are kept of rows which were moved away: those that `verify` holds daily sums against."""
archived = Table(
    "archived",
    METADATA,
    *map(_int, ("day", "account")),
    _text("finish"),
    *map(_int, ARCHIVED_SUMS),
    PrimaryKeyConstraint("day", "account", "finish"),
)
archive = Table(
    "archive",
    METADATA,
    Column("id", _Serial, primary_key=True),
    *map(_int, ("at_us", "day", "rows", "anonymised")),
    _text("file"),
)
alert = Table(
    "alert",
    METADATA,
    *map(_int, ("budget", "percent", "at_us")),
    _text("span"),
    PrimaryKeyConstraint("budget", "span", "percent"),
)
key = Table(
    "key",
    METADATA,
    Column("digest", Text, primary_key=True),
    *map(_text, ("name", "project", "models", "role")),
    _int("created_us"),
    _int("expires_us", null=True),
)
price = Table("price", METADATA, Column("id", Text, primary_key=True), _text("document"))
service = Table(
    "service",
    METADATA,
    Column("id", Text, primary_key=True),
    *map(_text, ("provider", "publisher", "model", "account", "aliases")),
    _int("at_us"),
)
context = Table(
    "context",
    METADATA,
    Column("id", Text, primary_key=True),
    *map(_text, ("key", "model", "text", "budget", "status", "why", "notes")),
    *map(_int, ("max_tokens", "keep")),
    Column("compare", Float(53), nullable=False),
    _int("pusd", null=True),
    *map(_int, ("used", "begun", "maker", "created_us", "used_us")),
    *map(_int, ("with_questions", "with_pusd", "without_questions", "without_pusd")),
)
Index("context_of", context.c.key, context.c.used_us)
Index("context_status", context.c.status)
score = Table(
    "score",
    METADATA,
    Column("request", BigInteger, primary_key=True, autoincrement=False),
    Column("score", Float(53), nullable=False),
    _int("at_us"),
)


def _create_ledger(connection: Connection) -> None:
    METADATA.create_all(connection)


def _name_services(connection: Connection) -> None:
    service.create(connection, checkfirst=True)


def _limit_keys(connection: Connection) -> None:
    _add_missing_columns(connection, key, "models", "role")


def _add_missing_columns(connection: Connection, table: Table, *names: str) -> None:
    """Columns that books of an older version lack; in new ones they are there."""
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    for name in names:
        if name not in there:
            kind = table.c[name].type.compile(connection.dialect)
            default = "" if table.c[name].nullable else " NOT NULL DEFAULT " + ("''" if kind == "TEXT" else "0")
            connection.exec_driver_sql(f"ALTER TABLE {table.name} ADD COLUMN {name} {kind}{default}")


def _tag_accounts(connection: Connection) -> None:
    for table in (revision, bucket):
        table.create(connection, checkfirst=True)
    connection.execute(revision.insert().values(what="budgets", number=0))
    _add_missing_columns(connection, account, "end_user", "tags")
    _add_missing_columns(connection, balance, "before_pusd")
    _add_missing_columns(connection, segment, "archived", "archived_head")


def _keep_archived_sums(connection: Connection) -> None:
    for table in (archived, archive):
        table.create(connection, checkfirst=True)


def _keep_contexts(connection: Connection) -> None:
    context.create(connection, checkfirst=True)


MIGRATIONS: tuple[tuple[str, Callable[[Connection], None]], ...] = (
    ("0001_ledger", _create_ledger),
    ("0002_service_names", _name_services),
    ("0003_key_limits", _limit_keys),
    ("0004_tags_rates_archive", _tag_accounts),
    ("0005_archives", _keep_archived_sums),
    ("0006_contexts", _keep_contexts),
)
"""Name and function of every migration, in order."""


def connect(where: str) -> Engine:
    """Connects to books, created or migrated to the current schema as needed.

    where: path of an SQLite file, or an SQLAlchemy URL of SQLite or PostgreSQL.

    Raises:
        LedgerError: corrupt, of a newer Comptroller, not books, not reachable; names the fix.
        InputError: another kind of database, or no file.
    """
    url = _url(where)
    with refusals(str(url)):
        try:
            engine = create_engine(url, pool_pre_ping=url.get_backend_name() != "sqlite")
        except (NoSuchModuleError, ModuleNotFoundError) as error:
            raise LedgerError(f"{url}: no driver: pip install 'comptroller[postgres]'") from error
        if engine.dialect.name == "sqlite":
            event.listen(engine, "connect", _sqlite_settings)
            event.listen(engine, "begin", _sqlite_begin)
        with writing(engine) as connection:
            _migrate(connection, str(url))
    return engine


def _url(where: str) -> URL:
    url = make_url(where) if "://" in where else URL.create("sqlite", database=where)
    if url.get_backend_name() not in {"sqlite", "postgresql"}:
        raise InputError(f"books in {url.get_backend_name()}: only sqlite and postgresql keep them")
    if url.drivername == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        file = Path(url.database or "")
        if file.name in {"", ":memory:"}:
            raise InputError("books need a file: an SQLite database in memory is lost with the process")
        if not file.parent.is_dir():
            raise InputError(f"{file}: there is no folder {file.parent}")
    return url


def _sqlite_settings(raw: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    raw.isolation_level = None  # SQLAlchemy begins; sqlite3 must not
    for setting in SQLITE_SETTINGS:
        raw.execute(f"PRAGMA {setting}")


def _sqlite_begin(connection: Connection) -> None:
    mode = "IMMEDIATE" if connection.get_execution_options().get("writes") else "DEFERRED"
    PreparedSql(connection).run(f"BEGIN {mode}")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A writing transaction; on SQLite it takes the file's only write lock when it begins."""
    with engine.connect().execution_options(writes=True) as connection, connection.begin():
        yield connection


def _migrate(connection: Connection, name: str) -> None:
    if connection.dialect.name == "postgresql":  # one process at a time: several gateways may start together
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('comptroller.books'))")
    tables = set(inspect(connection).get_table_names())
    if tables and "migration" not in tables:
        raise LedgerError(f"{name}: a database, but not books: name another file or an empty database")
    done = set(connection.scalars(select(migration.c.name))) if tables else set()
    newer = sorted(done - {step for step, _ in MIGRATIONS})
    if newer:
        raise LedgerError(f"{name}: written by a newer Comptroller (migration {newer[-1]}): pip install -U comptroller")
    for step, work in MIGRATIONS:
        if step not in done:
            work(connection)
            connection.execute(migration.insert().values(name=step, at_us=time.time_ns() // 1000))


FIXES = (
    ("malformed", "it is damaged: restore a copy, or save what is left with: sqlite3 FILE .recover"),
    ("not a database", "it is not an SQLite file: name another, or restore a copy"),
    ("disk is full", "the disk is full: make room; nothing is spent until a hold can be written"),
    ("No space left", "the disk is full: make room; nothing is spent until a hold can be written"),
    ("disk I/O error", "the disk refuses: check room and health; nothing is spent until a hold can be written"),
    ("locked", "another process has written for too long: end it"),
    ("readonly", "it cannot be written: check the permissions"),
    ("unable to open", "it cannot be opened: check the path and the permissions"),
    ("onnection", "the database does not answer: check that it runs and the address"),
)
"""(words in a database's message, advice); the first match is used."""


@contextmanager
def refusals(name: str) -> Iterator[None]:
    """Converts errors of the database into `LedgerError` with advice. name: of the books or task, for the message."""
    try:
        yield
    except DBAPIError as error:
        text = str(error.orig).strip()
        fix = next((fix for words, fix in FIXES if words in text), "see the database's message")
        raise LedgerError(f"{name}: {fix} ({text})") from error
    except SQLAlchemyError as error:
        raise LedgerError(f"{name}: {error}") from error

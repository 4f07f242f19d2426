"""Books for tests: an SQLite file, and a PostgreSQL of our own from the distribution's binaries."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine, make_url, text

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))


def binary(name: str) -> str:
    """The path of one of PostgreSQL's programs; the test is skipped where there is none."""
    found = str(BINARIES[-1] / name) if BINARIES else shutil.which(name)
    if not found:
        pytest.skip("no PostgreSQL: apt-get install postgresql")
    return found


@contextmanager
def server(durable: bool = False) -> Iterator[URL]:
    """A PostgreSQL in a temporary folder, on a socket only, under a user that is not root.

    durable: writes reach the disk before a commit returns, as in production; tests do without.
    """
    pytest.importorskip("psycopg", reason="no psycopg: pip install 'comptroller[postgres]'")
    initdb, control = binary("initdb"), binary("pg_ctl")
    user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    as_user = {"user": user} if os.geteuid() == 0 else {}
    home = Path(tempfile.mkdtemp(prefix="pg"))
    if as_user:
        shutil.chown(home, user)
    data = home / "data"

    def run(*words: str | Path) -> None:
        subprocess.run(words, check=True, capture_output=True, cwd=home, **as_user)

    options = f"-c listen_addresses='' -c unix_socket_directories={home}" + ("" if durable else " -c fsync=off")
    try:
        run(initdb, "-D", data, "-U", "books", "-A", "trust", "-E", "UTF8", "--no-sync")
        run(control, "-D", data, "-o", options, "-w", "-l", home / "log", "start")
        yield make_url(f"postgresql+psycopg://books@/postgres?host={home}")
    finally:
        if (data / "postmaster.pid").exists():
            run(control, "-D", data, "-m", "immediate", "-w", "stop")
        shutil.rmtree(home)


@pytest.fixture(scope="session")
def postgres() -> Iterator[URL]:
    with server() as url:
        yield url


def fresh(url: URL) -> str:
    """A server's database, emptied."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()
    return url.render_as_string(hide_password=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where books are to be kept: the same tests on both databases."""
    if request.param == "sqlite":
        return str(tmp_path / "books.sqlite")
    return fresh(request.getfixturevalue("postgres"))

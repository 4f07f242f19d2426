"""A short version of `make crash`: 200 random kills on each database."""

from __future__ import annotations

from books_crash import crash
from books_databases import postgres, where  # noqa: F401


def test_no_call_is_lost_or_doubled_when_the_writer_is_killed(where: str) -> None:  # noqa: F811
    told = crash(where, points=5)
    assert len(told.reserved) > 50 and len(told.ended) > 20

"""Contexts of sleep-time compute: texts, the notes on them and what both cost, kept for all gateways of the books.

One gateway makes the notes of a context; where it died before they were done, another takes the context over.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, select

from comptroller.books import schema
from comptroller.books.ledger import CallLedger
from comptroller.books.locks import claim
from comptroller.books.schema import context

MOST = 100
"""Contexts of a key that are kept; those unused for longest go. At twice it a key may fill twice the room: 400 MB with
the longest texts that a gateway takes."""
PENDING, READY, FAILED = "pending", "ready", "failed"
"""Where the notes of a context are."""
WITH, WITHOUT = "with", "without"
"""How a question on a context was answered: with its notes or without."""


@dataclass(frozen=True, slots=True)
class SleepContext:
    """A context as it is kept.

    key: whose it is.  budget: as it was told.  keep: whether questions get the text beside the notes.  compare: share
    of the questions that are answered without notes.  status: `PENDING`, `READY` or `FAILED`.  why: of a failure.
    pusd: of the notes, None where it is unknown.  used: questions that got it.  begun: calls that were to make its
    notes.  maker: segment of the writer that makes them.  with_..., without_...: questions of known cost that were
    answered with notes and without, and their picodollars.
    """

    id: str
    key: str
    model: str
    text: str
    budget: str
    max_tokens: int
    keep: bool
    compare: float
    status: str = PENDING
    why: str = ""
    notes: str = ""
    pusd: int | None = None
    used: int = 0
    begun: int = 0
    maker: int = 0
    created_us: int = 0
    used_us: int = 0
    with_questions: int = 0
    with_pusd: int = 0
    without_questions: int = 0
    without_pusd: int = 0

    @property
    def saved_pusd(self) -> float | None:
        """What the notes have saved beyond what they cost; None until questions of both kinds were answered.

        >>> made = SleepContext("ctx_1", "", "m", "t", "1 usd", 9, True, 0.1, pusd=50)
        >>> made.saved_pusd is None
        True
        >>> from dataclasses import replace
        >>> replace(made, with_questions=4, with_pusd=80, without_questions=2, without_pusd=70).saved_pusd
        10.0
        """
        if self.pusd is None or not self.with_questions or not self.without_questions:
            return None
        bare = self.without_pusd / self.without_questions
        return self.with_questions * bare - self.with_pusd - self.pusd


class ContextStore:
    """The contexts of a ledger."""

    def __init__(self, ledger: CallLedger) -> None:
        self._ledger = ledger

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        with schema.refusals("contexts"), schema.writing(self._ledger.engine) as connection:
            yield connection

    def add(self, made: SleepContext) -> None:
        """Keeps a context, whose notes this writer makes; the key's oldest beyond `MOST` go.

        Raises:
            LedgerError: it was not written.
        """
        now_us = self._ledger.clock()
        row = {name: getattr(made, name) for name in context.c.keys()}  # noqa: SIM118 -- columns by name
        row |= {"maker": self._ledger.pen.segment, "created_us": now_us, "used_us": now_us, "keep": int(made.keep)}
        kept = select(context.c.id).where(context.c.key == made.key)
        kept = kept.order_by(context.c.used_us.desc(), context.c.id).limit(MOST)
        with self._writing() as connection:
            connection.execute(context.insert().values(row))
            ids = list(connection.scalars(kept))
            connection.execute(context.delete().where(context.c.key == made.key, context.c.id.not_in(ids)))

    def find(self, key: str, name: str) -> SleepContext | None:
        """A context of a key; None where it has none of that id."""
        query = select(context).where(context.c.id == name, context.c.key == key)
        with schema.refusals("contexts"), self._ledger.engine.connect() as connection:
            return _context(connection.execute(query).mappings().one_or_none())

    def take(self, key: str, name: str) -> SleepContext | None:
        """A context for one more question, counted: of questions at once each gets its number, at any gateway."""
        mine = context.update().where(context.c.id == name, context.c.key == key)
        counted = mine.values(used=context.c.used + 1, used_us=self._ledger.clock()).returning(context)
        with self._writing() as connection:
            return _context(connection.execute(counted).mappings().one_or_none())

    def answered(self, name: str, how: str, pusd: int) -> None:
        """Counts a question that was answered, and what it cost. how: `WITH` or `WITHOUT`."""
        questions, spent = context.c[f"{how}_questions"], context.c[f"{how}_pusd"]
        values = {questions.name: questions + 1, spent.name: spent + pusd}
        with self._writing() as connection:
            connection.execute(context.update().where(context.c.id == name).values(values))

    def begin(self, name: str) -> bool:
        """Notes that a call for the notes is about to be made; whether the context is still this writer's to make."""
        mine = (context.c.id == name, context.c.status == PENDING, context.c.maker == self._ledger.pen.segment)
        with self._writing() as connection:
            return bool(connection.execute(context.update().where(*mine).values(begun=context.c.begun + 1)).rowcount)

    def end(self, name: str, status: str, why: str = "", notes: str = "", pusd: int | None = None) -> None:
        """Keeps what came of it. PostgreSQL keeps no NUL in a text, so it is replaced."""
        texts = {"why": why.replace("\0", "\ufffd"), "notes": notes.replace("\0", "\ufffd")}
        with self._writing() as connection:
            connection.execute(context.update().where(context.c.id == name).values(status=status, pusd=pusd, **texts))

    def remove(self, key: str, name: str) -> bool:
        """Removes a context of a key; whether there was one."""
        with self._writing() as connection:
            mine = context.delete().where(context.c.id == name, context.c.key == key)
            return bool(connection.execute(mine).rowcount)

    def adopt(self) -> list[SleepContext]:
        """Contexts whose notes are not made and whose writer is dead; from now on they are this writer's to make."""
        own, engine = self._ledger.pen.segment, self._ledger.engine
        pending = select(context.c.maker).where(context.c.status == PENDING, context.c.maker != own).distinct()
        found: list[SleepContext] = []
        with schema.refusals("contexts"):
            with engine.connect() as connection:
                makers = list(connection.scalars(pending))
            for maker in makers:
                if (dead := claim(engine, maker)) is None:
                    continue
                theirs = context.update().where(context.c.status == PENDING, context.c.maker == maker)
                with schema.writing(engine) as connection:
                    taken = connection.execute(theirs.values(maker=own).returning(context)).mappings().all()
                dead.release()
                found += [made for row in taken if (made := _context(row)) is not None]
        return found


def _context(row: Any) -> SleepContext | None:
    return None if row is None else SleepContext(**(dict(row) | {"keep": bool(row["keep"])}))

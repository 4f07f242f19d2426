"""The ledger: one row per call to a model, reserved before the call and settled after it. Rows are only appended.

Each writer appends to a segment of its own, whose rows are chained by hash. PostgreSQL serves many writers at once, on
SQLite they take turns. See docs/books.md.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from types import TracebackType
from typing import Self

from sqlalchemy import Engine, select
from sqlalchemy.exc import IntegrityError

from comptroller.books import schema
from comptroller.books.batch import Outcome, PostingBatch
from comptroller.books.batch_rows import LedgerSegmentCursor
from comptroller.books.budgets import BudgetBalance, SpendBudget
from comptroller.books.chain import START
from comptroller.books.clock import Clock, now_us
from comptroller.books.limits import drop_limit, set_limit
from comptroller.books.locks import WriterLock, announce, claim
from comptroller.books.memory import StaleMemoryError, WriterMemory
from comptroller.books.postings import (
    CallQuote,
    CorrectionPosting,
    LossPosting,
    Posting,
    ReleasePosting,
    ReservationPosting,
    SettlementPosting,
    lost_calls,
)
from comptroller.costs.rating import CallReceipt
from comptroller.errors import ComptrollerError, InputError, LedgerError
from comptroller.work.call import Call

__all__ = [
    "CallLedger",
    "CallQuote",
    "CorrectionPosting",
    "LossPosting",
    "ReleasePosting",
    "ReservationPosting",
    "SettlementPosting",
]

EPOCH_US = 1_577_836_800_000_000
"""Origin of ids, which count microseconds since 2020-01-01 UTC."""
ID_BITS = 13
"""Low bits of an id, taken from the segment, so that concurrent writers never make the same id.

13 bits separate 8,192 segments and leave 50 for microseconds, which last until 2055; 26 bits would leave 38 hours.
"""
PATIENCE_US = 60_000_000
"""How far a clock may be behind the latest time in the books and still be corrected: a minute.

Clocks of machines differ by less; one further behind is believed, for the time in the books may be that of a clock
which was wrong. At twice the value two minutes of calls may be charged to a period that has not begun.
"""
GIVEN_UP_AT_ONCE = 1000
"""Open calls of a dead writer booked in one transaction: it bounds how long other writers wait."""


class CallLedger:
    """An open ledger. Create it with `open`; it is safe to share between threads.

    clock: microseconds since 1970.
    """

    def __init__(self, engine: Engine, clock: Clock = now_us) -> None:
        self.engine, self.clock = engine, clock
        self._name = engine.url.render_as_string()
        self._lock = threading.RLock()
        self._ids = threading.Lock()
        self._last_id = 0
        self._pen: LedgerSegmentCursor | None = None
        self._alive: WriterLock | None = None
        self._stale = False
        self._memory = WriterMemory()

    @classmethod
    def open(cls, where: str, clock: Clock = now_us) -> CallLedger:
        """Opens a ledger, or creates it.

        where: path of an SQLite file, or an SQLAlchemy URL.

        Raises:
            LedgerError: the database cannot be used; names the fix.
            InputError: the database is neither SQLite nor PostgreSQL.
        """
        return cls(schema.connect(where), clock)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the ledger. Open holds stay, see `end_holds`, and are booked as lost by the next `recover`."""
        with self._lock:
            if self._alive:
                self._alive.release()
            self._alive = self._pen = None
            self.engine.dispose()

    @property
    def pen(self) -> LedgerSegmentCursor:
        """Position of this writer in its segment; the first use creates the segment."""
        with self._lock:
            if self._pen is None:
                self._pen = self._new_segment()
            return self._pen

    def _new_segment(self) -> LedgerSegmentCursor:
        table = schema.segment
        with schema.refusals(self._name), schema.writing(self.engine) as connection:
            last = connection.execute(select(table).order_by(table.c.id.desc()).limit(1)).one_or_none()
            head, at_us = (bytes(last.head), self._not_before(last.at_us)) if last else (START, self.clock())
            after = {"after": last.id, "after_rows": last.rows} if last else {"after": 0, "after_rows": 0}
            row = {**after, "head": head, "rows": 0, "at_us": at_us}
            inserted = connection.execute(table.insert().values(row)).inserted_primary_key
        assert inserted is not None
        self._alive = claim(self.engine, inserted.id)
        return LedgerSegmentCursor(inserted.id, 0, head, at_us)

    def _not_before(self, last_us: int) -> int:
        """The clock, or the latest time in the books where the clock is behind it by less than `PATIENCE_US`."""
        clock_us = self.clock()
        return last_us if clock_us < last_us < clock_us + PATIENCE_US else clock_us

    def _now_us(self) -> int:
        """The time of a row that would be written now."""
        return self._not_before(self._pen.at_us) if self._pen else self.clock()

    def new_id(self) -> int:
        """An id for a call or a request: 63 bits, larger than the last, different from those of other writers."""
        pen = self._pen or self.pen
        with self._ids:  # its own lock: ids do not wait for a commit
            tail = pen.segment & ((1 << ID_BITS) - 1)
            ticks = max(self.clock() - EPOCH_US, (self._last_id >> ID_BITS) + 1)
            self._last_id = ticks << ID_BITS | tail
            self._memory.mint(self._last_id)
            return self._last_id

    def apply(self, postings: Sequence[Posting]) -> list[Outcome]:
        """Applies many postings in one transaction.

        Returns for each the picodollars held or charged, or the error that refused it.

        Raises:
            LedgerError: nothing was written.
        """
        with self._lock, schema.refusals(self._name):
            try:
                return self._commit(postings)
            except (IntegrityError, StaleMemoryError):  # another writer booked the same call; its row is visible now
                self._memory.forget()
                return self._commit(postings)

    def _commit(self, postings: Sequence[Posting]) -> list[Outcome]:
        if self._stale:
            self._memory.forget()
        pen = self._current_cursor()
        with schema.writing(self.engine) as connection:
            announce(connection, pen.segment)
            batch = PostingBatch(connection, pen, self._memory)
            outcomes = batch.outcomes(postings)
            self._stale = True  # until the commit has succeeded
        self._pen, self._stale = pen, False
        batch.remember()
        return outcomes

    def _current_cursor(self) -> LedgerSegmentCursor:
        """A copy of the writer's position, read from the database where the outcome of the last commit is unknown."""
        pen = self.pen
        if self._stale:
            table = schema.segment
            with self.engine.connect() as connection:
                row = connection.execute(select(table).where(table.c.id == pen.segment)).one()
            pen = LedgerSegmentCursor(row.id, row.rows, bytes(row.head), row.at_us)
        return replace(pen, at_us=self._not_before(pen.at_us))

    def _apply_one(self, posting: Posting) -> int:
        outcome = self.apply([posting])[0]
        if isinstance(outcome, ComptrollerError):
            raise outcome
        return outcome

    def reserve(self, call: Call, quote: CallQuote) -> int:
        """Holds the worst-case cost of a call before it is made; durable at return. Returns the picodollars held.

        Raises:
            BudgetExceededError: a budget has less left; names it.
            DuplicateCallError: the call's id was settled, released or booked as lost.
            LedgerError: nothing was written; do not make the call.
        """
        return self._apply_one(ReservationPosting(call, quote))

    def settle(self, call: Call, receipt: CallReceipt) -> int:
        """Books a call that ended; returns the picodollars charged. A repetition changes nothing.

        Raises:
            InputError: the call was never reserved.
        """
        return self._apply_one(SettlementPosting(call, receipt))

    def release(self, call: Call, reason: str = "") -> int:
        """Books a call that ended and cost nothing; returns the picodollars charged.

        Raises:
            InputError: the call was never reserved.
        """
        return self._apply_one(ReleasePosting(call, reason))

    def correct(self, call: Call, receipt: CallReceipt, reason: str) -> int:
        """Books corrected figures of a call as a new row that refers to its last; returns the picodollars charged.

        Raises:
            InputError: the call is not booked, or no reason is given.
        """
        if not reason:
            raise InputError("a correction needs a reason")
        return self._apply_one(CorrectionPosting(self.new_id(), call, receipt, reason))

    def recover(self) -> int:
        """Books the open calls of dead writers at their worst case; returns their number."""
        pen, count = self.pen, 0
        with schema.refusals(self._name):
            with self.engine.connect() as connection:
                holders = list(connection.scalars(select(schema.hold.c.segment).distinct()))
            for number in holders:
                dead = claim(self.engine, number) if number != pen.segment else None
                if dead:
                    count += self._book_lost(number)
                    dead.release()
        return count

    def end_holds(self) -> int:
        """Books the open calls of this writer at their worst case, before it ends; returns their number."""
        return self._book_lost(self._pen.segment) if self._pen else 0

    def _book_lost(self, number: int) -> int:
        """Books the open calls of a segment as lost; returns their number."""
        table, count = schema.hold, 0
        while True:
            with self.engine.connect() as connection:
                query = select(table).where(table.c.segment == number).limit(GIVEN_UP_AT_ONCE)
                rows = [dict(row) for row in connection.execute(query).mappings()]
            if not rows:
                return count
            outcomes = self.apply(lost_calls(rows))
            refused = [outcome for outcome in outcomes if isinstance(outcome, ComptrollerError)]
            if refused:
                raise LedgerError(f"{self._name}: an open call cannot be given up: {refused[0]}")
            count += len(rows)

    def set_budget(self, budget: SpendBudget) -> None:
        """Sets a limit, or changes that of the same scope, name and period; it counts what was spent in its period."""
        with schema.refusals(self._name), schema.writing(self.engine) as connection:
            set_limit(connection, budget, self._now_us())

    def drop_budget(self, budget: SpendBudget) -> None:
        """Removes a limit; rows keep what was spent.

        Raises:
            InputError: there is no such budget.
        """
        stored = next((item for item in self.budgets() if str(item) == str(budget)), None)
        if stored is None:
            raise InputError(f"there is no budget of {budget}")
        with schema.refusals(self._name), schema.writing(self.engine) as connection:
            drop_limit(connection, stored.id)

    def budgets(self) -> list[SpendBudget]:
        """All limits, in the order of their creation."""
        with schema.refusals(self._name), self.engine.connect() as connection:
            rows = connection.execute(select(schema.budget).order_by(schema.budget.c.id)).all()
        return [SpendBudget(row.scope, row.name, row.period, row.limit_pusd, row.id) for row in rows]

    def balances(self) -> list[BudgetBalance]:
        """Spend and holds of every budget in the current period."""
        at_us = self._now_us()
        with schema.refusals(self._name), self.engine.connect() as connection:
            rows = connection.execute(select(schema.balance)).all()
        amounts = {(row.budget, row.span): (row.spent_pusd, row.held_pusd) for row in rows}
        current = ((budget, budget.span(at_us)) for budget in self.budgets())
        return [BudgetBalance(budget, span, *amounts.get((budget.id, span), (0, 0))) for budget, span in current]

    def score(self, request: int, score: float) -> None:
        """Stores the score of a request's answer, in [0, 1], replacing an earlier one.

        Raises:
            InputError: the score is not in [0, 1].
        """
        if not 0.0 <= score <= 1.0:
            raise InputError(f"a score of {score}: scores lie in [0, 1]")
        table = schema.score
        with schema.refusals(self._name), schema.writing(self.engine) as connection:
            values = {"request": request, "score": float(score), "at_us": self.clock()}
            if not connection.execute(table.update().where(table.c.request == request).values(values)).rowcount:
                connection.execute(table.insert().values(values))

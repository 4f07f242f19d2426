"""What a writer of the books knows of them without asking: ids that are new, its own open holds, limits in force."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from comptroller.books.budgets import SpendBudget
from comptroller.books.postings import Values
from comptroller.books.statements import PreparedSql

MOST = 20_000
"""New ids, and requests of which it is known which calls are booked, that are remembered; the books are asked about
others. At twice it twice the memory (about 3 MB); calls of a request come within thousands of ids of each other."""


class StaleMemoryError(Exception):
    """Somebody else changed what a writer took for its own; nothing was written."""


@dataclass(slots=True)
class WriterMemory:
    """accounts, prices: ids that are stored.  holds: open ones of this writer.  minted: ids that no row has yet.

    marks: request -> what of its calls is booked, as in `BatchRows.marks`.  budgets: (scope, name) -> limits, as of
    `revision`.
    """

    accounts: set[int] = field(default_factory=set)
    prices: set[str] = field(default_factory=set)
    holds: dict[int, Values] = field(default_factory=dict)
    marks: dict[int, set[str]] = field(default_factory=dict)
    budgets: dict[tuple[str, str], list[SpendBudget]] = field(default_factory=dict)
    revision: int = -1
    minted: dict[int, None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def mint(self, number: int) -> None:
        """An id that was made just now."""
        with self._lock:
            self.minted[number] = None
            if len(self.minted) > MOST:
                del self.minted[next(iter(self.minted))]

    def used(self, numbers: Iterable[int]) -> None:
        """Ids that rows have from now on."""
        with self._lock:
            for number in numbers:
                self.minted.pop(number, None)

    def mark(self, marks: dict[int, set[str]]) -> None:
        """What is booked of requests."""
        self.marks.update(marks)
        while len(self.marks) > MOST:
            del self.marks[next(iter(self.marks))]

    def forget(self) -> None:
        """All that somebody else may have changed."""
        self.holds.clear()
        self.marks.clear()
        self.revision = -1
        with self._lock:
            self.minted.clear()

    def refresh(self, to: PreparedSql) -> None:
        """Reads the limits where they have changed since; open holds count against new ones, too."""
        ((revision,),) = to.rows("SELECT number FROM revision WHERE what = 'budgets'")
        if revision == self.revision:
            return
        self.holds.clear()
        self.accounts.clear()  # an archive without users ends some
        self.budgets = {}
        for number, scope, name, period, limit in to.rows(
            "SELECT id, scope, name, period, limit_pusd FROM budget ORDER BY id"
        ):
            self.budgets.setdefault((scope, name), []).append(SpendBudget(scope, name, period, limit, number))
        self.revision = revision

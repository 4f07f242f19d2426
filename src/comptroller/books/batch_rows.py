"""The rows that a transaction of postings concerns: loaded before they are decided, written after.

What the writer knows it does not ask for (`WriterMemory`): a request of one call takes six statements, eight with a
limit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from comptroller.books import schema
from comptroller.books.budgets import BudgetBalance, Place, SpendBudget, split_places
from comptroller.books.memory import StaleMemoryError, WriterMemory
from comptroller.books.postings import CorrectionPosting, Posting, ReservationPosting, Values
from comptroller.books.rates import RateLimitBuckets
from comptroller.books.statements import PreparedSql


@dataclass(slots=True)
class LedgerSegmentCursor:
    """Position of a writer in its segment: rows written, hash of the last, latest time (microseconds since 1970)."""

    segment: int
    rows: int
    head: bytes
    at_us: int


class BatchRows:
    """The rows of some postings. holds: open.  booked: call id -> its row in force.  marks: request -> what of it is
    booked: "" for a call, and its services and roles.

    Raises:
        StaleMemoryError: a hold of this writer is gone.
    """

    def __init__(
        self, to: PreparedSql, memory: WriterMemory, postings: Sequence[Posting], pen: LedgerSegmentCursor
    ) -> None:
        self._to, self._memory, self._at_us = to, memory, pen.at_us
        self._gone: Collection[int] = ()
        memory.refresh(to)
        opened = {posting.call.call for posting in postings if isinstance(posting, ReservationPosting)}
        ended = {posting.call.call for posting in postings if not isinstance(posting, ReservationPosting)}
        fixed = {posting.call.call for posting in postings if isinstance(posting, CorrectionPosting)}
        minted = {number for number in opened | ended if number in memory.minted}
        mine = {number for number in (opened | ended) - fixed if number in memory.holds}
        asked = sorted((opened | ended) - minted - mine)
        self.holds = {number: memory.holds[number] for number in mine} | self._open_holds(asked)
        self._release(sorted(mine & ended))
        self.booked = self._rows_in_force(asked)
        self.balances = self._lock_balances(postings)
        self.marks = self._load_marks(postings)
        self.buckets = RateLimitBuckets(to, [claim for posting in postings for claim in posting.claims], pen.at_us)
        self._before = {place: (item.spent_pusd, item.held_pusd) for place, item in self.balances.items()}

    def _open_holds(self, ids: list[int]) -> dict[int, Values]:
        """Holds by id; another process that ends the same call waits, then finds it booked."""
        if not ids:
            return {}
        found = self._to.records(schema.hold, "WHERE id AMONG ? ORDER BY id FOR UPDATE", self._to.listed(ids))
        return {row["id"]: row for row in found}

    def _release(self, ids: list[int]) -> None:
        """Removes holds of this writer: first, so that who books them as lost waits before it locks a balance."""
        if not ids:
            return
        if self._to.run("DELETE FROM hold WHERE id AMONG ?", self._to.listed(ids)) != len(ids):
            raise StaleMemoryError
        self._gone = set(ids)

    def _rows_in_force(self, ids: list[int]) -> dict[int, Values]:
        """Call id -> its row in force: the last correction, or the row itself."""
        if not ids:
            return {}
        query = "WHERE id AMONG ? ORDER BY id"
        in_force = {row["id"]: row for row in self._to.records(schema.entry, query, self._to.listed(ids))}
        last = dict(in_force)
        while last:
            by_id = {row["id"]: call for call, row in last.items()}
            query = "WHERE corrects AMONG ? ORDER BY corrects"
            newer = self._to.records(schema.entry, query, self._to.listed(by_id))
            last = {by_id[row["corrects"]]: row for row in newer}
            in_force |= last
        return in_force

    def budgets_of(self, posting: ReservationPosting) -> list[SpendBudget]:
        """The limits that a new hold counts against."""
        limits = self._memory.budgets
        return [item for scope in posting.scopes for item in limits.get(scope, ())] if limits else []

    def places(self, posting: ReservationPosting) -> list[Place]:
        """Where it counts: in the periods of now."""
        return [(item.id, item.span(self._at_us)) for item in self.budgets_of(posting)]

    def _lock_balances(self, postings: Sequence[Posting]) -> dict[Place, BudgetBalance]:
        """The balances that the postings change, locked until the end of the transaction."""
        new = {place for p in postings if isinstance(p, ReservationPosting) for place in self.places(p)}
        old = {p for row in (*self.holds.values(), *self.booked.values()) for p in split_places(row["budgets"])}
        limits = {item.id: item for same in self._memory.budgets.values() for item in same} if new | old else {}
        wanted = sorted(place for place in new | old if place[0] in limits)
        found = self._balances(wanted)
        if missing := [place for place in wanted if place not in found and place in new]:
            rows = [dict(zip(("budget", "span"), place, strict=True)) for place in missing]
            empty = [row | {"spent_pusd": 0, "held_pusd": 0, "before_pusd": 0} for row in rows]
            self._to.insert(schema.balance, empty, "ON CONFLICT DO NOTHING")
            found |= self._balances(missing)
        return {place: BudgetBalance(limits[place[0]], place[1], *amounts) for place, amounts in found.items()}

    def _balances(self, places: list[Place]) -> dict[Place, tuple[int, int]]:
        """Spent and held by place, in order of places: whoever locks several does so in the same order."""
        if not places:
            return {}
        if self._to.postgres:
            query = "SELECT budget, span, spent_pusd, held_pusd FROM balance"
            query += " JOIN unnest(?::bigint[], ?::text[]) AS wanted(budget, span) USING (budget, span)"
            query += " ORDER BY budget, span FOR UPDATE OF balance"
            rows = self._to.rows(query, [place[0] for place in places], [place[1] for place in places])
        else:
            query = "SELECT budget, span, spent_pusd, held_pusd FROM balance WHERE budget = ? AND span = ?"
            rows = [row for place in places for row in self._to.rows(query, *place)]
        return {(budget, span): (spent, held) for budget, span, spent, held in rows}

    def _load_marks(self, postings: Sequence[Posting]) -> dict[int, set[str]]:
        requests = {p.call.request for p in postings if not isinstance(p, ReservationPosting)}
        marks = {number: set(self._memory.marks[number]) for number in requests if number in self._memory.marks}
        asked = sorted(number for number in requests - marks.keys() if number not in self._memory.minted)
        if asked:
            query = "SELECT DISTINCT entry.request, account.service, account.role FROM entry"
            query += " JOIN account ON account.id = entry.account WHERE entry.request AMONG ?"
            for request, service, role in self._to.rows(query, self._to.listed(asked)):
                marks.setdefault(request, set()).update(("", f"service {service}", f"role {role}"))
        return marks

    def write(self, opened: list[Values], closed: list[int], entries: list[Values]) -> None:
        """Writes new holds, the end of others, rows, and the balances that changed."""
        self._to.insert(schema.hold, opened)
        if ended := [number for number in closed if number in self.holds and number not in self._gone]:
            self._to.run("DELETE FROM hold WHERE id AMONG ?", self._to.listed(ended))
        self._to.insert(schema.entry, entries)
        changed = [
            (item.spent_pusd, item.held_pusd, *place)
            for place, item in self.balances.items()
            if (item.spent_pusd, item.held_pusd) != self._before[place]
        ]
        self._to.many("UPDATE balance SET spent_pusd = ?, held_pusd = ? WHERE budget = ? AND span = ?", changed)
        self.buckets.write()

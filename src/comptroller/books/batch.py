"""Many postings in one transaction: load the rows they concern, decide each in order, write all results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, Select, Table, and_, bindparam, delete, or_, select, tuple_
from sqlalchemy.dialects import postgresql, sqlite

from comptroller.books import schema
from comptroller.books.budgets import BudgetBalance, Place, SpendBudget, join_places, split_places
from comptroller.books.chain import link, number_of
from comptroller.books.daily import DAY_US, DailySumChanges
from comptroller.books.postings import (
    CorrectionPosting,
    LossPosting,
    Posting,
    ReleasePosting,
    ReservationPosting,
    SettlementPosting,
    Values,
    check,
    entry_columns,
    hold_columns,
    kind_of,
    receipt_of,
)
from comptroller.costs.rating import CallReceipt
from comptroller.errors import BudgetExceededError, DuplicateCallError, InputError
from comptroller.facts.prices import ProviderPrice
from comptroller.work.call import Call

CHUNK = 500
"""Ids per query. Builds of SQLite before 3.32 accept 999 parameters, so twice as many would fail there.

From 250 to 2,000 the CPU time per booked row varies within the noise, 107 to 141 us (measured).
"""


@dataclass(slots=True)
class LedgerSegmentCursor:
    """Position of a writer in its segment: rows written, hash of the last, latest time (microseconds since 1970)."""

    segment: int
    rows: int
    head: bytes
    at_us: int


@dataclass(frozen=True, slots=True)
class LedgerIdCache:
    """Ids of accounts and prices that are known to be stored."""

    accounts: set[int] = field(default_factory=set)
    prices: set[str] = field(default_factory=set)


class PostingBatch:
    """One transaction of postings: `decide` each in order, then `write` the results.

    accounts, prices: those to store, new to this ledger.
    """

    def __init__(
        self, connection: Connection, pen: LedgerSegmentCursor, postings: Sequence[Posting], known: LedgerIdCache
    ) -> None:
        self._to, self.pen = connection, pen
        ids = sorted({posting.call.call for posting in postings})
        self._holds = {row["id"]: row for row in self._rows(_HOLDS, ids)}
        self._booked = self._rows_in_force(ids)
        self._budgets = self._load_budgets(postings)
        self._balances = self._lock_balances(postings)
        self._seen = self._load_marks(postings)
        self._fresh: dict[int, Values] = {}
        self._closed: list[int] = []
        self._new: list[Values] = []
        self._known = known
        self._sums = DailySumChanges()
        self.accounts: dict[int, Values] = {}
        self.prices: dict[str, ProviderPrice] = {}

    def _rows(self, query: Select[Any], ids: Sequence[int]) -> list[Values]:
        rows: list[Values] = []
        for start in range(0, len(ids), CHUNK):
            rows += map(dict, self._to.execute(query, {"ids": ids[start : start + CHUNK]}).mappings())
        return rows

    def _rows_in_force(self, ids: Sequence[int]) -> dict[int, Values]:
        """Call id -> its row in force: the last correction, or the row itself."""
        in_force = {row["id"]: row for row in self._rows(_ENTRIES, ids)}
        last = dict(in_force)
        while last:
            by_id = {row["id"]: call for call, row in last.items()}
            newer = self._rows(_CORRECTIONS, list(by_id))
            last = {by_id[row["corrects"]]: row for row in newer}
            in_force |= last
        return in_force

    def _load_budgets(self, postings: Sequence[Posting]) -> dict[tuple[str, str], list[SpendBudget]]:
        """(scope, name) -> budgets that new holds count against."""
        calls = [posting.call for posting in postings if isinstance(posting, ReservationPosting)]
        budgets: dict[tuple[str, str], list[SpendBudget]] = {}
        if not calls:
            return budgets
        names = {"keys": sorted({call.key for call in calls} - {""})}
        names["projects"] = sorted({call.project for call in calls} - {""})
        for row in self._to.execute(_BUDGETS, names):
            budgets.setdefault((row.scope, row.name), []).append(_budget(row))
        return budgets

    def _budgets_of(self, call: Call) -> list[SpendBudget]:
        scopes = (("all", ""), ("key", call.key), ("project", call.project))
        return [budget for scope in scopes for budget in self._budgets.get(scope, ())]

    def _places(self, call: Call) -> list[Place]:
        return [(budget.id, budget.span(self.pen.at_us)) for budget in self._budgets_of(call)]

    def _lock_balances(self, postings: Sequence[Posting]) -> dict[Place, BudgetBalance]:
        """The balances that the postings change, locked until the end of the transaction."""
        new = {place for p in postings if isinstance(p, ReservationPosting) for place in self._places(p.call)}
        self._add_missing(schema.balance, [_empty_balance(place) for place in sorted(new)])
        wanted = new | {
            p for row in (*self._holds.values(), *self._booked.values()) for p in split_places(row["budgets"])
        }
        if not wanted:
            return {}
        places = tuple_(schema.balance.c.budget, schema.balance.c.span)
        query = (
            select(schema.balance, schema.budget)
            .join(schema.budget, schema.budget.c.id == schema.balance.c.budget)
            .where(places.in_(sorted(wanted)))
            .order_by(schema.balance.c.budget, schema.balance.c.span)
            .with_for_update(of=schema.balance)
        )
        rows = self._to.execute(query).all()
        return {
            (row.budget, row.span): BudgetBalance(_budget(row), row.span, row.spent_pusd, row.held_pusd) for row in rows
        }

    def _balances_of(self, row: Values) -> list[BudgetBalance]:
        """The balances that a hold or row counts in, without those of budgets removed since."""
        return [self._balances[place] for place in split_places(row["budgets"]) if place in self._balances]

    def _add_missing(self, table: Table, rows: list[Values]) -> None:
        if not rows:
            return
        insert = postgresql.insert if self._to.dialect.name == "postgresql" else sqlite.insert
        self._to.execute(insert(table).on_conflict_do_nothing(), rows)

    def decide(self, posting: Posting) -> int:
        """Decides a posting; returns the picodollars it holds or charges.

        Raises:
            BudgetExceededError, DuplicateCallError, InputError: the posting is refused; nothing of it is written.
        """
        check(posting)
        if isinstance(posting, ReservationPosting):
            return self._reserve(posting)
        if isinstance(posting, CorrectionPosting):
            return self._correct(posting)
        return self._end(posting)

    def _reserve(self, posting: ReservationPosting) -> int:
        call, quote = posting.call, posting.quote
        if call.call in self._booked:
            row = self._booked[call.call]
            raise DuplicateCallError(f"call {call.call} was booked before, as {row['kind']}: {row['finish'] or 'open'}")
        if open_hold := self._fresh.get(call.call) or self._holds.get(call.call):
            return open_hold["worst_pusd"] or 0
        places = self._places(call)
        self._hold(places, quote.worst_pusd)
        self._fresh[call.call] = {
            **hold_columns(call, quote),
            "segment": self.pen.segment,
            "at_us": self.pen.at_us,
            "account": self._account(call, quote.plan),
            "budgets": join_places(places),
        }
        return quote.worst_pusd or 0

    def _hold(self, places: list[Place], worst_pusd: int | None) -> None:
        for place in places:
            balance = self._balances[place]
            if worst_pusd is None or worst_pusd > balance.left_pusd:
                raise BudgetExceededError(
                    str(balance.budget), balance.budget.limit_pusd, balance.spent_pusd, balance.held_pusd, worst_pusd
                )
        for place in places:
            self._balances[place].held_pusd += worst_pusd or 0

    def _account(self, call: Call, plan: str) -> int:
        words = (call.role, call.strategy, call.service, call.key, call.project, plan)
        number = number_of(*words)
        names = ("role", "strategy", "service", "key", "project", "plan")
        if number not in self._known.accounts:
            self.accounts[number] = {"id": number, **dict(zip(names, words, strict=True))}
        return number

    def _end(self, posting: SettlementPosting | ReleasePosting | LossPosting) -> int:
        call, booked = posting.call, self._booked.get(posting.call.call)
        hold = self._fresh.get(call.call) or self._holds.get(call.call)
        if hold is None and booked is None:
            raise InputError(f"call {call.call} was never reserved")
        if hold is None or booked is not None:
            assert booked is not None
            late = booked["kind"] == "lost" and not isinstance(posting, LossPosting)
            return self._settle_lost(posting) if late else int(booked["charged_pusd"])
        receipt = receipt_of(posting)
        worst = hold["worst_pusd"] or 0
        charged = worst if receipt.pusd is None else receipt.pusd
        for balance in self._balances_of(hold):
            balance.held_pusd -= worst
            balance.spent_pusd += charged
        columns = {name: hold[name] for name in ("account", "estimate_pusd", "budgets")}
        columns["firsts"] = self._firsts(call)
        self._append(call, receipt, columns | {"kind": kind_of(posting), "charged_pusd": charged})
        self._closed.append(call.call)
        return charged

    def _firsts(self, call: Call) -> int:
        """Bits of `schema.FIRSTS` of a call, by the calls of its request that are booked already."""
        seen = self._seen.setdefault(call.request, set())
        marks = ("", f"service {call.service}", f"role {call.role}")
        bits = sum((mark not in seen) << bit for bit, mark in enumerate(marks))
        seen.update(marks)
        return bits

    def _load_marks(self, postings: Sequence[Posting]) -> dict[int, set[str]]:
        """Request -> marks of its services and roles that are booked already, as in `_firsts`."""
        requests = sorted({p.call.request for p in postings if not isinstance(p, ReservationPosting)})
        seen: dict[int, set[str]] = {}
        for row in self._rows(_MARKS, requests):
            marks = ("", f"service {row['service']}", f"role {row['role']}")
            seen.setdefault(row["request"], set()).update(marks)
        return seen

    def _settle_lost(self, posting: SettlementPosting | ReleasePosting | LossPosting) -> int:
        """Corrects the row of a call that was booked as lost but ended after all."""
        call = posting.call
        correction_id = number_of("late", str(call.call))
        return self._correct(
            CorrectionPosting(correction_id, call, receipt_of(posting), "ended after it was given up for lost")
        )

    def _correct(self, posting: CorrectionPosting) -> int:
        call, receipt = posting.call, posting.receipt
        booked = self._booked.get(call.call)
        if booked is None:
            raise InputError(f"call {call.call} is not booked; only booked calls can be corrected")
        charged = booked["charged_pusd"] if receipt.pusd is None else receipt.pusd
        for balance in self._balances_of(booked):
            balance.spent_pusd += charged - booked["charged_pusd"]
        columns = {name: booked[name] for name in ("account", "day", "firsts", "estimate_pusd", "budgets")}
        columns |= {"kind": "correction", "corrects": booked["id"], "id": posting.id, "charged_pusd": charged}
        note = "; ".join(filter(None, (posting.reason, receipt.note)))
        self._sums.add(booked, -1)
        self._append(call, receipt, columns | {"note": note})
        return int(charged)

    def _append(self, call: Call, receipt: CallReceipt, columns: Values) -> None:
        """Appends a row with its hash to this writer's segment. columns: those not derived from call and receipt."""
        pen = self.pen
        row = {
            **entry_columns(call, receipt),
            "segment": pen.segment,
            "number": pen.rows,
            "at_us": pen.at_us,
            "day": pen.at_us // DAY_US,
            **columns,
        }
        row["hash"] = pen.head = link(pen.head, row)
        pen.rows += 1
        if receipt.price is not None and receipt.price.id not in self._known.prices:
            self.prices[receipt.price.id] = receipt.price
        self._new.append(row)
        self._sums.add(row, 1)
        self._booked[call.call] = row

    def write(self) -> None:
        """Writes holds, rows, daily sums, balances and the position of the writer."""
        self._add_missing(schema.account, list(self.accounts.values()))
        prices = [{"id": price.id, "document": price.document} for price in self.prices.values()]
        self._add_missing(schema.price, prices)
        closed = set(self._closed)
        if opened := [row for number, row in self._fresh.items() if number not in closed]:
            schema.insert(self._to, schema.hold, opened)
        if ended := [number for number in self._closed if number in self._holds]:
            for start in range(0, len(ended), CHUNK):
                self._to.execute(_DELETE_HOLDS, {"ids": ended[start : start + CHUNK]})
        if self._new:
            schema.insert(self._to, schema.entry, self._new)
        self._sums.write(self._to)
        if self._balances:
            self._to.execute(_UPDATE_BALANCE, [_balance_values(balance) for balance in self._balances.values()])
        pen = self.pen
        position = {"of": pen.segment, "written": pen.rows, "last": pen.head, "at": pen.at_us}
        self._to.execute(_UPDATE_SEGMENT, position)


_IDS: BindParameter[Any] = bindparam("ids", expanding=True)
# another process that ends the same call waits, then finds it booked
_HOLDS = select(schema.hold).where(schema.hold.c.id.in_(_IDS)).order_by(schema.hold.c.id).with_for_update()
_ENTRIES = select(schema.entry).where(schema.entry.c.id.in_(_IDS)).order_by(schema.entry.c.id)
_CORRECTIONS = select(schema.entry).where(schema.entry.c.corrects.in_(_IDS)).order_by(schema.entry.c.corrects)
_DELETE_HOLDS = delete(schema.hold).where(schema.hold.c.id.in_(_IDS))
_BUDGETS = (
    select(schema.budget)
    .where(
        or_(
            schema.budget.c.scope == "all",
            and_(schema.budget.c.scope == "key", schema.budget.c.name.in_(bindparam("keys", expanding=True))),
            and_(schema.budget.c.scope == "project", schema.budget.c.name.in_(bindparam("projects", expanding=True))),
        )
    )
    .order_by(schema.budget.c.id)
)
_MARKS = (
    select(schema.entry.c.request, schema.account.c.service, schema.account.c.role)
    .join(schema.account, schema.account.c.id == schema.entry.c.account)
    .where(schema.entry.c.request.in_(_IDS))
    .distinct()
)
_UPDATE_SEGMENT = (
    schema.segment.update()
    .where(schema.segment.c.id == bindparam("of"))
    .values(rows=bindparam("written"), head=bindparam("last"), at_us=bindparam("at"))
)
_UPDATE_BALANCE = (
    schema.balance.update()
    .where(schema.balance.c.budget == bindparam("of"), schema.balance.c.span == bindparam("within"))
    .values(spent_pusd=bindparam("spent"), held_pusd=bindparam("held"))
)


def _empty_balance(place: Place) -> Values:
    return {"budget": place[0], "span": place[1], "spent_pusd": 0, "held_pusd": 0}


def _balance_values(balance: BudgetBalance) -> Values:
    return {"of": balance.budget.id, "within": balance.span, "spent": balance.spent_pusd, "held": balance.held_pusd}


def _budget(row: Row[Any]) -> SpendBudget:
    return SpendBudget(row.scope, row.name, row.period, row.limit_pusd, row.id)

"""Many postings in one transaction: load the rows they concern, decide each in order, write all results."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from comptroller.books import schema
from comptroller.books.batch_rows import BatchRows, LedgerSegmentCursor
from comptroller.books.budgets import BudgetBalance, Place, join_places, split_places
from comptroller.books.chain import account_number, link, number_of
from comptroller.books.daily import DAY_US, DailySumChanges
from comptroller.books.memory import WriterMemory
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
from comptroller.books.rates import RateExceededError
from comptroller.books.statements import PreparedSql
from comptroller.costs.rating import CallReceipt
from comptroller.errors import BudgetExceededError, ComptrollerError, DuplicateCallError, InputError
from comptroller.facts.prices import ProviderPrice
from comptroller.work.call import Call

Outcome = int | ComptrollerError


class PostingBatch:
    """One transaction of postings: `outcomes` decides each in order and writes the results; once it is committed,
    `remember` keeps what the writer knows by it.
    """

    def __init__(self, connection: Connection, pen: LedgerSegmentCursor, memory: WriterMemory) -> None:
        self._to, self.pen, self._memory = PreparedSql(connection), pen, memory
        self._rows: BatchRows
        self._fresh: dict[int, Values] = {}
        self._closed: list[int] = []
        self._new: list[Values] = []
        self._sums = DailySumChanges()
        self._accounts: dict[int, Values] = {}
        self._prices: dict[str, ProviderPrice] = {}

    def outcomes(self, postings: Sequence[Posting]) -> list[Outcome]:
        """For each posting the picodollars held or charged, or why it is refused; nothing of that is written."""
        unfit = [_refusal(posting) for posting in postings]
        fit = [posting for posting, refusal in zip(postings, unfit, strict=True) if refusal is None]
        self._rows = BatchRows(self._to, self._memory, fit, self.pen)
        found = [refusal or self._outcome(posting) for posting, refusal in zip(postings, unfit, strict=True)]
        self._write()
        return found

    def _outcome(self, posting: Posting) -> Outcome:
        try:
            return self._decide(posting)
        except (BudgetExceededError, DuplicateCallError, InputError, RateExceededError) as refusal:
            return refusal

    def _balances_of(self, row: Values) -> list[BudgetBalance]:
        """The balances that a hold or row counts in, without those of budgets removed since."""
        balances = self._rows.balances
        return [balances[place] for place in split_places(row["budgets"]) if place in balances]

    def _decide(self, posting: Posting) -> int:
        if isinstance(posting, ReservationPosting):
            return self._reserve(posting)
        if isinstance(posting, CorrectionPosting):
            return self._correct(posting)
        return self._end(posting)

    def _reserve(self, posting: ReservationPosting) -> int:
        call, quote = posting.call, posting.quote
        if call.call in self._rows.booked:
            row = self._rows.booked[call.call]
            raise DuplicateCallError(f"call {call.call} was booked before, as {row['kind']}: {row['finish'] or 'open'}")
        if open_hold := self._fresh.get(call.call) or self._rows.holds.get(call.call):
            return open_hold["worst_pusd"] or 0
        places = self._rows.places(posting)
        self._rows.buckets.require(quote.claims)
        self._hold(places, quote.worst_pusd)
        self._rows.buckets.take(quote.claims)
        self._fresh[call.call] = {
            **hold_columns(call, quote),
            "segment": self.pen.segment,
            "at_us": self.pen.at_us,
            "account": self._account(posting),
            "budgets": join_places(places),
        }
        return quote.worst_pusd or 0

    def _hold(self, places: list[Place], worst_pusd: int | None) -> None:
        for place in places:
            balance = self._rows.balances[place]
            if worst_pusd is None or worst_pusd > balance.left_pusd:
                raise BudgetExceededError(
                    str(balance.budget), balance.budget.limit_pusd, balance.spent_pusd, balance.held_pusd, worst_pusd
                )
        for place in places:
            self._rows.balances[place].held_pusd += worst_pusd or 0

    def _account(self, posting: ReservationPosting) -> int:
        call, quote = posting.call, posting.quote
        words = (call.role, call.strategy, call.service, call.key, call.project, quote.plan, quote.user, quote.tags)
        number = account_number(words)
        if number not in self._memory.accounts:
            self._accounts[number] = {"id": number, **dict(zip(schema.ACCOUNT, words, strict=True))}
        return number

    def _end(self, posting: SettlementPosting | ReleasePosting | LossPosting) -> int:
        call, booked = posting.call, self._rows.booked.get(posting.call.call)
        hold = self._fresh.get(call.call) or self._rows.holds.get(call.call)
        if hold is None and booked is None:
            raise InputError(f"call {call.call} was never reserved")
        if hold is None or booked is not None:
            assert booked is not None
            late = booked["kind"] == "lost" and not isinstance(posting, LossPosting)
            return self._settle_lost(posting) if late else int(booked["charged_pusd"])
        self._rows.buckets.take(posting.claims)
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
        seen = self._rows.marks.setdefault(call.request, set())
        marks = ("", f"service {call.service}", f"role {call.role}")
        bits = sum((mark not in seen) << bit for bit, mark in enumerate(marks))
        seen.update(marks)
        return bits

    def _settle_lost(self, posting: SettlementPosting | ReleasePosting | LossPosting) -> int:
        """Corrects the row of a call that was booked as lost but ended after all."""
        call = posting.call
        correction_id = number_of("late", str(call.call))
        return self._correct(
            CorrectionPosting(correction_id, call, receipt_of(posting), "ended after it was given up for lost")
        )

    def _correct(self, posting: CorrectionPosting) -> int:
        call, receipt = posting.call, posting.receipt
        booked = self._rows.booked.get(call.call)
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
        if receipt.price is not None and receipt.price.id not in self._memory.prices:
            self._prices[receipt.price.id] = receipt.price
        self._new.append(row)
        self._sums.add(row, 1)
        self._rows.booked[call.call] = row

    def _write(self) -> None:
        """Writes holds, rows, daily sums, balances and the position of the writer."""
        to, pen, closed = self._to, self.pen, set(self._closed)
        to.insert(schema.account, list(self._accounts.values()), _ONCE)
        prices = [{"id": price.id, "document": price.document} for price in self._prices.values()]
        to.insert(schema.price, prices, _ONCE)
        opened = [row for number, row in self._fresh.items() if number not in closed]
        self._rows.write(opened, self._closed, self._new)
        self._sums.write(to)
        to.run(
            "UPDATE segment SET rows = ?, head = ?, at_us = ? WHERE id = ?", pen.rows, pen.head, pen.at_us, pen.segment
        )

    def remember(self) -> None:
        """Keeps what the writer knows by what was committed."""
        memory = self._memory
        memory.accounts.update(self._accounts)
        memory.prices.update(self._prices)
        memory.holds.update(self._fresh)
        for number in self._closed:
            memory.holds.pop(number, None)
        memory.mark(self._rows.marks)
        memory.used((*self._fresh, *self._rows.marks))


_ONCE = "ON CONFLICT DO NOTHING"


def _refusal(posting: Posting) -> InputError | None:
    """Why the books cannot keep a posting; None where they can."""
    try:
        check(posting)
    except InputError as refusal:
        return refusal
    return None

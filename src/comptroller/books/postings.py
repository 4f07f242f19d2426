"""Postings to the ledger, and the conversion between calls and rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import isfinite, nan
from operator import attrgetter
from typing import Any

from comptroller.books.rates import RateClaim
from comptroller.costs.carbon import CallEnergy
from comptroller.costs.rating import CallReceipt, TokenUsage
from comptroller.errors import InputError
from comptroller.work.call import LABELS, Call


@dataclass(frozen=True, slots=True)
class CallQuote:
    """Cost of a call before it is made, in picodollars.

    worst_pusd: the most it may cost, None where no price is known.  estimate_pusd: the expected cost.  plan: digest of
    the plan that the call belongs to.  user: whom the client serves with it.  tags: what it is for, as `tags_text`
    makes it.  claims: what it may take of limits per minute.
    """

    worst_pusd: int | None
    estimate_pusd: int | None = None
    plan: str = ""
    user: str = ""
    tags: str = ""
    claims: tuple[RateClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class ReservationPosting:
    """A call that is about to be made."""

    call: Call
    quote: CallQuote

    @property
    def claims(self) -> tuple[RateClaim, ...]:
        """What it takes of limits per minute."""
        return self.quote.claims

    @property
    def scopes(self) -> list[tuple[str, str]]:
        """Scope and name of the budgets that it counts against."""
        call, quote = self.call, self.quote
        named = (("key", call.key), ("project", call.project), ("model", call.service), ("user", quote.user))
        tags = [("tag", tag) for tag in quote.tags.split(";")] if quote.tags else []
        return [("all", ""), *(item for item in named if item[1]), *tags]


@dataclass(frozen=True, slots=True)
class SettlementPosting:
    """A call that ended, with its receipt. claims: what it took beyond its hold's, as a rule a negative amount."""

    call: Call
    receipt: CallReceipt
    claims: tuple[RateClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class ReleasePosting:
    """A call that ended and cost nothing. claims: as of `SettlementPosting`."""

    call: Call
    reason: str = ""
    claims: tuple[RateClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class LossPosting:
    """An open call of a dead writer. It may have been billed, so it is charged at its worst case."""

    call: Call
    claims: tuple[RateClaim, ...] = ()


@dataclass(frozen=True, slots=True)
class CorrectionPosting:
    """Corrected figures of a booked call: a new row with its own id that refers to the last row of the call."""

    id: int
    call: Call
    receipt: CallReceipt
    reason: str = ""
    claims: tuple[RateClaim, ...] = ()


Posting = ReservationPosting | SettlementPosting | ReleasePosting | LossPosting | CorrectionPosting
Values = dict[str, Any]


_COUNTS = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
_COPIED = ("request", "parent", "attempt", "session", "preemptions", "question", "finish", "source")
_TIMES = ("arrival_s", "started_s", "first_s", "last_s", "wait_s", "device_s")
_ENERGY = {"j_prefill": "prefill_j", "j_decode": "decode_j"} | {n: n for n in ("low_j", "high_j", "flops", "gco2e")}
_UNSTORABLE = {"\0", *map(chr, range(0xD800, 0xE000))}
"""Characters that PostgreSQL or UTF-8 cannot store: NUL and surrogates."""
_TEXTS = (*LABELS, "finish", "source")
_NUMBERS = ("call", "request", "parent", "attempt", "session", "preemptions", *_COUNTS)
_copied, _times, _counts, _texts, _numbers = (
    attrgetter(*names) for names in (_COPIED, _TIMES, _COUNTS, _TEXTS, _NUMBERS)
)
_energy = attrgetter(*_ENERGY.values())
_NOTE = 500
"""Characters of a reason that are kept: more than any of ours, less than an upstream might fill a disk with."""
_LIMIT = 1 << 63
"""Ids, counts and amounts must be below: both databases store signed 64-bit integers."""


def entry_columns(call: Call, receipt: CallReceipt) -> Values:
    """Columns of a row that come from the call and its receipt; unknown values are None."""
    row: Values = dict(zip(_COPIED, _copied(call), strict=True))
    row.update(zip(_TIMES, map(_real, _times(call)), strict=True))
    row.update(zip(_ENERGY, map(_real, _energy(receipt.energy)), strict=True))
    row.update(zip(_COUNTS, (count if count >= 0 else None for count in _counts(call)), strict=True))
    row["id"], row["corrects"] = call.call, None
    row["energy"], row["pusd"] = receipt.energy.source, receipt.pusd
    row["price"] = receipt.price.id if receipt.price else ""
    row["extra"], row["note"] = receipt.extra, receipt.note
    return row


def call_of(row: Values) -> Call:
    """The call of a row with the names of its account; nulls become the unknown value of their field."""
    values: Values = {name: row[name] for name in (*_COPIED, "role", "strategy", "service", "key", "project")}
    values |= {name: nan if row[name] is None else row[name] for name in _TIMES}
    values |= {name: -1 if row[name] is None else row[name] for name in _COUNTS}
    return Call(call=row["id"], **values)


def energy_of(row: Values) -> CallEnergy:
    """The energy of a row; nulls become NaN."""
    values = {attribute: nan if row[name] is None else row[name] for name, attribute in _ENERGY.items()}
    return CallEnergy(**values, source=row["energy"])


def usage_of(row: Values) -> TokenUsage | None:
    """The token usage of a row; None where a count is unknown."""
    if any(row[name] is None for name in _COUNTS):
        return None
    return TokenUsage.of_call({name: row[name] for name in _COUNTS}, row["extra"])


def hold_columns(call: Call, quote: CallQuote) -> Values:
    """Columns of a hold that come from the call and its quote."""
    names = ("request", "parent", "attempt", "question")
    return {
        "id": call.call,
        **{name: getattr(call, name) for name in names},
        "arrival_s": _real(call.arrival_s),
        "worst_pusd": quote.worst_pusd,
        "estimate_pusd": quote.estimate_pusd,
    }


def lost_calls(holds: Iterable[Values]) -> list[LossPosting]:
    """Postings that book the calls of holds as lost; their usage is unknown."""
    unknown: dict[str, Any] = dict.fromkeys(_COUNTS, -1)
    names = ("request", "parent", "attempt", "question")
    return [
        LossPosting(
            Call(
                call=row["id"],
                arrival_s=nan if row["arrival_s"] is None else row["arrival_s"],
                finish="failed",
                **{name: row[name] for name in names},
                **unknown,
            )
        )
        for row in holds
    ]


def receipt_of(posting: SettlementPosting | ReleasePosting | LossPosting) -> CallReceipt:
    """The receipt of the posting that ends a call."""
    if isinstance(posting, SettlementPosting):
        return posting.receipt
    if isinstance(posting, ReleasePosting):
        return CallReceipt(0, note=posting.reason)
    return CallReceipt.unknown("its writer died while the call was open")


def kind_of(posting: SettlementPosting | ReleasePosting | LossPosting) -> str:
    """The kind of the row that ends a call: settled, released or lost."""
    return {SettlementPosting: "settled", ReleasePosting: "released", LossPosting: "lost"}[type(posting)]


def kept_posting(posting: SettlementPosting | ReleasePosting) -> SettlementPosting | ReleasePosting:
    """The end of a call as the books can keep it: characters that cannot be stored are replaced, and figures that
    cannot be are unknown, with the reason, so that the worst case counts. A settlement is never refused for what
    somebody else said."""
    if isinstance(posting, ReleasePosting):
        posting = replace(posting, reason=_clean(posting.reason))
    else:
        receipt = posting.receipt
        posting = replace(posting, receipt=replace(receipt, note=_clean(receipt.note), extra=_clean(receipt.extra)))
    try:
        check(posting)
    except InputError as error:
        return unknown_settlement(posting, str(error))
    return posting


def unknown_settlement(posting: SettlementPosting | ReleasePosting, why: str) -> SettlementPosting:
    """The settlement of a call of which nothing is kept but that it ended: its worst case counts."""
    unknown: dict[str, Any] = dict.fromkeys(_COUNTS, -1) | {"usd": nan, "source": ""}
    note = _clean(f"booked as unknown: {why}")[:_NOTE]
    return SettlementPosting(replace(posting.call, **unknown), CallReceipt.unknown(note), posting.claims)


def _clean(text: str) -> str:
    if text.isprintable():
        return text
    return "".join("\ufffd" if letter in _UNSTORABLE else letter for letter in text)


def check(posting: Posting) -> None:
    """Refuses values that the database cannot store, before they fail the whole transaction.

    Raises:
        InputError: a text, id, count or amount cannot be stored; names it.
    """
    call = posting.call
    texts: tuple[str, ...] = _texts(call)
    money: tuple[int | None, ...] = ()
    if isinstance(posting, ReservationPosting):
        texts += (posting.quote.plan, posting.quote.user, posting.quote.tags)
        money = (posting.quote.worst_pusd, posting.quote.estimate_pusd)
    elif isinstance(posting, SettlementPosting | CorrectionPosting):
        receipt = posting.receipt
        texts += (receipt.note, receipt.extra, receipt.energy.source)
        money = (receipt.pusd,)
    if isinstance(posting, ReleasePosting | CorrectionPosting):
        texts += (posting.reason,)
    for text in texts:
        if not text.isprintable() and (set(text) & _UNSTORABLE):
            raise InputError(f"call {call.call}: {text!r} cannot be kept as text")
    for number in _numbers(call):
        if type(number) is not int or not -1 <= number < _LIMIT:
            raise InputError(f"call {call.call}: {number!r} is no id or count that can be kept")
    for amount in money:
        if amount is not None and (type(amount) is not int or not 0 <= amount < _LIMIT):
            raise InputError(f"call {call.call}: {amount!r} is no amount of picodollars that can be kept")


def _real(value: float) -> float | None:
    return float(value) if isfinite(value) else None

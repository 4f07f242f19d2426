"""Rerating of history, with corrected prices or for calls of unknown price. Old and new figures are both kept."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from sqlalchemy import select

from comptroller.books import schema
from comptroller.books.ledger import CallLedger, CorrectionPosting
from comptroller.books.postings import call_of, energy_of, usage_of
from comptroller.books.query import EVERYTHING, LedgerScope, rows
from comptroller.costs.rating import rate
from comptroller.errors import UnsupportedError
from comptroller.facts.prices import STANDARD, PriceBook, ProviderPrice

CHUNK = 500
"""Rows corrected in one transaction: it bounds memory and the wait of other writers, which doubles with it."""


@dataclass(slots=True)
class RerateReport:
    """Rows read and changed, picodollars of the changed rows before and after, and reason -> calls still unpriced."""

    read: int = 0
    changed: int = 0
    before_pusd: int = 0
    after_pusd: int = 0
    unpriced: Counter[str] = field(default_factory=Counter)


def rerate(ledger: CallLedger, book: PriceBook, scope: LedgerScope = EVERYTHING, dry: bool = False) -> RerateReport:
    """Prices every row in force again, at the price in force when it was booked, and posts corrections of differences.

    Rows of own hardware, which have dollars but no price, are unchanged. dry: report only, post nothing.
    """
    with schema.refusals("rerate"), ledger.engine.connect() as connection:
        charged = {row.id: ProviderPrice.parse(row.document) for row in connection.execute(select(schema.price))}
    report, in_force = RerateReport(), rows(ledger, scope)
    while chunk := list(islice(in_force, CHUNK)):
        postings = (_correction(ledger, row, (book, charged), report) for row in chunk)
        corrections = [posting for posting in postings if posting]
        if corrections and not dry:
            ledger.apply(corrections)
    return report


def _correction(
    ledger: CallLedger, row: dict[str, Any], prices: tuple[PriceBook, dict[str, ProviderPrice]], report: RerateReport
) -> CorrectionPosting | None:
    """The correction of a row, None where nothing changes. prices: the book, and price id -> price charged so far."""
    book, charged = prices
    report.read += 1
    usage, old = usage_of(row), charged.get(row["price"])
    if usage is None or (old is None and row["pusd"] is not None):
        return None
    at, tier = datetime.fromtimestamp(row["at_us"] / 1e6, UTC), old.tier if old else STANDARD
    try:
        price = book.price(row["service"], at, tier)
        receipt = rate(usage, price, energy_of(row))
    except UnsupportedError as reason:
        report.unpriced[str(reason)] += 1
        return None
    if receipt.pusd == row["pusd"]:
        return None
    report.changed += 1
    report.before_pusd += row["pusd"] or 0
    report.after_pusd += receipt.pusd or 0
    was = old.source if old else "no price"
    return CorrectionPosting(ledger.new_id(), call_of(row), receipt, f"rerated from {was} to {price.source}")

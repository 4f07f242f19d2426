"""History priced again: with prices that were corrected since, or for calls whose price was unknown. Both are kept."""

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


@dataclass(slots=True)
class RerateReport:
    """What changed, in picodollars; why calls have no price still, and how many."""

    read: int = 0
    changed: int = 0
    before_pusd: int = 0
    after_pusd: int = 0
    unpriced: Counter[str] = field(default_factory=Counter)


def rerate(ledger: CallLedger, book: PriceBook, scope: LedgerScope = EVERYTHING, dry: bool = False) -> RerateReport:
    """Price every row in force again, at the price in force when it was booked, and post a correction where it differs.

    Rows of own hardware, which have dollars but no price, stay. dry: only say what would change.
    """
    with schema.refusals("rerate"), ledger.engine.connect() as connection:
        known = {row.id: ProviderPrice.parse(row.document) for row in connection.execute(select(schema.price))}
    found, read = RerateReport(), rows(ledger, scope)
    while chunk := list(islice(read, CHUNK)):
        corrections = [made for row in chunk if (made := _correction(ledger, row, (book, known), found))]
        if corrections and not dry:
            ledger.apply(corrections)
    return found


def _correction(
    ledger: CallLedger, row: dict[str, Any], prices: tuple[PriceBook, dict[str, ProviderPrice]], found: RerateReport
) -> CorrectionPosting | None:
    book, known = prices
    found.read += 1
    usage, old = usage_of(row), known.get(row["price"])
    if usage is None or (old is None and row["pusd"] is not None):
        return None
    at, tier = datetime.fromtimestamp(row["at_us"] / 1e6, UTC), old.tier if old else STANDARD
    try:
        price = book.price(row["service"], at, tier)
        receipt = rate(usage, price, energy_of(row))
    except UnsupportedError as reason:
        found.unpriced[str(reason)] += 1
        return None
    if receipt.pusd == row["pusd"]:
        return None
    found.changed += 1
    found.before_pusd += row["pusd"] or 0
    found.after_pusd += receipt.pusd or 0
    was = old.source if old else "no price"
    return CorrectionPosting(ledger.new_id(), call_of(row), receipt, f"rerated from {was} to {price.source}")

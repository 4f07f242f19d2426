"""Invoices of providers: a plain CSV, or the FOCUS format of the FinOps Foundation."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from comptroller.costs.rating import pusd
from comptroller.errors import RecordError

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "day": ("day", "date", "ChargePeriodStart"),
    "usd": ("usd", "cost", "BilledCost"),
    "model": ("model", "x_Model", "SkuMeter", "ResourceName", "ServiceName"),
    "key": ("key", "x_Key", "SubAccountName"),
    "kind": ("kind", "x_TokenKind", "SkuId"),
    "tokens": ("tokens", "quantity", "ConsumedQuantity"),
}
"""Quantity -> names of its column, in order of preference."""
KINDS = ("cached", "output", "input")
"""Kinds of tokens, searched in this order in the text of an invoice line: cached ones are often called cached input."""
SHOWN = 3
"""Most unreadable rows named in an error, which also gives their number."""


@dataclass(slots=True)
class InvoiceCharge:
    """Amount billed for one day, model and key. tokens: kind -> number, where the invoice gives it."""

    pusd: int = 0
    tokens: dict[str, int] = field(default_factory=dict)


Line = tuple[str, str, str]
"""Day (ISO 8601), model, key; the key is empty where the invoice has none."""


def read_invoice(path: Path) -> dict[Line, InvoiceCharge]:
    """The sums of an invoice by day, model and key.

    Raises:
        RecordError: a column is missing or a cell cannot be read; names the row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(str(path), [(1, str(error))], 1) from error
    names = rows[0].keys() if rows else set()
    column_of = {what: next((name for name in accepted if name in names), "") for what, accepted in COLUMNS.items()}
    missing = [f"{what} ({' or '.join(COLUMNS[what])})" for what in ("day", "usd", "model") if not column_of[what]]
    if missing:
        raise RecordError(path.name, [(1, f"no column for {', '.join(missing)}")], 1)
    charges: dict[Line, InvoiceCharge] = defaultdict(InvoiceCharge)
    bad: list[tuple[int, str]] = []
    for number, row in enumerate(rows, 2):
        try:
            _add(charges, {what: (row.get(name) or "").strip() for what, name in column_of.items()})
        except (ValueError, InvalidOperation) as error:
            bad.append((number, str(error) or "cannot be read"))
    if bad:
        raise RecordError(path.name, bad[:SHOWN], len(bad))
    return dict(charges)


def _add(charges: dict[Line, InvoiceCharge], cells: Mapping[str, str]) -> None:
    """Adds one line of an invoice to the charges."""
    day = datetime.fromisoformat(cells["day"]).date() if len(cells["day"]) > 10 else date.fromisoformat(cells["day"])
    billed = charges[day.isoformat(), cells["model"], cells["key"]]
    amount = Decimal(cells["usd"])
    if not amount.is_finite():
        raise ValueError(f"{cells['usd']} dollars")
    billed.pusd += pusd(amount.quantize(Decimal("1e-12")))
    kind = next((kind for kind in KINDS if kind in cells["kind"].lower()), "")
    if kind and cells["tokens"]:
        billed.tokens[kind] = billed.tokens.get(kind, 0) + int(Decimal(cells["tokens"]))

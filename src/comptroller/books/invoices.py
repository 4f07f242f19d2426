"""Invoices of providers: a CSV of one's own making, or the FOCUS format of the FinOps Foundation."""

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
"""What is read -> the columns it may stand in, the first that is there."""
KINDS = ("input", "cached", "output")


@dataclass(slots=True)
class InvoiceCharge:
    """What an invoice asks for one day, model and key. tokens: by kind, where the invoice says."""

    pusd: int = 0
    tokens: dict[str, int] = field(default_factory=dict)


Line = tuple[str, str, str]
"""Day, model, key; the key is empty where the invoice knows none."""


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
    place = {what: next((name for name in known if name in names), "") for what, known in COLUMNS.items()}
    missing = [f"{what} ({' or '.join(COLUMNS[what])})" for what in ("day", "usd", "model") if not place[what]]
    if missing:
        raise RecordError(path.name, [(1, f"no column for {', '.join(missing)}")], 1)
    found: dict[Line, InvoiceCharge] = defaultdict(InvoiceCharge)
    bad: list[tuple[int, str]] = []
    for number, row in enumerate(rows, 2):
        try:
            _add(found, {what: (row.get(name) or "").strip() for what, name in place.items()})
        except (ValueError, InvalidOperation) as error:
            bad.append((number, str(error) or "cannot be read"))
    if bad:
        raise RecordError(path.name, bad[:3], len(bad))
    return dict(found)


def _add(found: dict[Line, InvoiceCharge], cells: Mapping[str, str]) -> None:
    """Count one line of an invoice."""
    day = datetime.fromisoformat(cells["day"]).date() if len(cells["day"]) > 10 else date.fromisoformat(cells["day"])
    billed = found[day.isoformat(), cells["model"], cells["key"]]
    amount = Decimal(cells["usd"])
    if not amount.is_finite():
        raise ValueError(f"{cells['usd']} dollars")
    billed.pusd += pusd(amount.quantize(Decimal("1e-12")))
    kind = next((kind for kind in ("cached", "output", "input") if kind in cells["kind"].lower()), "")
    if kind and cells["tokens"]:
        billed.tokens[kind] = billed.tokens.get(kind, 0) + int(Decimal(cells["tokens"]))

"""Invoices of providers as CSV: OpenAI, Anthropic, AWS, Azure, the FOCUS format of the FinOps Foundation, or plain."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from pathlib import Path

from comptroller.books.meter_names import aws_line, aws_unit, azure_line
from comptroller.costs.rating import pusd
from comptroller.errors import RecordError
from comptroller.work.tabular import dict_rows

Columns = Mapping[str, tuple[str, ...]]
"""Quantity -> names of its column, in order of preference."""
NEEDED = ("day", "usd", "model")
PLAIN: Columns = {
    "day": ("day", "date", "ChargePeriodStart"),
    "usd": ("usd", "cost", "BilledCost"),
    "model": ("model", "x_Model", "SkuMeter", "ResourceName", "ServiceName"),
    "key": ("key", "x_Key", "SubAccountName"),
    "kind": ("kind", "x_TokenKind", "SkuId"),
    "tokens": ("tokens", "quantity", "ConsumedQuantity"),
    "unit": ("unit",),
    "currency": ("currency", "BillingCurrency"),
    "category": ("category", "ChargeCategory"),
    "product": (),
}
LAYOUTS: Mapping[str, Columns] = {
    # the export of the page "Usage", tab "Spend", in the fields of /v1/organization/costs
    "openai": {
        "day": ("start_time_iso", "start_time"), "usd": ("amount_value",), "currency": ("amount_currency",),
        "model": ("line_item",), "kind": ("line_item",), "tokens": ("quantity",),
    },
    # the fields of /v1/organizations/cost_report, whose amounts are in cents
    "anthropic": {
        "day": ("starting_at",), "usd": ("amount",), "currency": ("currency",), "model": ("model",),
        "kind": ("token_type",), "category": ("cost_type",),
    },
    # Cost and Usage Report 2.0 (Data Exports), docs.aws.amazon.com/cur/latest/userguide/table-dictionary-cur2.html
    "aws": {
        "day": ("line_item_usage_start_date",), "usd": ("line_item_unblended_cost",),
        "currency": ("line_item_currency_code",), "model": ("line_item_usage_type",),
        "kind": ("line_item_usage_type",), "tokens": ("line_item_usage_amount",), "unit": ("pricing_unit",),
        "category": ("line_item_line_item_type",), "product": ("product", "product_product_name"),
    },
    # cost and usage details (Enterprise and Microsoft Customer Agreement)
    "azure": {
        "day": ("Date", "date"), "usd": ("CostInBillingCurrency", "costInBillingCurrency"),
        "currency": ("BillingCurrencyCode", "BillingCurrency", "billingCurrency"), "model": ("MeterName", "meterName"),
        "kind": ("MeterName", "meterName"), "tokens": ("Quantity", "quantity"),
        "unit": ("UnitOfMeasure", "unitOfMeasure"), "category": ("ChargeType", "chargeType"),
        "product": ("MeterSubCategory", "meterSubCategory", "MeterSubcategory"),
    },
    "": PLAIN,
}  # fmt: skip
"""Provider -> columns of its export; the first layout that a file has the needed columns of is its own."""
KINDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("input", ("uncached", "no_cache", "non-cached")),
    ("cache_write", ("cache_creation", "cache_write", "cache write", "cache-write", "cachewrite")),
    ("cached", ("cached", "cache_read", "cache read", "cache-read", "cacheread")),
    ("output", ("output", "completion")),
    ("input", ("input", "prompt")),
)
"""Kinds of tokens, and what names them in an invoice's line; the first that is found counts. Usage types of AWS and
meters of Azure are read by `meter_names`."""
CATEGORIES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("tax", ("tax",)),
    ("credit", ("credit", "refund", "discount", "adjustment")),
)
"""What is no charge for use, by the words of a line's category. All else is use: purchases and fees have a line too."""
CENTS = Decimal("0.01")
UNITS = {"1k": 1000, "1000": 1000, "1m": 10**6, "1000000": 10**6}
"""Beginning of a unit of measure -> tokens in one."""
SHOWN = 3
"""Most unreadable rows named in an error, which also gives their number."""
LATE_DAYS = 7
"""How old the rate of a currency may be: banks publish none on weekends and holidays. At twice it a rate of two weeks
ago would pass, in which currencies move by a percent or more."""


@dataclass(slots=True)
class InvoiceCharge:
    """Amount billed for one day, model and key. tokens: kind -> number, where the invoice gives it.

    pusd: for use.  tax_pusd, credit_pusd: apart, credits negative.  issuer: the layout's provider, empty where unknown.
    """

    pusd: int = 0
    tokens: dict[str, int] = field(default_factory=dict)
    tax_pusd: int = 0
    credit_pusd: int = 0
    issuer: str = ""

    def plus(self, other: InvoiceCharge) -> InvoiceCharge:
        """Both together: lines of one model under several of its names."""
        kinds = self.tokens.keys() | other.tokens.keys()
        tokens = {kind: self.tokens.get(kind, 0) + other.tokens.get(kind, 0) for kind in kinds}
        tax_pusd, credit_pusd = self.tax_pusd + other.tax_pusd, self.credit_pusd + other.credit_pusd
        return InvoiceCharge(self.pusd + other.pusd, tokens, tax_pusd, credit_pusd, self.issuer)


Line = tuple[str, str, str]
"""Day in UTC (ISO 8601), model, key; the key is empty where the invoice has none."""


class CurrencyRates:
    """Dollars per unit of a currency, by day."""

    def __init__(self, rates: Mapping[str, Mapping[date, Decimal]] | None = None) -> None:
        self._rates = {name.upper(): sorted(days.items()) for name, days in (rates or {}).items()}

    @classmethod
    def read(cls, path: Path) -> CurrencyRates:
        """A CSV with the columns day, currency, usd (dollars per unit).

        Raises:
            RecordError: a column is missing or a cell cannot be read.
        """
        rates: dict[str, dict[date, Decimal]] = defaultdict(dict)
        for number, row in enumerate(dict_rows(path), 2):
            try:
                rate = Decimal(row["usd"])
                if not rate.is_finite() or rate <= 0:
                    raise ValueError(f"{rate} is no rate")
                rates[row["currency"]][date.fromisoformat(row["day"])] = rate
            except (KeyError, ValueError, InvalidOperation) as error:
                what = f"{error}; columns are day, currency, usd"
                raise RecordError(path.name, [(number, what)], 1) from error
        if not rates:
            raise RecordError(path.name, [(2, "no rates; columns are day, currency, usd")], 1)
        return cls(rates)

    def usd(self, amount: Decimal, currency: str, day: date) -> Decimal:
        """Dollars of an amount, at the rate of the day, or the last before it.

        Raises:
            ValueError: there is none.
        """
        name = (currency or "USD").upper()
        if name == "USD":
            return amount
        days = self._rates.get(name, [])
        at = bisect_right(days, day, key=lambda item: item[0])
        if not at or (day - days[at - 1][0]).days > LATE_DAYS:
            raise ValueError(f"{name} has no rate for {day}; give --rates FILE with day, currency, usd")
        return amount * days[at - 1][1]


def read_invoice(path: Path, rates: CurrencyRates | None = None) -> dict[Line, InvoiceCharge]:
    """The sums of an invoice by day, model and key, in dollars.

    Raises:
        RecordError: a column is missing or a cell cannot be read; names the row.
    """
    rows = dict_rows(path)
    names = rows[0].keys() if rows else set()
    found = {issuer: _columns(columns, names) for issuer, columns in LAYOUTS.items()}
    issuer = next((issuer for issuer, there in found.items() if all(there[what] for what in NEEDED)), "")
    missing = [f"{what} ({' or '.join(PLAIN[what])})" for what in NEEDED if not found[issuer][what]]
    if missing:
        raise RecordError(path.name, [(1, f"no column for {', '.join(missing)}")], 1)
    charges: dict[Line, InvoiceCharge] = defaultdict(InvoiceCharge)
    bad: list[tuple[int, str]] = []
    for number, row in enumerate(rows, 2):
        cells = {what: (row.get(name) or "").strip() for what, name in found[issuer].items()}
        try:
            _add(charges, cells, issuer, rates or CurrencyRates())
        except (ValueError, InvalidOperation) as error:
            bad.append((number, str(error) or "cannot be read"))
    if bad:
        raise RecordError(path.name, bad[:SHOWN], len(bad))
    return dict(charges)


def _columns(columns: Columns, names: Collection[str]) -> dict[str, str]:
    return {what: next((name for name in columns.get(what, ()) if name in names), "") for what in PLAIN}


def _add(charges: dict[Line, InvoiceCharge], cells: Mapping[str, str], issuer: str, rates: CurrencyRates) -> None:
    """Adds one line of an invoice to the charges."""
    if not cells["usd"] and issuer == "openai":
        return  # a day on which nothing was used has a line without an amount
    day = _day(cells["day"])
    amount = Decimal(cells["usd"])
    if not amount.is_finite():
        raise ValueError(f"{cells['usd']} dollars")
    usd = rates.usd(amount * CENTS if issuer == "anthropic" else amount, cells["currency"], day)
    model, kind = _model_and_kind(cells, issuer)
    charge = charges[day.isoformat(), model, cells["key"]]
    charge.issuer = issuer
    told = pusd(usd.quantize(Decimal("1e-12")))
    category = _first(CATEGORIES, cells["category"])
    if category == "tax":
        charge.tax_pusd += told
    elif category == "credit":
        charge.credit_pusd += told
    else:
        charge.pusd += told
        if kind and cells["tokens"]:
            unit = (issuer == "aws" and aws_unit(cells["kind"])) or _unit(cells["unit"])
            count = int(Decimal(cells["tokens"]) * unit)
            charge.tokens[kind] = charge.tokens.get(kind, 0) + count


def _day(text: str) -> date:
    """The day in UTC of a date, of a moment with its zone, or of seconds since 1970; without a zone it is UTC's."""
    if text.isdigit():
        return datetime.fromtimestamp(int(text), UTC).date()
    if "/" in text:
        return datetime.strptime(text, "%m/%d/%Y").date()
    if len(text) <= len("2026-01-01"):
        return date.fromisoformat(text)
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()


def _first(table: tuple[tuple[str, tuple[str, ...]], ...], text: str) -> str:
    lowered = text.lower()
    return next((name for name, words in table if any(word in lowered for word in words)), "")


def _unit(text: str) -> int:
    return next((size for name, size in UNITS.items() if text.lower().startswith(name)), 1)


def _model_and_kind(cells: Mapping[str, str], issuer: str) -> tuple[str, str]:
    """The model and the kind of tokens of a line; OpenAI, AWS and Azure write both into one name."""
    name = cells["model"]
    if issuer == "aws":
        return aws_line(name, cells["product"])
    if issuer == "azure":
        return azure_line(name, cells["product"])
    return name.partition(",")[0].strip() if issuer == "openai" else name, _first(KINDS, cells["kind"])

"""Reconciliation of estimate, meter and invoice, and decomposition of changes in spend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import permutations
from typing import Any

from sqlalchemy import func, select

from comptroller.books import schema
from comptroller.books.invoices import InvoiceCharge, Line
from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, LedgerScope, LedgerTotals, require_rows, totals
from comptroller.books.schema import account, entry
from comptroller.books.service_names import ServiceNames, model_key, service_names
from comptroller.facts.prices import ProviderPrice

RATED = (
    *(("input", "input_tokens"), ("cached", "cache_read_tokens")),
    *(("cache_write", "cache_write_tokens"), ("output", "output_tokens")),
)
"""Kind of tokens in an invoice -> unit of a price."""
BOOKED = (
    *("pusd", "estimate_pusd", "retry_pusd", "unpriced"),
    *("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens"),
)
"""Sums of the books that an invoice is held against."""
FACTORS = ("volume", "mix", "efficiency", "price")
"""Factors of spend, in the order of `decompose`. Each further factor multiplies the orders to average by its number."""


@dataclass(frozen=True, slots=True)
class ReconciliationLine:
    """Figures of one day, model and key, in picodollars; invoice and its parts are None where it has no such line.

    unpriced: calls whose cost is unknown here but may have been billed.  retry: cost of repeated attempts.
    tokens, caching, price, rest: parts of invoice - meter, which they sum to; None where they cannot be separated.
    tax, credit: of the invoice, beside what it bills for use.
    """

    line: Line
    estimate: int
    meter: int
    invoice: int | None
    unpriced: int
    retry: int
    tokens: int | None = None
    caching: int | None = None
    price: int | None = None
    rest: int | None = None
    tax: int = 0
    credit: int = 0


def reconcile(
    ledger: CallLedger, invoice: Mapping[Line, InvoiceCharge], scope: LedgerScope = EVERYTHING
) -> list[ReconciliationLine]:
    """Estimate, meter and invoice by day and model, and by key where the invoice has keys.

    Services meet the invoice's lines by their provider's name of the model, whatever its date, or by an alias. Those
    that an invoice cannot tell apart are one line. Where it tells who issued it, only that provider's are shown.
    """
    by = ("day", "model", "key") if any(key for _, _, key in invoice) else ("day", "model")
    issuers = {charge.issuer for charge in invoice.values()} - {""}
    labels = InvoiceLabels(service_names(ledger), issuers)
    prices = {labels.of(service): price for service, price in prices_charged(ledger, scope).items()}
    booked: dict[Line, list[LedgerTotals]] = defaultdict(list)
    for item in totals(ledger, by, scope):
        day, model, *key = item.group
        if model and labels.shows(model):  # waits and stops are of no service
            booked[day, labels.of(model), key[0] if key else ""].append(item)
    billed: dict[Line, InvoiceCharge] = {}
    for (day, model, key_name), charge in invoice.items():
        line = (day, labels.of(model), key_name)
        billed[line] = charge.plus(billed[line]) if line in billed else charge
    lines = sorted(booked.keys() | billed.keys())
    return [_reconciliation_line(line, booked.get(line, []), billed.get(line), prices.get(line[1])) for line in lines]


class InvoiceLabels:
    """What books and an invoice both call a model: the service, or all those that the invoice cannot tell apart."""

    def __init__(self, names: Mapping[str, ServiceNames], issuers: Collection[str]) -> None:
        self._names, self._issuers = names, issuers
        services: dict[str, list[str]] = defaultdict(list)
        for name in sorted(filter(self.shows, names)):
            for known in names[name].known_as:
                services[known].append(name)
        self._label = {known: " + ".join(same) for known, same in services.items()}

    def shows(self, service: str) -> bool:
        """Whether a service may stand in the invoice: its provider issued it, or is unknown."""
        provider = self._names[service].provider if service in self._names else ""
        return not self._issuers or not provider or provider in self._issuers

    def of(self, model: str) -> str:
        """The label of a service or of a model of the invoice; itself where nothing is called so."""
        if model in self._names and self.shows(model):
            model = self._names[model].model or model
        return self._label.get(model_key(model), model)


def _reconciliation_line(
    line: Line, booked: Sequence[LedgerTotals], billed: InvoiceCharge | None, price: ProviderPrice | None
) -> ReconciliationLine:
    ours = {name: int(sum(item[name] for item in booked)) for name in BOOKED}
    made = ReconciliationLine(
        line, ours["estimate_pusd"], ours["pusd"], billed.pusd if billed else None, ours["unpriced"], ours["retry_pusd"]
    )
    if billed is None:
        return made
    made = replace(made, tax=billed.tax_pusd, credit=billed.credit_pusd)
    if not booked or price is None or not billed.tokens:
        return replace(made, rest=billed.pusd - ours["pusd"])
    tokens, caching, price_part, rest = _difference_parts(ours, billed, price)
    return replace(made, tokens=tokens, caching=caching, price=price_part, rest=rest)


def _difference_parts(
    ours: Mapping[str, int], billed: InvoiceCharge, price: ProviderPrice
) -> tuple[int, int, int, int]:
    """Parts of invoice - meter in picodollars: tokens, caching, price, rest, at the rates charged here.

    tokens: different numbers of prompt and output tokens.  caching: different shares of the prompt that were cached or
    written to the cache.  price: invoice minus its own tokens at our rates.  rest: our tokens at these rates minus the
    meter (tiers, images, unknown calls).
    """
    rates = {kind: price.rate(unit, 0) for kind, unit in RATED if kind != "cache_write" or unit in price.rates}
    written = rates.get("cache_write", rates["input"])
    theirs = {kind: billed.tokens.get(kind, 0) for kind, _ in RATED}
    more = {
        "prompt": theirs["input"] + theirs["cached"] + theirs["cache_write"] - ours["input_tokens"],
        "output": theirs["output"] - ours["output_tokens"],
        "cached": theirs["cached"] - ours["cached_tokens"],
        "cache_write": theirs["cache_write"] - ours["cache_write_tokens"],
    }
    tokens = round(more["prompt"] * rates["input"] + more["output"] * rates["output"])
    caching = round(
        more["cached"] * (rates["cached"] - rates["input"]) + more["cache_write"] * (written - rates["input"])
    )
    at_our_rates = round(sum(count * rates.get(kind, written) for kind, count in theirs.items()))
    price_part = billed.pusd - at_our_rates
    return tokens, caching, price_part, billed.pusd - ours["pusd"] - tokens - caching - price_part


def prices_charged(ledger: CallLedger, scope: LedgerScope) -> dict[str, ProviderPrice]:
    """Model -> the price at which most of its rows were charged."""
    query = (
        select(account.c.service, entry.c.price, func.count().label("rows"))
        .join_from(entry, account, account.c.id == entry.c.account)
        .where(entry.c.price != "", *scope.limits(entry.c.day))
        .group_by(account.c.service, entry.c.price)
    )
    with schema.refusals("reconcile"), ledger.engine.connect() as connection:
        require_rows(connection, scope)
        counted = sorted(connection.execute(query).all(), key=lambda row: row.rows)
        documents = {row.id: row.document for row in connection.execute(select(schema.price))}
    return {row.service: ProviderPrice.parse(documents[row.price]) for row in counted}


@dataclass(frozen=True, slots=True)
class SpendChange:
    """Decomposition of a change in spend, in picodollars; the four parts sum to the difference exactly.

    volume: number of calls.  mix: their shares by group.  efficiency: tokens per call.  price: dollars per token, which
    includes a different share of dear kinds of tokens.
    """

    before: int
    after: int
    volume: int
    mix: int
    efficiency: int
    price: int


def change(ledger: CallLedger, before: LedgerScope, after: LedgerScope, by: str = "model") -> SpendChange:
    """Decomposes the change of spend between two selections of rows, by group.

    Raises:
        InputError: a name to group by is unknown.
    """
    first, second = (_factors(totals(ledger, [by], scope)) for scope in (before, after))
    return decompose(first, second)


Factors = dict[str, tuple[int, int, int]]
"""Group -> calls, tokens, picodollars."""


def _factors(groups: Sequence[LedgerTotals]) -> Factors:
    """Factors by group. Calls of groups without tokens (images) count as one token each."""
    return {
        item.group[0]: (
            int(item["calls"]),
            int(item["input_tokens"] + item["output_tokens"] or item["calls"]),
            int(item["pusd"]),
        )
        for item in groups
    }


def decompose(before: Factors, after: Factors) -> SpendChange:
    """Shapley values of four factors: spend = calls x share x tokens per call x dollars per token, over groups.

    Each factor's part is the mean effect of changing it over all 24 orders of changing the four, in exact fractions
    (Shorrocks 2013, doi 10.1007/s10888-011-9214-z). A group that is new or gone counts as mix.

    >>> decompose({"a": (10, 1000, 50)}, {"a": (20, 4000, 100)})
    SpendChange(before=50, after=100, volume=54, mix=0, efficiency=54, price=-58)
    """
    groups = sorted(before.keys() | after.keys())
    sides = [_split(side, other, groups) for side, other in ((before, after), (after, before))]
    mean_parts = dict.fromkeys(FACTORS, Fraction(0))
    orders = list(permutations(range(len(FACTORS))))
    for order in orders:
        side_of = [0] * len(FACTORS)
        spent = _spend(sides, side_of)
        for factor in order:
            side_of[factor] = 1
            now = _spend(sides, side_of)
            mean_parts[FACTORS[factor]] += (now - spent) / len(orders)
            spent = now
    total = [sum(item[2] for item in side.values()) for side in (before, after)]
    rounded = {name: round(part) for name, part in mean_parts.items()}
    rounded["price"] += total[1] - total[0] - sum(rounded.values())  # less than two picodollars of rounding
    return SpendChange(*total, **rounded)


def _split(side: Factors, other: Factors, groups: Sequence[str]) -> list[Any]:
    """Calls; by group the share of calls, tokens per call, picodollars per token (the other side's if none)."""
    calls = sum(item[0] for item in side.values())
    none = (0, 0, 0)
    share = [Fraction(side.get(g, none)[0], calls or 1) for g in groups]
    used = [side[g] if side.get(g, none)[0] else other.get(g, none) for g in groups]
    per_call = [Fraction(tokens, count or 1) for count, tokens, _ in used]
    per_token = [Fraction(spent, tokens or 1) for _, tokens, spent in used]
    return [Fraction(calls), share, per_call, per_token]


def _spend(sides: Sequence[Sequence[Any]], side_of: Sequence[int]) -> Fraction:
    """Spend in picodollars with each factor taken from its side, 0 (before) or 1 (after)."""
    calls, share, per_call, per_token = (sides[side][place] for place, side in enumerate(side_of))
    return Fraction(calls * sum(s * t * p for s, t, p in zip(share, per_call, per_token, strict=True)))

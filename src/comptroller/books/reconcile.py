"""Reconciliation: what was estimated, metered and billed, why they differ, and why spend changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import permutations
from typing import Any

from sqlalchemy import func, select

from comptroller.books import schema
from comptroller.books.invoices import InvoiceCharge, Line
from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, LedgerScope, LedgerTotals, totals
from comptroller.books.schema import account, entry
from comptroller.facts.prices import ProviderPrice

FACTORS = ("volume", "mix", "efficiency", "price")


@dataclass(frozen=True, slots=True)
class ReconciliationLine:
    """One day, model and key. Money in picodollars; invoice and differences None where the invoice has no such line.

    unpriced: calls whose cost is unknown here but may have been billed.  retry: what repeated attempts cost.
    tokens, caching, price, rest: parts of invoice - meter; they add up to it.
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


def reconcile(
    ledger: CallLedger, invoice: Mapping[Line, InvoiceCharge], scope: LedgerScope = EVERYTHING
) -> list[ReconciliationLine]:
    """Estimate, meter and invoice side by side, by day and model, and by key where the invoice knows keys."""
    by = ("day", "model", "key") if any(key for _, _, key in invoice) else ("day", "model")
    booked: dict[Line, LedgerTotals] = {}
    for item in totals(ledger, by, scope):
        day, model, *key = item.group
        booked[day, model, key[0] if key else ""] = item
    prices = prices_charged(ledger, scope)
    lines = sorted(booked.keys() | invoice.keys())
    return [_reconciliation_line(line, booked.get(line), invoice.get(line), prices.get(line[1])) for line in lines]


def _reconciliation_line(
    line: Line, booked: LedgerTotals | None, billed: InvoiceCharge | None, price: ProviderPrice | None
) -> ReconciliationLine:
    meter, estimate = (int(booked[name]) if booked else 0 for name in ("pusd", "estimate_pusd"))
    unpriced, retry = (int(booked[name]) if booked else 0 for name in ("unpriced", "retry_pusd"))
    parts: tuple[int | None, ...] = ()
    if billed is not None and booked is not None and price is not None and billed.tokens:
        parts = _difference_parts(booked, billed, price)
    elif billed is not None:
        parts = (None, None, None, billed.pusd - meter)
    return ReconciliationLine(line, estimate, meter, billed.pusd if billed else None, unpriced, retry, *parts)


def _difference_parts(booked: LedgerTotals, billed: InvoiceCharge, price: ProviderPrice) -> tuple[int, int, int, int]:
    """Tokens, caching, price and rest of invoice - meter, at the rates of the price that was charged here.

    tokens: more or fewer of prompt and output.  caching: another share of the prompt was cached.  price: what the
    invoice asks beyond its own tokens at our rates.  rest: what the meter holds beyond its tokens at these rates
    (cache writes, tiers, images, unknown calls).
    """
    rates = [price.rate(unit, 0) for unit in ("input_tokens", "cache_read_tokens", "output_tokens")]
    ours = [booked["input_tokens"] - booked["cached_tokens"], booked["cached_tokens"], booked["output_tokens"]]
    theirs = [billed.tokens.get(kind, 0) for kind in ("input", "cached", "output")]
    more = [int(a - b) for a, b in zip(theirs, ours, strict=True)]
    tokens = round((more[0] + more[1]) * rates[0] + more[2] * rates[2])
    caching = round(more[1] * (rates[1] - rates[0]))
    at_ours = round(sum(int(count) * rate for count, rate in zip(theirs, rates, strict=True)))
    asked = billed.pusd - at_ours
    return tokens, caching, asked, billed.pusd - int(booked["pusd"]) - tokens - caching - asked


def prices_charged(ledger: CallLedger, scope: LedgerScope) -> dict[str, ProviderPrice]:
    """The price that most rows of each model were charged at."""
    query = (
        select(account.c.service, entry.c.price, func.count().label("rows"))
        .join_from(entry, account, account.c.id == entry.c.account)
        .where(entry.c.price != "", *scope.limits(entry.c.day))
        .group_by(account.c.service, entry.c.price)
    )
    with schema.refusals("reconcile"), ledger.engine.connect() as connection:
        counted = sorted(connection.execute(query).all(), key=lambda row: row.rows)
        known = {row.id: row.document for row in connection.execute(select(schema.price))}
    return {row.service: ProviderPrice.parse(known[row.price]) for row in counted}


@dataclass(frozen=True, slots=True)
class SpendChange:
    """Why spend went from one amount to another, in picodollars; the four parts add up to the difference exactly.

    volume: more or fewer calls.  mix: they went to other groups.  efficiency: more or fewer tokens per call.
    price: dollars per token, which also holds another share of dear kinds of tokens.
    """

    before: int
    after: int
    volume: int
    mix: int
    efficiency: int
    price: int


def change(ledger: CallLedger, before: LedgerScope, after: LedgerScope, by: str = "model") -> SpendChange:
    """Splits the change of spend between two periods.

    Raises:
        InputError: a name to group by is unknown.
    """
    first, second = (_factors(totals(ledger, [by], scope)) for scope in (before, after))
    return decompose(first, second)


Factors = dict[str, tuple[int, int, int]]
"""Group -> calls, tokens, picodollars."""


def _factors(found: Sequence[LedgerTotals]) -> Factors:
    """Calls without tokens (images) count as one token each."""
    return {
        item.group[0]: (
            int(item["calls"]),
            int(item["input_tokens"] + item["output_tokens"] or item["calls"]),
            int(item["pusd"]),
        )
        for item in found
    }


def decompose(before: Factors, after: Factors) -> SpendChange:
    """Shapley values of four factors: spend = calls x share x tokens per call x dollars per token, over groups.

    Each factor's part is the mean of what changing it does over all orders in which the four can be changed, in exact
    fractions (Shorrocks 2013, doi 10.1007/s10888-011-9214-z). A group that is new or gone counts as mix.

    >>> decompose({"a": (10, 1000, 50)}, {"a": (20, 4000, 100)})
    SpendChange(before=50, after=100, volume=54, mix=0, efficiency=54, price=-58)
    """
    groups = sorted(before.keys() | after.keys())
    sides = [_split(side, other, groups) for side, other in ((before, after), (after, before))]
    parts = dict.fromkeys(FACTORS, Fraction(0))
    orders = list(permutations(range(len(FACTORS))))
    for order in orders:
        chosen = [0] * len(FACTORS)
        spent = _spend(sides, chosen)
        for factor in order:
            chosen[factor] = 1
            now = _spend(sides, chosen)
            parts[FACTORS[factor]] += (now - spent) / len(orders)
            spent = now
    total = [sum(item[2] for item in side.values()) for side in (before, after)]
    whole = {name: round(part) for name, part in parts.items()}
    whole["price"] += total[1] - total[0] - sum(whole.values())  # less than two picodollars of rounding
    return SpendChange(*total, **whole)


def _split(side: Factors, other: Factors, groups: Sequence[str]) -> list[Any]:
    """Calls; by group the share of calls, tokens per call, picodollars per token (the other side's if it has none)."""
    calls = sum(item[0] for item in side.values())
    none = (0, 0, 0)
    share = [Fraction(side.get(g, none)[0], calls or 1) for g in groups]
    used = [side[g] if side.get(g, none)[0] else other.get(g, none) for g in groups]
    per_call = [Fraction(tokens, count or 1) for count, tokens, _ in used]
    per_token = [Fraction(spent, tokens or 1) for _, tokens, spent in used]
    return [Fraction(calls), share, per_call, per_token]


def _spend(sides: Sequence[Sequence[Any]], chosen: Sequence[int]) -> Fraction:
    calls, share, per_call, per_token = (sides[side][place] for place, side in enumerate(chosen))
    return Fraction(calls * sum(s * t * p for s, t, p in zip(share, per_call, per_token, strict=True)))

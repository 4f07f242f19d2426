"""Analyses of the books: reversals between list prices and costs, and inefficient trajectories."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from math import nan
from typing import Any

from sqlalchemy import case, select

from comptroller.books import schema
from comptroller.books.inefficiency import NAMES, InefficiencyPattern, InefficiencyReport
from comptroller.books.ledger import CallLedger
from comptroller.books.query import EVERYTHING, LedgerScope, in_force, require_rows, totals
from comptroller.books.reconcile import prices_charged
from comptroller.books.schema import account, entry
from comptroller.costs.inference_units import prefill_token_equivalents
from comptroller.facts.prices import ProviderPrice
from comptroller.work.tool_notes import CHECKER, KNOWN, MALFORMED, MONITOR, NOTHING

BLEND = (3, 1)
"""Weights of prompt and output tokens in a single list price: 3 to 1, the usual blend of price lists.

At 6 to 1 the order of models moves towards that of their prompt prices.
"""
ENDED_BADLY = ("failed", "cancelled", "refused")
"""Ends of calls that count as failed rounds."""
FETCHED = 2000
"""Rows fetched at a time; it bounds memory only."""


@dataclass(frozen=True, slots=True)
class ListPricedModel:
    """A model with list price and cost.

    list_usd: blended dollars per million tokens.  cost_usd: dollars per request.  visible_usd: without thinking tokens.
    """

    model: str
    list_usd: float
    cost_usd: float
    visible_usd: float


@dataclass(frozen=True, slots=True)
class ListPriceReversal:
    """Two models whose order by cost is opposite to that by list price. times: ratio of their costs."""

    listed_cheaper: str
    costs_less: str
    times: float


@dataclass(frozen=True, slots=True)
class PriceReversalReport:
    """Number of pairs, the reversed ones, and Kendall's tau-b of list price with cost, with and without thinking."""

    pairs: int
    reversed: tuple[ListPriceReversal, ...]
    tau: float
    tau_visible: float


def list_priced_models(ledger: CallLedger, scope: LedgerScope = EVERYTHING) -> list[ListPricedModel]:
    """The models in the books that have a list price, with cost per request; without those of unpriced calls."""
    prices = prices_charged(ledger, scope)
    models = []
    for item in totals(ledger, ["model"], scope):
        price = prices.get(item.group[0])
        if price is not None and item.requests and not item["unpriced"]:
            thinking = float(price.rate("output_reasoning_tokens", 0)) * item["reasoning_tokens"]
            cost, visible = ((item["pusd"] - part) / 1e12 / item.requests for part in (0.0, thinking))
            models.append(ListPricedModel(item.group[0], list_price_usd(price), cost, visible))
    return models


def list_price_usd(price: ProviderPrice) -> float:
    """Blended price in dollars per million tokens, by the weights `BLEND`."""
    rates = (price.rate("input_tokens", 0), price.rate("output_tokens", 0))
    return float(sum(rate * weight for rate, weight in zip(rates, BLEND, strict=True))) / sum(BLEND) / 1e6


def reversals(models: Sequence[ListPricedModel]) -> PriceReversalReport:
    """Pairs whose order by list price is not their order by cost (Chen et al., arXiv 2603.23971), by ratio of costs.

    >>> found = reversals([ListPricedModel("a", 1.0, 0.05, 0.01), ListPricedModel("b", 2.0, 0.02, 0.02)])
    >>> found.pairs, found.reversed[0].listed_cheaper, found.reversed[0].times, found.tau, found.tau_visible
    (1, 'a', 2.5, -1.0, 1.0)
    """
    reversed_pairs = []
    pairs = [
        pair
        for pair in combinations(sorted(models, key=lambda m: m.list_usd), 2)
        if pair[0].list_usd < pair[1].list_usd
    ]
    for cheap, dear in pairs:
        if cheap.cost_usd > dear.cost_usd:
            times = cheap.cost_usd / dear.cost_usd if dear.cost_usd else float("inf")
            reversed_pairs.append(ListPriceReversal(cheap.model, dear.model, times))
    listed = [model.list_usd for model in models]
    taus = [_tau(listed, [cost(model) for model in models]) for cost in (_cost, _visible_cost)]
    return PriceReversalReport(len(pairs), tuple(sorted(reversed_pairs, key=lambda item: -item.times)), *taus)


def _cost(model: ListPricedModel) -> float:
    return model.cost_usd


def _visible_cost(model: ListPricedModel) -> float:
    return model.visible_usd


def _tau(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b, NaN without any untied pair. scipy.stats has it too, but takes a second to import."""
    signs = [(_sign(a - b), _sign(c - d)) for (a, c), (b, d) in combinations(zip(one, other, strict=True), 2)]
    ranked = sum(abs(x) for x, _ in signs) * sum(abs(y) for _, y in signs)
    return float(sum(x * y for x, y in signs) / ranked**0.5) if ranked else nan


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def patterns(ledger: CallLedger, gamma: float, scope: LedgerScope = EVERYTHING) -> InefficiencyReport:
    """Inefficiency in trajectories, in prefill-token equivalents (arXiv 2604.05404).

    gamma: prefill tokens that reading one cached token costs (`costs.inference_units.prefill_gamma`).  A task is a
    session, where calls have one, else a request.  A tool call is a row without tokens but with a wait; its note
    (`work.tool_notes`) says what the gateway saw of its texts. Confirmatory use counts the rounds after results that
    were known, lack of priors the rounds that asked for what came back empty, format collapse rounds that failed or
    asked in no JSON, mixing all of a task with several tools. The causes of cost in the paper, context computed again
    after a tool call and long tool answers, are patterns of their own here.
    """
    all_tokens, hits, amounts = 0.0, defaultdict[str, int](int), defaultdict[str, float](float)
    requests = 0
    for _, calls in groupby(_trajectories(ledger, scope), key=lambda row: (row["session"], row["task"])):
        requests += 1
        tokens, parts = _trajectory(list(calls), gamma)
        all_tokens += tokens
        for name, part in parts.items():
            hits[name] += part > 0
            amounts[name] += part
    return InefficiencyReport(
        requests, all_tokens, tuple(InefficiencyPattern(name, hits[name], amounts[name]) for name in NAMES)
    )


def _trajectory(calls: list[Mapping[str, Any]], gamma: float) -> tuple[float, dict[str, float]]:
    """Prefill-token equivalents of a request, and of each pattern in it."""
    by_id = {row["id"]: row for row in calls}
    equivalents = {row["id"]: _equivalents(row, gamma) for row in calls}
    tools = {row["role"] for row in calls if _is_tool(row) and not row["role"].startswith((CHECKER, MONITOR))}
    noted = _rounds_by_note(calls, by_id)
    again = answers = 0.0
    for row in calls:
        parent = by_id.get(row["parent"])
        through_tool = parent is not None and _is_tool(parent)
        earlier = by_id.get(parent["parent"]) if parent is not None and through_tool else parent
        if earlier is None or _is_tool(row):
            continue
        context = min((earlier["input_tokens"] or 0) + (earlier["output_tokens"] or 0), row["input_tokens"] or 0)
        again += max(0, context - (row["cached_tokens"] or 0))
        answers += ((row["input_tokens"] or 0) - context) if through_tool else 0
    total = sum(equivalents.values())
    noted[MALFORMED] |= {row["id"] for row in calls if row["finish"] in ENDED_BADLY}
    known, blind, failed = (sum(equivalents[id] for id in noted[note]) for note in (KNOWN, NOTHING, MALFORMED))
    mixed = total if len(tools) > 1 else 0.0
    return total, dict(zip(NAMES, (known, mixed, blind, failed, again, answers), strict=True))


def _rounds_by_note(calls: list[Mapping[str, Any]], by_id: Mapping[int, Mapping[str, Any]]) -> dict[str, set[int]]:
    """Of each note of a tool, the calls whose round it speaks of: that after a known result, else that which asked."""
    noted: dict[str, set[int]] = {KNOWN: set(), NOTHING: set(), MALFORMED: set()}
    for row in calls:
        if row["note"] in noted and _is_tool(row):
            if row["note"] != KNOWN and row["parent"] in by_id:
                noted[row["note"]].add(row["parent"])
            noted[KNOWN] |= {each["id"] for each in calls if row["note"] == KNOWN and _follows(each, row, by_id)}
    return noted


def _follows(call: Mapping[str, Any], tool: Mapping[str, Any], by_id: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether a call is the round after a tool: its own, or that of a tool that ran beside it."""
    before = by_id.get(call["parent"])
    return not _is_tool(call) and before is not None and _is_tool(before) and before["parent"] == tool["parent"]


def _equivalents(row: Mapping[str, Any], gamma: float) -> float:
    prompt, output = row["input_tokens"] or 0, row["output_tokens"] or 0
    return prefill_token_equivalents([prompt - (row["cached_tokens"] or 0)], [output], [prompt + output], gamma)


def _is_tool(row: Mapping[str, Any]) -> bool:
    return not row["input_tokens"] and not row["output_tokens"] and bool(row["wait_s"])


def _trajectories(ledger: CallLedger, scope: LedgerScope) -> Iterator[Mapping[str, Any]]:
    names = ("id", "parent", "session", "input_tokens", "cached_tokens", "output_tokens", "wait_s", "finish", "note")
    task = case((entry.c.session >= 0, 0), else_=entry.c.request).label("task")
    query = (
        select(*(entry.c[name] for name in names), task, account.c.role)
        .join_from(entry, account, account.c.id == entry.c.account)
        .where(in_force(), *scope.limits(entry.c.day))
        .order_by(entry.c.session, task, entry.c.id)
    )
    with schema.refusals("patterns"), ledger.engine.connect() as connection:
        require_rows(connection, scope)
        for row in connection.execution_options(yield_per=FETCHED).execute(query).mappings():
            yield dict(row)

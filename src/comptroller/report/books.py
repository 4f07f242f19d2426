"""The books as tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import isnan

from comptroller.books.budgets import BudgetBalance
from comptroller.books.insight import InefficiencyReport, PriceReversalReport
from comptroller.books.keys import ApiKey
from comptroller.books.query import LedgerTotals
from comptroller.books.reconcile import ReconciliationLine, SpendChange
from comptroller.books.rerate import RerateReport
from comptroller.costs.attribution import MeterAttribution
from comptroller.report.figures import dollars, number, with_prefix
from comptroller.report.sheet import Cell, ReportSheet, SheetColumn, right

LONG = ("over_1k", "over_3k", "over_5k")


def usd(pusd: float | None) -> float | None:
    """Dollars of picodollars; unknown stays unknown."""
    return None if pusd is None else pusd / 1e12


def _per(amount: float, count: float) -> float | None:
    return None if isnan(count) or count <= 0 else amount / count


def _per_solved(amount: float, item: LedgerTotals) -> float | None:
    """An amount per solved request; requests without a score are taken to be like those with one."""
    return _per(amount * item.scored / max(item.requests, 1), item.solved)


def spend(found: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """Dollars, tokens by kind, FLOPs, joules and grams of groups, per request and per solved request."""
    columns = (
        *(SheetColumn(name, name) for name in by),
        right("requests", "requests"),
        right("calls", "calls"),
        right("usd", "$"),
        right("unpriced", "unpriced"),
        right("usd_per_request", "$/request"),
        right("usd_per_solved", "$/solved"),
        right("input_tokens", "tokens in"),
        right("cached_tokens", "cached"),
        right("cache_write_tokens", "written"),
        right("output_tokens", "tokens out"),
        right("reasoning_tokens", "thinking"),
        right("flops", "FLOP"),
        right("j", "J"),
        right("j_low", "J low"),
        right("j_high", "J high"),
        right("j_per_solved", "J/solved"),
        right("gco2e", "gCO2e"),
        SheetColumn("energy", "energy is"),
    )
    return ReportSheet("Spend", columns, tuple((*item.group, *_spend_cells(item)) for item in found))


WIDE = ("cached_tokens", "cache_write_tokens", "flops", "j_low", "j_high", "j_per_solved", "energy")
"""Columns that a terminal of usual width has no room for."""


def terse(sheet: ReportSheet) -> ReportSheet:
    """The sheet as a terminal of usual width has room for it: less some columns, large amounts with a prefix.

    Columns without an entry are left out too.

    >>> terse(ReportSheet("s", (right("flops", "FLOP"), right("j", "J")), ((1.0, 1234567.0),))).rows
    (('1.23 M',),)
    """
    empty = [c.key for i, c in enumerate(sheet.columns) if not any(row[i] for row in sheet.rows)]
    kept = sheet.without(*WIDE, *empty)
    rows = tuple(tuple(_terse(cell) for cell in row) for row in kept.rows)
    return ReportSheet(kept.title, kept.columns, rows)


def _terse(cell: Cell) -> Cell:
    return with_prefix(cell, "").rstrip() if isinstance(cell, int | float) and abs(cell) >= 1e5 else cell


def _spend_cells(item: LedgerTotals) -> tuple[Cell, ...]:
    measured = item["metered"] + item["predicted"] > 0
    energy = [item[name] if measured else None for name in ("flops", "j", "low_j", "high_j")]
    kinds = ("input_tokens", "cached_tokens", "cache_write_tokens", "output_tokens", "reasoning_tokens")
    return (
        item.requests,
        int(item["calls"]),
        item.usd,
        int(item["unpriced"]),
        _per(item.usd, item.requests),
        _per_solved(item.usd, item),
        *(int(item[name]) for name in kinds),
        *energy,
        _per_solved(item["j"], item) if measured else None,
        item["gco2e"] if measured else None,
        source(item),
    )


def source(item: LedgerTotals) -> str:
    """How many of the calls have metered and how many predicted joules."""
    parts = ((int(item["metered"]), "metered"), (int(item["predicted"]), "predicted"))
    unknown = int(item["calls"] - item["metered"] - item["predicted"])
    told = [f"{count:,} {word}" for count, word in (*parts, (unknown, "unknown")) if count]
    return ", ".join(told)


def success(found: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """What a solved request costs: all that its group spent on requests with a score, over their scores."""
    columns = (
        *(SheetColumn(name, name) for name in by),
        right("requests", "requests"),
        right("scored", "scored"),
        right("solved_share", "% solved"),
        right("usd", "$"),
        right("usd_per_request", "$/request"),
        right("usd_per_solved", "$/solved"),
    )
    rows = (
        (
            *item.group,
            item.requests,
            item.scored,
            _per(100 * item.solved, item.scored),
            item.usd,
            _per(item.usd, item.requests),
            _per_solved(item.usd, item),
        )
        for item in found
    )
    return ReportSheet("Cost of success", columns, tuple(rows))


def waste(by_finish: Sequence[LedgerTotals], by_role: Sequence[LedgerTotals]) -> ReportSheet:
    """What bought nothing: calls that ended badly, repeated attempts, idle hardware. Lines may overlap."""
    whole = sum(item.usd for item in by_finish)
    bad = [item for item in by_finish if item.group[0] in {"failed", "cancelled", "refused", "budget"}]
    lines: list[tuple[str, float | None, float, float | None, float | None]] = []
    lines += [(f"ended as {i.group[0]}", i["calls"], i.usd, i["output_tokens"], i["j"]) for i in bad]
    cut = [item for item in by_finish if item.group[0] == "length"]
    lines += [("cut off at the length limit", i["calls"], i.usd, i["output_tokens"], i["j"]) for i in cut]
    retries, retried = (sum(item[name] for item in by_finish) for name in ("retries", "retry_pusd"))
    lines.append(("further attempts", retries, retried / 1e12, None, None))
    lines += [("idle hardware", None, i.usd, None, i["j"]) for i in by_role if i.group[0] == "idle"]
    lost = sum(item["charged_pusd"] - item["pusd"] for item in by_finish)
    unknown = sum(item["unpriced"] for item in by_finish)
    lines.append(("cost unknown, worst case", unknown, lost / 1e12, None, None))
    columns = (
        *(SheetColumn("what", "what"), right("calls", "calls"), right("usd", "$"), right("share", "% of spend")),
        *(right("output_tokens", "tokens out"), right("j", "J")),
    )
    rows = (
        (what, None if calls is None else int(calls), cost, _per(100 * cost, whole), out, j)
        for what, calls, cost, out, j in lines
    )
    return ReportSheet("Waste", columns, tuple(rows))


def overflow(found: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """Share of calls whose output is longer than 1,000, 3,000 and 5,000 tokens (BenchOverflow, arXiv 2601.08490)."""
    heads = (right("over_1k", "% > 1k"), right("over_3k", "% > 3k"), right("over_5k", "% > 5k"))
    columns = (*(SheetColumn(name, name) for name in by), right("calls", "calls"), *heads)
    rows = (
        (*item.group, int(item["calls"]), *(_per(100 * item[name], item["calls"]) for name in LONG)) for item in found
    )
    return ReportSheet("Length overflow", columns, tuple(rows))


def reversed_pairs(found: PriceReversalReport) -> ReportSheet:
    """Models that are cheaper on the list and dearer in the books."""
    columns = (SheetColumn("listed_cheaper", "cheaper on the list"), SheetColumn("costs_less", "costs less"))
    rows = tuple((item.listed_cheaper, item.costs_less, item.times) for item in found.reversed)
    return ReportSheet("Price reversal", (*columns, right("times", "dearer by")), rows)


def reversal_headline(found: PriceReversalReport) -> str:
    """The result in a sentence."""
    return (
        f"{len(found.reversed)} of {found.pairs} pairs of models are reversed; Kendall's tau of list price and cost "
        f"{number(found.tau)}, without thinking tokens {number(found.tau_visible)}"
    )


def patterns(found: InefficiencyReport) -> ReportSheet:
    """Inefficiencies in prefill-token equivalents."""
    columns = (
        *(SheetColumn("pattern", "pattern"), right("requests", "requests"), right("share", "% of requests")),
        *(right("pte", "PTE"), right("pte_share", "% of PTE")),
    )
    rows = (
        (p.name, p.requests, _per(100 * p.requests, found.requests), p.tokens, _per(100 * p.tokens, found.tokens))
        for p in found.found
    )
    return ReportSheet(f"Inefficiency, {number(found.tokens)} prefill-token equivalents in all", columns, tuple(rows))


def reconciliation(found: Iterable[ReconciliationLine]) -> ReportSheet:
    """Estimate, meter and invoice side by side, and the parts of invoice less meter."""
    columns = (
        *(SheetColumn(name, name) for name in ("day", "model", "key")),
        *(right(name, name) for name in ("estimate", "meter", "invoice")),
        right("difference", "invoice − meter"),
        *(right(name, name) for name in ("tokens", "caching", "price", "rest")),
        right("retries", "retries"),
        right("unpriced", "unpriced"),
    )
    rows = []
    for item in found:
        difference = None if item.invoice is None else item.invoice - item.meter
        parts = (item.tokens, item.caching, item.price, item.rest, item.retry)
        money = (item.estimate, item.meter, item.invoice, difference, *parts)
        rows.append((*item.line, *map(usd, money), item.unpriced))
    return ReportSheet("Reconciliation, $", columns, tuple(rows))


def spend_change(found: SpendChange) -> ReportSheet:
    """Why spend changed."""
    parts = ("before", "volume", "mix", "efficiency", "price", "after")
    rows = tuple((name, usd(getattr(found, name))) for name in parts)
    return ReportSheet("Why spend changed", (SheetColumn("part", "part"), right("usd", "$")), rows)


def attribution_sheet(shares: Mapping[str, MeterAttribution]) -> ReportSheet:
    """What of a meter went where: joules, and dollars."""
    heads = [right(name, name) for name in ("prefill", "decode", "waste", "idle", "meter")]
    scale = {"j": ("joules", 1.0), "pusd": ("dollars", 1e-12)}
    rows: list[tuple[Cell, ...]] = []
    for name, part in shares.items():
        amounts = (part.prefill.sum(), part.decode.sum(), part.waste.sum(), part.idle, part.total)
        rows.append((scale[name][0], *(float(amount) * scale[name][1] for amount in amounts)))
    return ReportSheet("Attributed", (SheetColumn("of", "of"), *heads), tuple(rows))


def balances(found: Iterable[BudgetBalance]) -> ReportSheet:
    """Budgets with what they have spent and hold."""
    columns = (
        *(SheetColumn("budget", "budget"), SheetColumn("period", "period"), right("limit_usd", "limit $")),
        *(right("spent_usd", "spent $"), right("held_usd", "held $"), right("left_usd", "left $")),
    )
    rows = (
        (str(b.budget), b.span, *map(usd, (b.budget.limit_pusd, b.spent_pusd, b.held_pusd, b.left_pusd))) for b in found
    )
    return ReportSheet("Budgets", columns, tuple(rows))


def keys(found: Iterable[ApiKey]) -> ReportSheet:
    """Valid keys; no secrets."""
    columns = (SheetColumn("name", "name"), SheetColumn("project", "project"), right("created_s", "created"))
    rows = tuple((key.name, key.project, key.created_us // 10**6) for key in found)
    return ReportSheet("Keys", columns, rows)


def rerating_sentence(found: RerateReport) -> str:
    """What a rerating did, in a sentence."""
    missing = "".join(f"; {count:,} calls: {why}" for why, count in found.unpriced.most_common(3))
    before, after = (dollars(amount / 1e12) for amount in (found.before_pusd, found.after_pusd))
    return f"{found.changed:,} of {found.read:,} rows corrected, {before} to {after}{missing}"

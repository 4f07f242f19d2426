"""The books as tables."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from math import isnan
from pathlib import Path

from comptroller.books.agent_runs import BookedStop
from comptroller.books.archive import LedgerArchive
from comptroller.books.budgets import BudgetBalance
from comptroller.books.drift import DriftFinding
from comptroller.books.insight import PriceReversalReport
from comptroller.books.keys import ApiKey
from comptroller.books.query import LedgerTotals
from comptroller.books.reconcile import ReconciliationLine, SpendChange
from comptroller.books.rerate import RerateReport
from comptroller.costs.attribution import MeterAttribution
from comptroller.report.figures import dollars, number
from comptroller.report.sheet import Cell, ReportSheet, SheetColumns, left, right


def usd(pusd: float | None) -> float | None:
    """Dollars of picodollars; unknown stays unknown."""
    return None if pusd is None else pusd / 1e12


def _per(amount: float, count: float) -> float | None:
    return None if isnan(count) or count <= 0 else amount / count


def _per_solved(amount: float, item: LedgerTotals) -> float | None:
    """An amount per solved request; requests without a score are taken to be like those with one."""
    return _per(amount * item.scored / max(item.requests, 1), item.solved)


def _if_measured(name: str) -> Callable[[LedgerTotals], float | None]:
    """An amount that is known only where joules are metered or predicted."""
    return lambda item: item[name] if item["metered"] + item["predicted"] > 0 else None


def _whole(name: str) -> Callable[[LedgerTotals], int]:
    return lambda item: int(item[name])


def source(item: LedgerTotals) -> str:
    """How many of the calls have metered and how many predicted joules."""
    parts = ((int(item["metered"]), "metered"), (int(item["predicted"]), "predicted"))
    unknown = int(item["calls"] - item["metered"] - item["predicted"])
    return ", ".join(f"{count:,} {word}" for count, word in (*parts, (unknown, "unknown")) if count)


SPEND: SheetColumns[LedgerTotals] = (
    right("requests"),
    right("calls", None, _whole("calls")),
    right("usd", "$"),
    right("unpriced", None, _whole("unpriced")),
    right("usd_per_request", "$/request", lambda item: _per(item.usd, item.requests)),
    right("usd_per_solved", "$/solved", lambda item: _per_solved(item.usd, item)),
    right("input_tokens", "tokens in", _whole("input_tokens")),
    right("cached_tokens", "cached", _whole("cached_tokens")),
    right("cache_write_tokens", "written", _whole("cache_write_tokens")),
    right("output_tokens", "tokens out", _whole("output_tokens")),
    right("reasoning_tokens", "thinking", _whole("reasoning_tokens")),
    right("flops", "FLOP", _if_measured("flops")),
    right("j", "J", _if_measured("j")),
    right("j_low", "J low", _if_measured("low_j")),
    right("j_high", "J high", _if_measured("high_j")),
    right("j_per_solved", "J/solved", lambda item: _per_solved(item["j"], item) if _if_measured("j")(item) else None),
    right("gco2e", "gCO2e", _if_measured("gco2e")),
    left("energy", "energy is", source),
)


def _by(names: Sequence[str]) -> SheetColumns[LedgerTotals]:
    """A column for each name that totals are grouped by."""

    def part(place: int) -> Callable[[LedgerTotals], str]:
        return lambda item: item.group[place]

    return tuple(left(name, None, part(place)) for place, name in enumerate(names))


def spend(found: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """Dollars, tokens by kind, FLOPs, joules and grams of groups, per request and per solved request."""
    return ReportSheet.of("Spend", (*_by(by), *SPEND), found)


def with_total(sheet: ReportSheet, whole: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """A sheet of spend with a last row of the total, where it has several rows; requests of several groups count once.

    whole: the totals by nothing.
    """
    if len(sheet.rows) < 2 or not by:
        return sheet
    total = ReportSheet.of("", SPEND, whole).rows[0]
    return replace(sheet, rows=(*sheet.rows, ("total", *("",) * (len(by) - 1), *total)))


def in_currency(sheet: ReportSheet, code: str) -> ReportSheet:
    """A sheet whose money is in another currency, with its code in place of the dollar's.

    >>> [column.heading for column in in_currency(ReportSheet("s", (right("usd", "$"),), ()), "EUR").columns]
    ['EUR']
    """
    if code == "USD":
        return sheet
    columns = tuple(
        column._replace(key=column.key.replace("usd", code.lower()), heading=column.heading.replace("$", code))
        if "$" in column.heading
        else column
        for column in sheet.columns
    )
    return replace(sheet, columns=columns)


def with_amounts(sheet: ReportSheet) -> ReportSheet:
    """The sheet less columns in which nothing was counted.

    >>> with_amounts(ReportSheet("s", (right("calls"), right("cached")), ((3, 0), (4, None)))).rows
    ((3,), (4,))
    """
    return sheet.without(*(c.key for i, c in enumerate(sheet.columns) if not any(row[i] for row in sheet.rows)))


SUCCESS: SheetColumns[LedgerTotals] = (
    right("requests"),
    right("scored"),
    right("solved_share", "% solved", lambda item: _per(100 * item.solved, item.scored)),
    right("usd", "$"),
    right("usd_per_request", "$/request", lambda item: _per(item.usd, item.requests)),
    right("usd_per_solved", "$/solved", lambda item: _per_solved(item.usd, item)),
)


def success(found: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """What a solved request costs: all that its group spent on requests with a score, over their scores."""
    return ReportSheet.of("Cost of success", (*_by(by), *SUCCESS), found)


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
        *(left("what"), right("calls"), right("usd", "$"), right("share", "% of spend")),
        *(right("output_tokens", "tokens out"), right("j", "J")),
    )
    rows = (
        (what, None if calls is None else int(calls), cost, _per(100 * cost, whole), out, j)
        for what, calls, cost, out, j in lines
    )
    return ReportSheet("Waste", columns, tuple(rows))


LONG: SheetColumns[LedgerTotals] = (
    right("calls", None, _whole("calls")),
    right("over_1k", "% > 1k", lambda item: _per(100 * item["over_1k"], item["calls"])),
    right("over_3k", "% > 3k", lambda item: _per(100 * item["over_3k"], item["calls"])),
    right("over_5k", "% > 5k", lambda item: _per(100 * item["over_5k"], item["calls"])),
)


def overflow(found: Sequence[LedgerTotals], by: Sequence[str]) -> ReportSheet:
    """Share of calls whose output is longer than 1,000, 3,000 and 5,000 tokens (BenchOverflow, arXiv 2601.08490)."""
    return ReportSheet.of("Length overflow", (*_by(by), *LONG), found)


STOPS: SheetColumns[BookedStop] = (
    left("monitor"),
    left("key"),
    left("run"),
    right("calls"),
    right("usd", "$ spent"),
    right("spared_usd", "$ spared, predicted", lambda item: None if isnan(item.spared_usd) else item.spared_usd),
    left("why"),
)


def stops(found: Sequence[BookedStop], with_total: bool = False) -> ReportSheet:
    """Runs that monitors stopped, with a last row of the total where that is asked for and there are several."""
    sheet = ReportSheet.of("Runs that monitors stopped", STOPS, found)
    if not with_total or len(found) < 2:
        return sheet
    spared = [item.spared_usd for item in found if not isnan(item.spared_usd)]
    spent = sum(item.usd for item in found)
    unknown = "" if len(spared) == len(found) else f"spared is unknown of {len(found) - len(spared)}"
    total = ("total", "", "", sum(item.calls for item in found), spent, sum(spared) if spared else None, unknown)
    return replace(sheet, rows=(*sheet.rows, total))


def reversed_pairs(reversal: PriceReversalReport) -> ReportSheet:
    """Models that are cheaper on the list and dearer in the books."""
    columns = (
        left("listed_cheaper", "cheaper on the list"),
        left("costs_less", "costs less"),
        right("times", "dearer by"),
    )
    return ReportSheet.of("Price reversal", columns, reversal.reversed)


def reversal_headline(reversal: PriceReversalReport) -> str:
    """The result in a sentence."""
    return (
        f"{len(reversal.reversed)} of {reversal.pairs} pairs of models are reversed; Kendall's tau of list price and "
        f"cost {number(reversal.tau)}, without thinking tokens {number(reversal.tau_visible)}"
    )


RECONCILIATION: SheetColumns[ReconciliationLine] = (
    left("day", None, lambda item: item.line[0]),
    left("model", None, lambda item: item.line[1]),
    left("key", None, lambda item: item.line[2]),
    right("estimate", None, lambda item: usd(item.estimate)),
    right("meter", None, lambda item: usd(item.meter)),
    right("invoice", None, lambda item: usd(item.invoice)),
    right("difference", "invoice − meter", lambda x: None if x.invoice is None else usd(x.invoice - x.meter)),
    right("tokens", None, lambda item: usd(item.tokens)),
    right("caching", None, lambda item: usd(item.caching)),
    right("price", None, lambda item: usd(item.price)),
    right("rest", None, lambda item: usd(item.rest)),
    right("tax", None, lambda item: usd(item.tax)),
    right("credit", None, lambda item: usd(item.credit)),
    right("retries", None, lambda item: usd(item.retry)),
    right("unpriced"),
)


def reconciliation(found: Iterable[ReconciliationLine]) -> ReportSheet:
    """Estimate, meter and invoice side by side, and the parts of invoice less meter."""
    return ReportSheet.of("Reconciliation, $", RECONCILIATION, found)


def spend_change(change: SpendChange) -> ReportSheet:
    """Why spend changed."""
    parts = ("before", "volume", "mix", "efficiency", "price", "after")
    rows = tuple((name, usd(getattr(change, name))) for name in parts)
    return ReportSheet("Why spend changed", (left("part"), right("usd", "$")), rows)


def attribution_sheet(shares: Mapping[str, MeterAttribution]) -> ReportSheet:
    """What of a meter went where: joules, and dollars."""
    heads = [right(name) for name in ("prefill", "decode", "waste", "idle", "meter")]
    scale = {"j": ("joules", 1.0), "pusd": ("dollars", 1e-12)}
    rows: list[tuple[Cell, ...]] = []
    for name, part in shares.items():
        amounts = (part.prefill.sum(), part.decode.sum(), part.waste.sum(), part.idle, part.total)
        rows.append((scale[name][0], *(float(amount) * scale[name][1] for amount in amounts)))
    return ReportSheet("Attributed", (left("of"), *heads), tuple(rows))


DRIFTS: SheetColumns[DriftFinding] = (
    left("service"),
    left("measure"),
    right("before", None, lambda one: number(one.before)),
    right("after", None, lambda one: number(one.after)),
    right("days", None, lambda one: f"{one.days[0]} and {one.days[1]}"),
    right("p", "p-value", lambda one: number(one.p_value)),
    left("says", "", lambda one: "moved" if one.moved else ""),
)


def drifts(found: Sequence[DriftFinding]) -> ReportSheet:
    """What moved between two periods, by service and measure."""
    return ReportSheet.of("Drift, whole days permuted", DRIFTS, found)


BALANCES: SheetColumns[BudgetBalance] = (
    left("budget", None, lambda item: str(item.budget)),
    left("period", None, lambda item: item.span),
    right("limit_usd", "limit $", lambda item: usd(item.budget.limit_pusd)),
    right("spent_usd", "spent $", lambda item: usd(item.spent_pusd)),
    right("held_usd", "held $", lambda item: usd(item.held_pusd)),
    right("left_usd", "left $", lambda item: usd(item.left_pusd)),
)

KEYS: SheetColumns[ApiKey] = (
    left("name"),
    left("project"),
    left("models", None, lambda key: " ".join(key.models)),
    left("role"),
    left("created", None, lambda key: f"{datetime.fromtimestamp(key.created_us / 1e6, UTC):%Y-%m-%d %H:%M} UTC"),
)


def usd_of_a_day(found: Sequence[BudgetBalance]) -> float | None:
    """The least of the budgets that all spending of a day is under, in dollars; None where there is none."""
    limits = (each.budget for each in found if each.budget.scope == "all" and each.budget.period == "day")
    return min((budget.limit_pusd / 1e12 for budget in limits), default=None)


def balances(found: Iterable[BudgetBalance]) -> ReportSheet:
    """Budgets with what they have spent and hold."""
    return ReportSheet.of("Budgets", BALANCES, found)


def keys(found: Iterable[ApiKey]) -> ReportSheet:
    """Valid keys; no secrets."""
    return ReportSheet.of("Keys", KEYS, found)


def rerating_sentence(rerated: RerateReport) -> str:
    """What a rerating did, in a sentence."""
    missing = "".join(f"; {count:,} calls: {why}" for why, count in rerated.unpriced.most_common(3))
    before, after = (dollars(amount / 1e12) for amount in (rerated.before_pusd, rerated.after_pusd))
    return f"{rerated.changed:,} of {rerated.read:,} rows corrected, {before} to {after}{missing}"


def archive_sentence(moved: LedgerArchive, to: Path | None) -> str:
    """What an archive took, or would take, in a sentence."""
    where = f"moved to {to}" if to else "would move; name a file with --out"
    kept = f"; {moved.kept:,} older ones stay, for a row before them in their segment does" if moved.kept else ""
    return f"{moved.rows:,} rows of {moved.first} to {moved.last} {where}{kept}"

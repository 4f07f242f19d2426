"""Price reversals: pairs of models of which the one with the lower list price costs more, because it thinks longer.

The Price Reversal, arXiv 2603.23971: a pair is reversed on a task if the difference in list price (input plus output,
$ per token) and the difference in cost have opposite signs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from comptroller.work.evidence import SOLVER, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import mean_band

TOLERANCE = 1e-6
"""Greatest relative difference of recorded dollars from tokens times a price. Recorded dollars are rounded, a price
that changed midway differs by far more, so that twice this takes the same arms."""

TINY_USD = 1e-12
"""Absolute part of that tolerance: a picodollar, the unit of the ledger. Twice this changes nothing above a millionth
of a dollar per reply."""

FEWEST_REPLIES = 3
"""Fewest replies that a price is fitted to: two determine its two parts exactly, whatever they are; the third checks
them. At twice this, arms with three to five priced replies have no list price."""


@dataclass(frozen=True, slots=True)
class ListPrice:
    """Dollars per input and per output token, as recorded dollars imply them."""

    input_usd: float
    output_usd: float

    @property
    def total(self) -> float:
        """Input plus output price, by which models are ranked."""
        return self.input_usd + self.output_usd


@dataclass(frozen=True, slots=True)
class TaskPriceReversal:
    """A pair of models in reverse order on a task; times: cost of the one listed cheaper over that of the other."""

    task: str
    listed_cheaper: str
    listed_dearer: str
    times: float


def list_prices(evidence: Evidence) -> dict[int, ListPrice]:
    """Prices by index of the arm, for arms whose recorded dollars are tokens times a price (within `TOLERANCE`)."""
    rows = evidence.rows
    generated = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    prices = {}
    for arm in range(len(evidence.arms)):
        priced = (rows.arm == arm) & np.isfinite(rows.usd) & (rows.usd > 0) & np.isfinite(rows.input_tokens + generated)
        table = np.stack([rows.input_tokens[priced], generated[priced]], axis=1)
        if len(table) < FEWEST_REPLIES or np.linalg.matrix_rank(table) < 2:
            continue
        price, *_ = np.linalg.lstsq(table, rows.usd[priced], rcond=None)
        if np.allclose(table @ price, rows.usd[priced], rtol=TOLERANCE, atol=TINY_USD):
            prices[arm] = ListPrice(float(price[0]), float(price[1]))
    return prices


def reversals(
    evidence: Evidence, without: Sequence[int] = (), thinking: bool = True
) -> tuple[list[TaskPriceReversal], int]:
    """Reversed pairs over all tasks, the greatest ratio first, and the number of all pairs.

    without: indices of arms left out.  thinking: whether thinking tokens are paid for.
    """
    prices = {arm: price for arm, price in list_prices(evidence).items() if arm not in without}
    total = _task_costs(evidence, prices, thinking)
    reversed_pairs, pairs = [], 0
    for task, costs in total.items():
        for first, second in combinations(sorted(costs), 2):
            pairs += 1
            gap = prices[first].total - prices[second].total
            if gap * (costs[first] - costs[second]) < 0:
                cheap, dear = (first, second) if gap < 0 else (second, first)
                named = [str(evidence.arms[arm]) for arm in (cheap, dear)]
                reversed_pairs.append(TaskPriceReversal(task, named[0], named[1], costs[cheap] / costs[dear]))
    return sorted(reversed_pairs, key=lambda pair: -pair.times), pairs


def rank_agreement(evidence: Evidence, without: Sequence[int] = (), thinking: bool = True) -> dict[str, float]:
    """Kendall's tau of list price and cost over the models of each task that has two or more: 1 where the order is one.

    Pairs of equal price or cost count neither way (tau-a).  without, thinking: as in `reversals`.
    """
    prices = {arm: price for arm, price in list_prices(evidence).items() if arm not in without}
    found = {}
    for task, costs in _task_costs(evidence, prices, thinking).items():
        pairs = list(combinations(costs, 2))
        gaps = [(prices[a].total - prices[b].total) * (costs[a] - costs[b]) for a, b in pairs]
        if pairs:
            found[task] = float(np.sign(gaps).mean())
    return found


def _task_costs(evidence: Evidence, prices: dict[int, ListPrice], thinking: bool) -> dict[str, dict[int, float]]:
    rows = evidence.rows
    task = np.array([item.task for item in evidence.items])[rows.question]
    costs: dict[str, dict[int, float]] = {}
    for name in sorted(set(task.tolist())):
        for arm, price in prices.items():
            use = (task == name) & (rows.arm == arm) & (rows.role == SOLVER) & np.isfinite(rows.usd)
            if use.any():
                costs.setdefault(name, {})[arm] = _cost(evidence, use, price, thinking)
    return costs


def _cost(evidence: Evidence, use: Floats, price: ListPrice, thinking: bool) -> float:
    paid = float(evidence.rows.usd[use].sum())
    spent = float(np.nansum(evidence.rows.reasoning_tokens[use])) * price.output_usd
    return paid if thinking else paid - spent


def _price_order_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence) or len(list_prices(evidence)) < 2:
        return []
    reversed_pairs, pairs = reversals(evidence)
    if not pairs:
        return []
    without_thinking, _ = reversals(evidence, thinking=False)
    with_all, without = (rank_agreement(evidence, thinking=thinking) for thinking in (True, False))
    worst = "; ".join(
        f"{r.listed_cheaper} {r.times:.1f} times {r.listed_dearer} on {r.task}" for r in reversed_pairs[:2]
    )
    return [
        LawFinding(
            "price_order", "all pairs", "pairs that cost in reverse of list price", len(reversed_pairs), note=worst
        ),
        LawFinding(
            "price_order",
            "all pairs",
            "the same, thinking tokens left out",
            len(without_thinking),
            note=f"of {pairs} pairs",
        ),
        _agreement_finding("Kendall's tau of list price and cost", with_all, query),
        _agreement_finding("the same tau, thinking tokens left out", without, query),
    ]


def _agreement_finding(quantity: str, by_task: dict[str, float], query: LawQuery) -> LawFinding:
    """Mean over tasks; the interval is from resampled tasks."""
    told = ", ".join(f"{task or 'all'} {tau:.2f}" for task, tau in by_task.items())
    values = np.array(list(by_task.values()))
    return LawFinding("price_order", "mean over tasks", quantity, float(values.mean()), *mean_band(values, query), told)


LAW = EvidenceLaw(
    "price_order",
    "pairs of models whose cost is in reverse of their list price",
    _price_order_findings,
    "two models with input_tokens, output_tokens and usd from which list prices follow",
)

"""Whether the model with the lower list price costs less: it need not, once thinking tokens are paid for.

The Price Reversal, arXiv 2603.23971: on a task a pair reverses if the sign of the difference in list price (input plus
output, $ per token) is not that of the difference in cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from comptroller.work.evidence import SOLVER, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery


@dataclass(frozen=True, slots=True)
class ListPrice:
    """Dollars per token that recorded dollars follow."""

    input_usd: float
    output_usd: float

    @property
    def total(self) -> float:
        """What models are ranked by: input plus output price."""
        return self.input_usd + self.output_usd


@dataclass(frozen=True, slots=True)
class TaskPriceReversal:
    """A pair on a task whose order by cost is not that by list price; times: dearer over cheaper, by cost."""

    task: str
    listed_cheaper: str
    listed_dearer: str
    times: float


def list_prices(evidence: Evidence) -> dict[int, ListPrice]:
    """Prices per token of the arms whose recorded dollars are tokens times a price, to one part in a million."""
    rows = evidence.rows
    made = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    found = {}
    for arm in range(len(evidence.arms)):
        use = (rows.arm == arm) & np.isfinite(rows.usd) & (rows.usd > 0) & np.isfinite(rows.input_tokens + made)
        table = np.stack([rows.input_tokens[use], made[use]], axis=1)
        if len(table) < 3 or np.linalg.matrix_rank(table) < 2:
            continue
        price, *_ = np.linalg.lstsq(table, rows.usd[use], rcond=None)
        if np.allclose(table @ price, rows.usd[use], rtol=1e-6, atol=1e-12):
            found[arm] = ListPrice(float(price[0]), float(price[1]))
    return found


def reversals(
    evidence: Evidence, without: Sequence[int] = (), thinking: bool = True
) -> tuple[list[TaskPriceReversal], int]:
    """Reversed pairs over all tasks, and how many pairs there were.

    without: arms left out.  thinking: whether thinking tokens are paid for.
    """
    prices = {arm: price for arm, price in list_prices(evidence).items() if arm not in without}
    total = _task_costs(evidence, prices, thinking)
    found, pairs = [], 0
    for task, costs in total.items():
        for one, other in combinations(sorted(costs), 2):
            pairs += 1
            gap = prices[one].total - prices[other].total
            if gap * (costs[one] - costs[other]) < 0:
                cheap, dear = (one, other) if gap < 0 else (other, one)
                named = [str(evidence.arms[arm]) for arm in (cheap, dear)]
                found.append(TaskPriceReversal(task, named[0], named[1], costs[cheap] / costs[dear]))
    return sorted(found, key=lambda pair: -pair.times), pairs


def _task_costs(evidence: Evidence, prices: dict[int, ListPrice], thinking: bool) -> dict[str, dict[int, float]]:
    rows = evidence.rows
    task = np.array([item.task for item in evidence.items])[rows.question]
    found: dict[str, dict[int, float]] = {}
    for name in sorted(set(task.tolist())):
        for arm, price in prices.items():
            use = (task == name) & (rows.arm == arm) & (rows.role == SOLVER) & np.isfinite(rows.usd)
            if use.any():
                found.setdefault(name, {})[arm] = _cost(evidence, use, price, thinking)
    return found


def _cost(evidence: Evidence, use: Floats, price: ListPrice, thinking: bool) -> float:
    paid = float(evidence.rows.usd[use].sum())
    spent = float(np.nansum(evidence.rows.reasoning_tokens[use])) * price.output_usd
    return paid if thinking else paid - spent


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    if not isinstance(known, Evidence) or len(list_prices(known)) < 2:
        return []
    found, pairs = reversals(known)
    if not pairs:
        return []
    rest, _ = reversals(known, thinking=False)
    worst = "; ".join(f"{r.listed_cheaper} {r.times:.1f} times {r.listed_dearer} on {r.task}" for r in found[:2])
    return [
        LawFinding("price_order", "all pairs", "pairs that cost in reverse of list price", len(found), note=worst),
        LawFinding(
            "price_order", "all pairs", "the same, thinking tokens left out", len(rest), note=f"of {pairs} pairs"
        ),
    ]


LAW = EvidenceLaw("price_order", "pairs of models whose cost is in reverse of their list price", _find)

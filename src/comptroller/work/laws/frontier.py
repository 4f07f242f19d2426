"""The Pareto frontier of cost and quality over arms, with intervals from resampled questions.

Arms are compared on the questions that all of them answered.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, TOKENS, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, means, names

LEAST_SHARE = 0.5
"""Share of a task's questions that an arm must have answered to be compared on it: one that answered few would take the
questions of all others down to those few. The share must be exceeded, so that at twice this no arm would be
compared."""


@dataclass(frozen=True, slots=True)
class CostQualityPoint:
    """An option with its mean cost and quality over questions, and their intervals.

    by: the cheapest option that dominates it (costs no more, is no worse, and differs in one); None on the frontier.
    stays: share of the resamples in which the option is on the frontier.
    """

    name: str
    cost: float
    cost_band: tuple[float, float]
    quality: float
    quality_band: tuple[float, float]
    by: str | None
    stays: float


def undominated_mask(cost: npt.ArrayLike, quality: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """True for options that no other dominates. One dominates if it costs no more, is no worse, and differs in one.

    >>> undominated_mask([1, 2, 3, 3], [0.5, 0.4, 0.9, 0.9]).tolist()
    [True, False, True, True]
    """
    costs, worth = np.asarray(cost, float), np.asarray(quality, float)
    no_dearer = costs[:, None] <= costs[None, :]
    no_worse = worth[:, None] >= worth[None, :]
    better = (costs[:, None] < costs[None, :]) | (worth[:, None] > worth[None, :])
    return ~np.asarray((no_dearer & no_worse & better).any(axis=0))


def frontier(options: list[str], cost: Floats, quality: Floats, query: LawQuery) -> list[CostQualityPoint]:
    """The options as points, the cheapest first.

    cost, quality: of shape (questions, options), NaN where not recorded.

    Raises:
        UnsupportedError: no question has cost and quality of every option.
    """
    both = np.isfinite(cost).all(axis=1) & np.isfinite(quality).all(axis=1)
    if not both.any():
        raise UnsupportedError("no frontier: no question has cost and score of every option")
    costs, worth = cost[both], quality[both]
    rng = np.random.default_rng(query.seed)
    picks = rng.integers(0, len(costs), (query.draws, len(costs)))
    mean_cost = np.array([costs[pick].mean(axis=0) for pick in picks])
    mean_worth = np.array([worth[pick].mean(axis=0) for pick in picks])
    stays = np.mean([undominated_mask(c, w) for c, w in zip(mean_cost, mean_worth, strict=True)], axis=0)
    centre, level = (costs.mean(axis=0), worth.mean(axis=0)), query.level
    return [
        CostQualityPoint(
            options[i],
            float(centre[0][i]),
            band(mean_cost[:, i], level),
            float(centre[1][i]),
            band(mean_worth[:, i], level),
            _dominating_option(i, options, *centre),
            float(stays[i]),
        )
        for i in np.argsort(centre[0], kind="stable")
    ]


def _dominating_option(option: int, options: list[str], cost: Floats, quality: Floats) -> str | None:
    """Name of the cheapest option that dominates the one at an index; None if none does."""
    for other in np.argsort(cost, kind="stable").tolist():
        no_dearer, no_worse = bool(cost[other] <= cost[option]), bool(quality[other] >= quality[option])
        if no_dearer and no_worse and (cost[other] < cost[option] or quality[other] > quality[option]):
            return options[int(other)]
    return None


def arm_costs(evidence: Evidence) -> tuple[str, Floats]:
    """The unit of cost, and the mean cost of a reply, of shape (questions, arms); NaN where not recorded.

    The unit is "usd", or "tokens" where no dollars are recorded.
    """
    rows = evidence.rows
    solver = rows.role == SOLVER
    if np.isfinite(rows.usd[solver]).any():
        return "usd", means(evidence, rows.usd, solver)
    total = np.nansum([getattr(rows, name) for name in TOKENS], axis=0)
    tokens = np.where(np.isfinite(rows.output_tokens), total, np.nan)
    return "tokens", means(evidence, tokens, solver)


def _frontier_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence) or len(evidence.arms) < 2:
        return []
    unit, cost = arm_costs(evidence)
    quality = means(evidence, evidence.rows.score, evidence.rows.role == SOLVER)
    recorded = np.flatnonzero(np.isfinite(cost).any(axis=0) & np.isfinite(quality).any(axis=0))
    findings = []
    tasks = sorted({item.task for item in evidence.items})
    for task in tasks:
        of_task = np.array([item.task == task for item in evidence.items])
        answered = np.isfinite(cost[of_task] + quality[of_task]).mean(axis=0)
        compared = [i for i in recorded if answered[i] > LEAST_SHARE]
        if len(compared) < 2:
            continue
        options = [names(evidence)[i] for i in compared]
        for point in frontier(options, cost[of_task][:, compared], quality[of_task][:, compared], query):
            subject = f"{point.name}, {task}" if task else point.name
            beaten = f"dominated by {point.by}" if point.by else "on the frontier"
            note = f"{beaten}; on it in {point.stays:.0%} of resamples"
            findings += [
                LawFinding("frontier", subject, f"{unit} a question", point.cost, *point.cost_band, note),
                LawFinding("frontier", subject, "score", point.quality, *point.quality_band, note),
            ]
    return findings


LAW = EvidenceLaw(
    "frontier",
    "cost against quality of the arms, dominated ones named",
    _frontier_findings,
    "two models, formats or efforts with scores and usd or tokens",
)

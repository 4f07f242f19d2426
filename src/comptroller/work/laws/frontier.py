"""The frontier of cost and quality: which arms nothing cheaper matches, with bands from resampled questions.

Only questions that all compared arms answered count, so that arms are compared on the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, TOKENS, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, means, names


@dataclass(frozen=True, slots=True)
class CostQualityPoint:
    """An option at its mean cost and quality over questions, with bands.

    by: the cheapest option that costs no more, is no worse, and is not equal in both; None on the frontier.
    stays: share of the resamples in which it is on the frontier.
    """

    name: str
    cost: float
    cost_band: tuple[float, float]
    quality: float
    quality_band: tuple[float, float]
    by: str | None
    stays: float


def undominated_mask(cost: npt.ArrayLike, quality: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """Options that no other beats: costs no more and is no worse, and one of both strictly.

    >>> undominated_mask([1, 2, 3, 3], [0.5, 0.4, 0.9, 0.9]).tolist()
    [True, False, True, True]
    """
    costs, worth = np.asarray(cost, float), np.asarray(quality, float)
    no_dearer = costs[:, None] <= costs[None, :]
    no_worse = worth[:, None] >= worth[None, :]
    better = (costs[:, None] < costs[None, :]) | (worth[:, None] > worth[None, :])
    return ~np.asarray((no_dearer & no_worse & better).any(axis=0))


def frontier(options: list[str], cost: Floats, quality: Floats, asking: LawQuery) -> list[CostQualityPoint]:
    """The options as points, cheapest first. cost, quality: questions x options.

    Raises:
        UnsupportedError: no question has cost and quality of every option.
    """
    both = np.isfinite(cost).all(axis=1) & np.isfinite(quality).all(axis=1)
    if not both.any():
        raise UnsupportedError("no frontier: no question has cost and score of every option")
    costs, worth = cost[both], quality[both]
    rng = np.random.default_rng(asking.seed)
    picks = rng.integers(0, len(costs), (asking.draws, len(costs)))
    mean_cost = np.array([costs[pick].mean(axis=0) for pick in picks])
    mean_worth = np.array([worth[pick].mean(axis=0) for pick in picks])
    stays = np.mean([undominated_mask(c, w) for c, w in zip(mean_cost, mean_worth, strict=True)], axis=0)
    centre, level = (costs.mean(axis=0), worth.mean(axis=0)), asking.level
    return [
        CostQualityPoint(
            options[i],
            float(centre[0][i]),
            band(mean_cost[:, i], level),
            float(centre[1][i]),
            band(mean_worth[:, i], level),
            _beaten_by(i, options, *centre),
            float(stays[i]),
        )
        for i in np.argsort(centre[0], kind="stable")
    ]


def _beaten_by(one: int, options: list[str], cost: Floats, quality: Floats) -> str | None:
    for other in np.argsort(cost, kind="stable").tolist():
        no_dearer, no_worse = bool(cost[other] <= cost[one]), bool(quality[other] >= quality[one])
        if no_dearer and no_worse and (cost[other] < cost[one] or quality[other] > quality[one]):
            return options[int(other)]
    return None


def arm_costs(evidence: Evidence) -> tuple[str, Floats]:
    """What a reply of each arm costs on each question, and in what: dollars, or tokens where none are recorded."""
    rows = evidence.rows
    use = rows.role == SOLVER
    if np.isfinite(rows.usd[use]).any():
        return "usd", means(evidence, rows.usd, use)
    total = np.nansum([getattr(rows, name) for name in TOKENS], axis=0)
    known = np.isfinite(rows.output_tokens)
    return "tokens", means(evidence, np.where(known, total, np.nan), use)


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    if not isinstance(known, Evidence) or len(known.arms) < 2:
        return []
    unit, cost = arm_costs(known)
    quality = means(known, known.rows.score, known.rows.role == SOLVER)
    recorded = np.flatnonzero(np.isfinite(cost).any(axis=0) & np.isfinite(quality).any(axis=0))
    found = []
    tasks = sorted({item.task for item in known.items})
    for task in tasks:
        mine = np.array([item.task == task for item in known.items])
        full = [i for i in recorded if np.isfinite(cost[mine, i] + quality[mine, i]).mean() > 0.5]
        if len(full) < 2:
            continue
        options = [names(known)[i] for i in full]
        for point in frontier(options, cost[mine][:, full], quality[mine][:, full], asking):
            where = f"{point.name}, {task}" if task else point.name
            beaten = f"dominated by {point.by}" if point.by else "on the frontier"
            note = f"{beaten}; on it in {point.stays:.0%} of resamples"
            found += [
                LawFinding("frontier", where, f"{unit} a question", point.cost, *point.cost_band, note),
                LawFinding("frontier", where, "score", point.quality, *point.quality_band, note),
            ]
    return found


LAW = EvidenceLaw("frontier", "cost against quality of the arms, dominated ones named", _find)

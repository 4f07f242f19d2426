"""Compute to a target, and score per unit of compute: C@tau and AE of curves of score over compute.

R(C) is the coverage of a model's samples over their cumulated cost (dollars where they are recorded, tokens otherwise).
C@tau is the least cost at which R reaches tau; AE, the average efficiency, what R gains per unit of cost on the way to
the last recorded sample. Risk under pressure, arXiv 2606.11409, has them of attacks and FLOPs: a ranking at one number
of samples hides orders of magnitude of cost.
"""

from __future__ import annotations

from math import ceil, floor, inf

import numpy as np

from comptroller.work.evidence import Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, names, whole_counts
from comptroller.work.laws.coverage import pass_at_k
from comptroller.work.laws.frontier import arm_costs

TARGETS = (0.25, 0.5, 0.75, 0.9)
"""Shares of questions that C@tau is told of."""

MOST_DRAWS = 300
"""Most resamples of questions: each is a search on a curve that is worked out once; ends move by 0.02 of the interval
at twice as many."""


def cost_at_target(cost: Floats, score: Floats, target: float) -> float:
    """The least cost at which a rising curve reaches a target, between its points in proportion; inf beyond its end.

    >>> cost_at_target(np.array([1.0, 2.0, 4.0]), np.array([0.2, 0.4, 0.6]), 0.5)
    3.0
    """
    reached = np.flatnonzero(score >= target)
    if not len(reached):
        return inf
    place = int(reached[0])
    if place == 0:
        return float(cost[0])
    return float(np.interp(target, score[place - 1 : place + 1], cost[place - 1 : place + 1]))


def reach_band(costs: list[float], level: float) -> tuple[float, float]:
    """The central interval of costs of which some are never reached (inf): an end among those is inf, not left out.

    >>> reach_band([1.0, 2.0, 3.0, inf], 0.9)
    (1.0, inf)
    """
    ordered, last = sorted(costs), len(costs) - 1
    return ordered[floor((1 - level) / 2 * last)], ordered[ceil((1 + level) / 2 * last)]


def average_efficiency(cost: Floats, score: Floats) -> float:
    """What a curve gains per unit of cost from the first point to the last.

    >>> average_efficiency(np.array([1.0, 2.0, 5.0]), np.array([0.2, 0.4, 0.6])).__round__(3)
    0.1
    """
    return float((score[-1] - score[0]) / (cost[-1] - cost[0]))


def _target_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence):
        return []
    counts = whole_counts(evidence)
    unit, costs = arm_costs(evidence)
    findings = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        each = costs[counts.n[:, number] > 0, number]
        if not len(n) or n.min() < 2 or not np.isfinite(each).all():
            continue
        sizes = np.arange(1, int(n.min()) + 1)
        covered = pass_at_k(n[:, None], correct[:, None], sizes[None, :])
        findings += _findings_of(arm, unit, (each, covered), query)
    return findings


def _findings_of(arm: str, unit: str, of: tuple[Floats, Floats], query: LawQuery) -> list[LawFinding]:
    each, covered = of
    sizes = np.arange(1, covered.shape[1] + 1)
    rng = np.random.default_rng(query.seed)
    picks = rng.integers(0, len(each), (min(query.draws, MOST_DRAWS), len(each)))
    curves = [(each[pick].mean() * sizes, covered[pick].mean(axis=0)) for pick in picks]
    cost, score = each.mean() * sizes, covered.mean(axis=0)
    note = f"up to {len(sizes)} samples of {len(each):,} questions, which solve {score[-1]:.1%}"
    findings = []
    for target in [target for target in TARGETS if score[0] < target <= score[-1]]:
        ends = reach_band([cost_at_target(*curve, target) for curve in curves], query.level)
        value = cost_at_target(cost, score, target)
        findings.append(LawFinding("target_compute", arm, f"C@{target:g}, {unit} a question", value, *ends, note))
    ends = band([average_efficiency(*curve) for curve in curves], query.level)
    gain = average_efficiency(cost, score)
    return [*findings, LawFinding("target_compute", arm, f"AE, score per {unit}", gain, *ends, note)]


LAW = EvidenceLaw(
    "target_compute",
    "cost at which a share is solved (C@tau), score per unit of cost",
    _target_findings,
    "2 or more scored samples of every question, with usd or tokens",
)

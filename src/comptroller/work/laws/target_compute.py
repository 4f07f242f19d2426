"""Compute to a target, and score per unit of compute: C@tau and AE of curves of score over compute.

R(C) is the share solved over the mean cost of a question (dollars where they are recorded, tokens otherwise), from
nothing on: the coverage of a model's samples over their cumulated cost; where one reply of a question is recorded, of
runs that a budget cuts, which take the budget and solve nothing. Between two points some questions get the one and some
the other, so that budgets need not be whole samples. C@tau is the least cost at which R reaches tau; AE, the average
efficiency, what R gains per unit of cost from the first point to the last. Risk under pressure, arXiv 2606.11409, has
them of attacks and FLOPs: a ranking at one number of samples hides orders of magnitude of cost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


def budget_curve(cost: Floats, score: Floats) -> tuple[Floats, Floats]:
    """Mean cost, and share solved, of runs that a budget cuts, at every budget that ends one; from nothing on.

    cost, score: of the whole runs.

    >>> budget_curve(np.array([1.0, 4.0]), np.array([1.0, 1.0]))
    (array([0. , 1. , 2.5]), array([0. , 0.5, 1. ]))
    """
    order = np.argsort(cost, kind="stable")
    ends, count = cost[order], len(cost)
    spent = (np.cumsum(ends) + ends * np.arange(count - 1, -1, -1)) / count
    return np.concatenate([[0.0], spent]), np.concatenate([[0.0], np.cumsum(score[order]) / count])


def sample_curve(cost: Floats, covered: Floats) -> tuple[Floats, Floats]:
    """Mean cost, and share solved, of k samples of every question, k = 0, 1, ...

    cost: of a sample, shape (questions,).  covered: pass@k, shape (questions, samples).
    """
    spent = cost.mean() * np.arange(covered.shape[1] + 1)
    return spent, np.concatenate([[0.0], covered.mean(axis=0)])


def _target_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence):
        return []
    counts = whole_counts(evidence)
    unit, costs = arm_costs(evidence)
    findings = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        each = costs[counts.n[:, number] > 0, number]
        known = np.isfinite(each)
        n, correct, each = n[known], correct[known], each[known]
        if len(n) < 2:
            continue
        sizes = np.arange(1, int(n.min()) + 1)
        told = f"{len(n):,} questions"
        if len(sizes) > 1:
            made: Made = sample_curve, each, pass_at_k(n[:, None], correct[:, None], sizes[None, :])
            note = f"up to {len(sizes)} samples of {told}"
        else:
            made, note = (budget_curve, each, correct / n), f"one run of each of {told}, cut by a budget"
        findings += _findings_of(arm, unit, made, note, query)
    return findings


Made = tuple[Callable[[Floats, Floats], tuple[Floats, Floats]], Floats, Floats]
"""How a curve is made, and of what, by question."""

PER: Mapping[str, tuple[float, str]] = {"usd": (1.0, "dollar"), "tokens": (1000.0, "1,000 tokens")}
"""Unit of cost -> how many of them AE is told of, and what they are called."""


def _findings_of(arm: str, unit: str, made: Made, note: str, query: LawQuery) -> list[LawFinding]:
    curve_of, each, solved = made
    rng = np.random.default_rng(query.seed)
    picks = rng.integers(0, len(each), (min(query.draws, MOST_DRAWS), len(each)))
    curves = [curve_of(each[pick], solved[pick]) for pick in picks]
    cost, score = curve_of(each, solved)
    note = f"{note}, which solve {score[-1]:.1%}"
    findings = []
    for target in [target for target in TARGETS if target <= score[-1]]:
        ends = reach_band([cost_at_target(*curve, target) for curve in curves], query.level)
        value = cost_at_target(cost, score, target)
        findings.append(LawFinding("target_compute", arm, f"C@{target:g}, {unit} a question", value, *ends, note))
    times, name = PER[unit]
    low, high = band([times * average_efficiency(*curve) for curve in curves], query.level)
    gain = times * average_efficiency(cost, score)
    return [*findings, LawFinding("target_compute", arm, f"AE, share solved per {name}", gain, low, high, note)]


LAW = EvidenceLaw(
    "target_compute",
    "cost at which a share is solved (C@tau), score per unit of cost",
    _target_findings,
    "scored replies to two questions or more, with usd or tokens",
)

"""Sampling one by one until a checker of stated error rates accepts, over all orders of the recorded samples, exactly.

Samples that are accepted with the same chance are exchangeable. With the others in any order, none of the first k of N
is accepted with the chance G(k) = [x^k] prod_g (1 + (1 - a_g) x)^n_g / C(N, k), a product over groups of n_g samples
that are accepted with chance a_g. One sample is drawn (k + 1)-th, unless another was accepted before, with G(k) / N of
the N - 1 others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import nan
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from comptroller.quantities import Cost
from comptroller.strategies.expected_runs import ExpectedRun, PoolMeans
from comptroller.strategies.recorded_service import RIGHT, ModelledChecker
from comptroller.strategies.sample_pools import BLANK, CUT, LOST, SamplePool, SampleTable, combined_cost
from comptroller.strategies.sampled_runs import chance_of_at_most
from comptroller.work.vote_means import log_choose

Floats = npt.NDArray[np.float64]

MOST_SAMPLES = 1000
"""Recorded samples of a question up to which orders are counted: C(1000, 500) is 3e299, near the largest double."""


class DrawnGroup(NamedTuple):
    """Samples of a pool of which any is drawn as likely as another. member: (questions, samples).  drawn: (questions,
    sizes), how many of them are drawn on average."""

    member: npt.NDArray[np.bool_]
    drawn: Floats


def drawn_sum(values: npt.ArrayLike, groups: Sequence[DrawnGroup]) -> Floats:
    """(questions, sizes): mean sum of values, (questions, samples), over the samples that are drawn.

    >>> both = DrawnGroup(np.array([[True, True]]), np.array([[1.0, 1.5]]))
    >>> drawn_sum([[1.0, 3.0]], [both]).tolist()
    [[2.0, 3.0]]
    """
    parts = []
    for member, drawn in groups:
        total = np.where(member, values, 0.0).sum(axis=1, keepdims=True)
        mean = total / np.maximum(member.sum(axis=1, keepdims=True), 1)
        parts.append(np.where(drawn > 0.0, drawn * mean, 0.0))
    return np.asarray(np.sum(parts, axis=0))


def drawn_cost(pool: SamplePool, groups: Sequence[DrawnGroup]) -> Cost:
    """The mean cost of the samples that are drawn, a `Cost` of arrays of shape (questions, sizes)."""
    return combined_cost([pool.cost], lambda one: drawn_sum(np.atleast_2d(one[0]), groups))


@dataclass(frozen=True, slots=True)
class StoppedRun:
    """Samples one by one until one is accepted, at most `cap`; else the first that was checked.

    accept: least score of an accepting check.  checker: its role.
    """

    cap: int
    accept: float
    checker: str

    @classmethod
    def runs(cls, forms: Sequence[StoppedRun], table: SampleTable) -> list[ExpectedRun | None]:
        """The means of each; those that differ in the cap alone are computed together."""
        families: dict[StoppedRun, list[int]] = {}
        for form in forms:
            families.setdefault(replace(form, cap=1), []).append(form.cap)
        found: dict[StoppedRun, ExpectedRun] = {}
        for family, caps in families.items():
            found |= _family_runs(family, sorted(set(caps)), table)
        return [found.get(form) for form in forms]


def _family_runs(family: StoppedRun, caps: list[int], table: SampleTable) -> dict[StoppedRun, ExpectedRun]:
    pools, checker = table.pools("solver"), table.replay.roles.get(family.checker)
    recorded = min((pool.samples for pool in pools), default=0)
    caps = [cap for cap in caps if cap <= recorded]
    if not caps or not isinstance(checker, ModelledChecker) or any(pool.samples > MOST_SAMPLES for pool in pools):
        return {}
    gathered = PoolMeans(len(table.questions), caps)
    for pool in pools:
        accepted = _acceptance(pool, checker, family.accept)
        if accepted is None:
            return {}
        _add(gathered, pool, np.array(caps), checker, table)
    return {replace(family, cap=cap): gathered.run(at) for at, cap in enumerate(caps)}


def _add(
    gathered: PoolMeans, pool: SamplePool, caps: npt.NDArray[np.int64], checker: ModelledChecker, table: SampleTable
) -> None:
    whole, right = pool.state >= BLANK, pool.score >= RIGHT
    members = (whole & right, whole & ~right, ~whole)
    kinds, kind = np.unique(np.stack([one.sum(axis=1) for one in members], axis=1), axis=0, return_inverse=True)
    odds = np.stack([_odds((*one,), (checker.tpr, checker.fpr, 0.0), (*caps.tolist(),)) for one in kinds.tolist()])
    # (groups, questions, caps): how many of a group are drawn, and the chance that one of it is the answer
    drawn, taken = odds[kind.reshape(-1)].transpose(1, 2, 0, 3)
    groups = list(map(DrawnGroup, members, drawn))
    answers = list(map(DrawnGroup, members, taken))
    checks, strong = drawn[0] + drawn[1], table.replay.strong_roles
    calls = drawn.sum(axis=0) + checks
    none, short = (chance_of_at_most(pool, state, caps) for state in (LOST, CUT))
    cut = DrawnGroup(pool.state == CUT, np.asarray(short - none))
    elapsed = np.full(calls.shape, nan)
    if table.replay.timed:
        elapsed = drawn_sum(pool.seconds, groups) + checks * checker.seconds
    gathered.add(
        pool,
        Cost(),
        drawn_cost(pool, groups) + checker.cost * checks,
        score=drawn_sum(pool.score, [*answers, cut]),
        square=drawn_sum(pool.score**2, [*answers, cut]),
        calls=calls,
        strong_calls=calls - checks if "solver" in strong else np.full(calls.shape, 0.0 if strong else nan),
        elapsed_s=elapsed,
        lost=drawn[2],
        truncated=short - none,
        unanswered=none,
    )


def _odds(count: tuple[int, ...], rates: tuple[float, ...], caps: tuple[int, ...]) -> Floats:
    """(2, groups, caps): how many of each group are drawn on average, and the chance that one of it is the answer.

    count, rates: samples of each group, and the chance that one is accepted; those of the last are not checked.
    """
    found, at = np.zeros((2, len(count), len(caps))), np.array(caps) - 1
    total = sum(count)
    for group, samples in enumerate(count):
        if not samples:
            continue
        others = tuple(one - (number == group) for number, one in enumerate(count))
        found[0, group] = np.cumsum(_going(others, rates))[at] * samples / total
        if group < len(count) - 1:
            kept = samples * (1.0 - rates[group]) * _drawn_behind(others, rates, at)
            found[1, group] = rates[group] * found[0, group] + kept
    return found


def _drawn_behind(others: tuple[int, ...], rates: tuple[float, ...], at: npt.NDArray[np.int64]) -> Floats:
    """(caps,): chance that a sample is drawn after unchecked ones alone, and that none of the others is accepted."""
    *checked, unchecked = others
    total, found = sum(others) + 1, np.zeros(len(at))
    for before in range(min(unchecked, int(at.max())) + 1):
        reach = at >= before
        chance = np.exp(log_choose(unchecked, before) - log_choose(total, before)) / (total - before)
        found[reach] += chance * _going((*checked, unchecked - before), rates)[at[reach] - before]
    return found


@lru_cache(maxsize=1 << 14)  # each holds as many numbers as there are samples; a study of 64 samples has 2,000 counts
def _going(count: tuple[int, ...], rates: tuple[float, ...]) -> Floats:
    """Chance that none of the first k samples is accepted, for every k from 0 to all of them."""
    ways = np.ones(1)
    for samples, rate in zip(count, rates, strict=True):
        drawn = np.arange(samples + 1)
        ways = np.convolve(ways, np.exp(log_choose(samples, drawn)) * (1.0 - rate) ** drawn)
    return np.asarray(ways / np.exp(log_choose(sum(count), np.arange(len(ways)))))


def _acceptance(pool: SamplePool, checker: object, accept: float) -> Floats | None:
    """(questions, samples): chance that a checker of stated error rates accepts each sample, 0 for those that it is not
    asked about; None where the checker is another, a sample to be judged has no score, or `accept` is outside (0, 1],
    where not every verdict of 1, or some verdict of 0, is accepted."""
    whole = pool.state >= BLANK
    if type(checker) is not ModelledChecker or not 0 < accept <= 1 or np.isnan(pool.score[whole]).any():
        return None
    return np.where(whole, np.where(pool.score >= RIGHT, checker.tpr, checker.fpr), 0.0)

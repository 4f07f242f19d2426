"""What the best rated of n samples scores over all choices of them among the recorded ones, exactly; ties shared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.strategies.replay import RecordedService
from comptroller.strategies.sample_pools import BLANK, NAMED, SamplePool, SampleTable, combined_cost
from comptroller.strategies.sample_weights import known_for_candidates, weights_of
from comptroller.strategies.sampled_runs import ChoiceMeans
from comptroller.work.best_means import expected_best
from comptroller.work.evidence import VERIFIER
from comptroller.work.vote_means import log_choose

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class BestChoice:
    """The candidate that its own score or likelihood rates highest. by: name of the weight, as in `votes.WEIGHTS`."""

    by: str

    def means(self, pool: SamplePool, sizes: Sequence[int], table: SampleTable) -> ChoiceMeans | None:
        """Exact; None where a candidate has no rating."""
        rating = weights_of(pool, self.by, table.replay.evidence)
        return None if rating is None else ChoiceMeans(*_best_rated(pool, rating, sizes))


@dataclass(frozen=True, slots=True)
class RewardedChoice:
    """The candidate that a reward model scores highest. role: of the model, asked about every candidate."""

    role: str

    def means(self, pool: SamplePool, sizes: Sequence[int], table: SampleTable) -> ChoiceMeans | None:
        """Exact; None where the reward is modelled, or where it is not recorded once for every candidate."""
        service, rows = table.replay.roles.get(self.role), table.replay.evidence.rows
        if not isinstance(service, RecordedService):
            return None
        candidate = pool.state >= BLANK
        judge, once = _single_verdicts(table, table.replay.arm(service, ""), pool.row)
        if not once[candidate].all() or (table.replay.timed and (pool.state == BLANK).any()):
            return None
        judged = np.where(candidate, rows.judgement[judge], np.nan)
        rating = known_for_candidates(pool, np.where(candidate & np.isnan(judged), -np.inf, judged))
        if rating is None or np.isin(rows.finish[judge[candidate]], ("length", "failed", "refused")).any():
            return None
        cost = table.replay.costs(service, judge)
        seconds = None
        if table.replay.timed:
            last = table.replay.last_seconds(service, judge, cost.tokens)
            waited = np.zeros(pool.row.shape)
            waited[candidate] = last[candidate]
            (seconds,) = expected_best(waited, [waited], sizes)
        return ChoiceMeans(
            *_best_rated(pool, rating, sizes),
            calls=_sum_over_verdicts(candidate.astype(float), pool, sizes),
            cost=combined_cost([cost], lambda one: _sum_over_verdicts(one[0], pool, sizes)),
            seconds=seconds,
            role=self.role,
        )


def _single_verdicts(table: SampleTable, arm: int, row: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The row of the verdict of a model on each of an array of rows, and whether there is just one."""
    rows = table.replay.evidence.rows
    verdicts = np.flatnonzero((rows.arm == arm) & (rows.role == VERIFIER) & (rows.parent >= 0))
    count = np.bincount(rows.parent[verdicts], minlength=len(rows))
    verdict = np.zeros(len(rows), np.int64)
    verdict[rows.parent[verdicts]] = verdicts
    return verdict[row], count[row] == 1


def _best_rated(pool: SamplePool, rating: Floats, sizes: Sequence[int]) -> tuple[Floats, Floats]:
    """Means of the score and of its square: among samples of the highest state that is drawn, the best rated."""
    levels, rank = np.unique(rating, return_inverse=True)
    candidate = pool.state >= BLANK
    key: Floats = np.asarray(pool.state * len(levels) + np.where(candidate, rank.reshape(rating.shape), 0), float)
    score, square = expected_best(key, [pool.score, pool.score**2], sizes)
    return score, square


def _sum_over_verdicts(amount: Floats, pool: SamplePool, sizes: Sequence[int]) -> Floats:
    """(questions, sizes): mean sum of an amount over the samples that are judged: those with an answer wherever they
    are drawn, those without one where none with an answer is."""
    size, named = np.asarray(sizes, float), pool.state == NAMED
    count, total = named.sum(axis=1, keepdims=True), pool.samples
    alone = np.exp(log_choose(total - count - 1, size - 1) - log_choose(total, size))
    with_answer, blank = (
        np.where(kind, amount, 0.0).sum(axis=1, keepdims=True) for kind in (named, pool.state == BLANK)
    )
    return np.asarray(with_answer * size / total + blank * np.where(count < total, alone, 0.0))

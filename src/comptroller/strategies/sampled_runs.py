"""Strategies that ask for all their samples at once and take one of them, in closed form."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import nan
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from comptroller.quantities import Cost
from comptroller.strategies.expected_runs import ExpectedRun, PoolMeans, mean_cost
from comptroller.strategies.sample_pools import BLANK, CUT, LOST, NAMED, SamplePool, SampleTable
from comptroller.work.best_means import expected_best
from comptroller.work.vote_means import log_choose

Floats = npt.NDArray[np.float64]


class ChoiceMeans(NamedTuple):
    """Means of a choice among samples of a pool; arrays of shape (questions, sizes).

    score, square: as in `ExpectedRun`.  deals: too, by size; none where all are exact.  calls, cost, seconds: of what
    is asked to choose, beside the samples; none asked where `calls` is None.  role: of whom.
    """

    score: Floats
    square: Floats
    deals: Sequence[int] = ()
    calls: Floats | None = None
    cost: Cost | None = None
    seconds: Floats | None = None
    role: str = ""


class SampleChoice(Protocol):
    """How one of several samples is taken."""

    def means(self, pool: SamplePool, sizes: Sequence[int], table: SampleTable) -> ChoiceMeans | None:
        """What the choice comes to at each number of samples; None where the record has no closed form for it."""
        ...


@dataclass(frozen=True, slots=True)
class FirstChoice:
    """The only sample."""

    def means(self, pool: SamplePool, sizes: Sequence[int], table: SampleTable) -> ChoiceMeans:
        """Means over the samples."""
        score, square = (values.mean(axis=1, keepdims=True) for values in (pool.score, pool.score**2))
        return ChoiceMeans(np.repeat(score, len(sizes), axis=1), np.repeat(square, len(sizes), axis=1))


@dataclass(frozen=True, slots=True)
class SampledRun:
    """Samples asked for at once, of which one is the answer.

    count: of them.  choice: how it is chosen.  role: who is asked, at which effort; greedy: at temperature 0.
    """

    count: int
    choice: SampleChoice
    role: str = "solver"
    effort: str = ""
    greedy: bool = False

    @classmethod
    def runs(cls, forms: Sequence[SampledRun], table: SampleTable) -> list[ExpectedRun | None]:
        """The means of each; those that differ in the number of samples alone are computed together."""
        families: dict[SampledRun, list[int]] = {}
        for form in forms:
            families.setdefault(replace(form, count=1), []).append(form.count)
        found: dict[SampledRun, ExpectedRun] = {}
        for family, sizes in families.items():
            found |= _family_runs(family, sorted(set(sizes)), table)
        return [found.get(form) for form in forms]


def _family_runs(family: SampledRun, sizes: list[int], table: SampleTable) -> dict[SampledRun, ExpectedRun]:
    pools = table.pools(family.role, family.effort, family.greedy)
    recorded = min((pool.samples for pool in pools), default=0)
    sizes = [size for size in sizes if size <= recorded]
    if not sizes:
        return {}
    gathered, deals = PoolMeans(len(table.questions), sizes), [0] * len(sizes)
    for pool in pools:
        means = family.choice.means(pool, sizes, table)
        if means is None:
            return {}
        deals = list(map(max, deals, means.deals or deals))
        _add(gathered, pool, np.array(sizes), means, family, table)
    return {replace(family, count=size): gathered.run(at, deals[at]) for at, size in enumerate(sizes)}


def _add(
    gathered: PoolMeans,
    pool: SamplePool,
    sizes: npt.NDArray[np.int64],
    means: ChoiceMeans,
    family: SampledRun,
    table: SampleTable,
) -> None:
    calls = np.broadcast_to(sizes.astype(float), means.score.shape)
    strong = table.replay.strong_roles
    strong_calls = calls * (family.role in strong) if strong else np.broadcast_to(nan, calls.shape)
    elapsed = np.broadcast_to(nan, calls.shape)
    if table.replay.timed:
        (elapsed,) = expected_best(pool.seconds, [pool.seconds], sizes)
    lost = calls * np.isin(pool.state, (LOST, CUT)).mean(axis=1, keepdims=True)
    if means.calls is not None:
        calls, strong_calls = calls + means.calls, strong_calls + means.calls * (means.role in strong)
        elapsed = elapsed + (0.0 if means.seconds is None else means.seconds)
    none, short = (chance_of_at_most(pool, state, sizes) for state in (LOST, CUT))
    gathered.add(
        pool, mean_cost(pool), means.cost, score=means.score, square=means.square, calls=calls,
        strong_calls=strong_calls, elapsed_s=elapsed, lost=lost, truncated=short - none, unanswered=none,
    )  # fmt: skip


def chance_of_at_most(pool: SamplePool, state: int, sizes: npt.ArrayLike) -> Floats:
    """(questions, sizes): chance that no sample of n ended in a higher state."""
    fewer = (pool.state <= state).sum(axis=1, keepdims=True)
    if not fewer.any():
        return np.broadcast_to(0.0, (len(fewer), np.size(sizes)))
    return np.asarray(np.exp(log_choose(fewer, sizes) - log_choose(pool.samples, sizes)))


def score_without_named(pool: SamplePool, score: Floats, sizes: npt.ArrayLike) -> Floats:
    """(questions, sizes): the part of the mean score that comes from choices in which no sample has an answer: the
    first whole one counts, else the first truncated one."""
    if (pool.state == NAMED).all():
        return np.broadcast_to(0.0, (len(pool.row), np.size(sizes)))
    none, short, blank = (chance_of_at_most(pool, state, sizes) for state in (LOST, CUT, BLANK))
    parts = ((blank - short, _mean_of(pool, score, BLANK)), (short - none, _mean_of(pool, score, CUT)))
    return np.asarray(np.sum([np.where(chance > 0.0, chance * mean, 0.0) for chance, mean in parts], axis=0))


def _mean_of(pool: SamplePool, score: Floats, state: int) -> Floats:
    here = pool.state == state
    total = np.where(here, score, 0.0).sum(axis=1, keepdims=True)
    return np.asarray(total / np.maximum(here.sum(axis=1, keepdims=True), 1))

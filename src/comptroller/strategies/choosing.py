"""Which strategy each kind of question gets: the compute-optimal choice of Snell et al., arXiv 2408.03314.

Questions are put in bins of predicted difficulty; on one half of them the mean score and cost of every setting are
taken per bin, a budget is split over bins and settings by equal marginal value, and the choice is judged on the
other half, which had no say in it; then the halves change places.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError
from comptroller.strategies.allocation import allocate
from comptroller.strategies.results import Results

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 5
"""Bins of difficulty, as in the paper."""

FEWEST = 4 * BINS
"""Questions below which a bin would have fewer than two in a half."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What the choice came to on questions that had no say in it, beside the best single setting chosen likewise.

    setting: index per question.  score, cost: per question.  shadow_price: mean over halves, score per unit of cost.
    """

    setting: Ints
    score: Floats
    cost: Floats
    single_score: Floats
    single_cost: Floats
    shadow_price: float


def bins_of(chance: Floats, count: int = BINS) -> Ints:
    """Bins of equal size by the predicted chance of success, the hardest first.

    >>> bins_of(np.array([0.9, 0.1, 0.5, 0.4]), 2).tolist()
    [1, 0, 1, 0]
    """
    order = np.argsort(np.argsort(chance, kind="stable"), kind="stable")
    return np.asarray(order * count // len(chance), np.int64)


def compute_optimal(
    settings: Sequence[Results],
    chance: Floats,
    mean_cost: float,
    rng: np.random.Generator,
    over: str = "tokens",
) -> Choice:
    """The choice of a setting for each question by the bin of its predicted chance, at a mean cost per question.

    Raises:
        InputError: the settings were replayed on different questions, or their score or cost is not known.
        Infeasible: the cheapest settings cost more.
    """
    if any(not np.array_equal(one.question, settings[0].question) for one in settings):
        raise InputError("the settings were not replayed on the same questions")
    score = np.stack([one.score for one in settings], axis=1)
    cost = np.stack([one.column(over) for one in settings], axis=1)
    if np.isnan(score).any() or np.isnan(cost).any():
        raise InputError(f"a choice needs score and {over} of every question under every setting")
    if len(chance) < FEWEST:
        raise InputError(f"a choice needs {FEWEST} questions, {len(chance)} are given")
    bins, prices = bins_of(chance), []
    half = _halves(bins, rng)
    chosen, single = np.empty(len(chance), np.int64), np.empty(len(chance), np.int64)
    for judged in (0, 1):
        told, asked = half != judged, half == judged
        values, costs = (_per_bin(table[told], bins[told]) for table in (score, cost))
        split = allocate(values[bins[told]], costs[bins[told]], mean_cost * told.sum())
        prices.append(split.shadow_price)
        by_bin = [split.choice[bins[told] == number] for number in range(BINS)]
        for number, picks in enumerate(by_bin):
            members = np.flatnonzero(asked & (bins == number))
            # a bin at the margin is split between two settings in the proportion that the budget allows
            chosen[members] = rng.permutation(np.resize(picks, len(members)))
        affordable = np.flatnonzero(cost[told].mean(axis=0) <= mean_cost)
        single[asked] = affordable[score[told].mean(axis=0)[affordable].argmax()]
    rows = np.arange(len(chance))
    return Choice(
        chosen,
        score[rows, chosen],
        cost[rows, chosen],
        score[rows, single],
        cost[rows, single],
        float(np.mean(prices)),
    )


def _halves(bins: Ints, rng: np.random.Generator) -> Ints:
    """A half for each question, as many of every bin in the one as in the other."""
    shuffled = rng.permutation(len(bins))
    half = np.empty(len(bins), np.int64)
    half[shuffled[np.argsort(bins[shuffled], kind="stable")]] = np.arange(len(bins)) % 2
    return half


def _per_bin(table: Floats, bins: Ints) -> Floats:
    """Mean over the questions of each bin: bins x settings."""
    return np.stack([table[bins == number].mean(axis=0) for number in range(BINS)])

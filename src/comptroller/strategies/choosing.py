"""Which strategy each kind of question gets: the compute-optimal choice of Snell et al., arXiv 2408.03314.

Questions are put in bins of predicted difficulty; on one half of them the mean score and cost of every setting are
taken per bin, a budget is split over bins and settings by equal marginal value, and the choice is judged on the
other half, which had no say in it; then the halves change places.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.allocation import allocate, separating_tokens, token_ceiling
from comptroller.strategies.results import ReplayEstimate, ReplayResults, estimate
from comptroller.strategies.success_prediction import text_signals
from comptroller.strategies.training import TrainingOutcomes, cross_fitted
from comptroller.work.evidence import Evidence

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 5
"""Bins of difficulty, as in the paper."""

FEWEST = 4 * BINS
"""Questions below which a bin would have fewer than two in a half."""


@dataclass(frozen=True, slots=True)
class ComputeOptimalChoice:
    """What the choice came to on questions that had no say in it, beside the best single setting chosen likewise.

    setting: index per question.  score, cost: per question.  shadow_price: mean over halves, score per unit of cost.
    """

    setting: Ints
    score: Floats
    cost: Floats
    single_score: Floats
    single_cost: Floats
    shadow_price: float


@dataclass(frozen=True)
class DifficultyAllocation:
    """A mean amount spread over settings by predicted difficulty, on questions that had no say in the choice.

    single: score of the one setting chosen likewise.  gain: over it.  shadow_price: score that a unit more per question
    buys.  ceiling: what no split of the same output tokens can exceed.  shares: of the questions, by setting.
    """

    models: str
    mean: float
    score: ReplayEstimate
    single: float
    gain: ReplayEstimate
    shadow_price: float
    ceiling: float
    shares: Mapping[str, float]


def bins_of(chance: Floats, count: int = BINS) -> Ints:
    """Bins of equal size by the predicted chance of success, the hardest first.

    >>> bins_of(np.array([0.9, 0.1, 0.5, 0.4]), 2).tolist()
    [1, 0, 1, 0]
    """
    order = np.argsort(np.argsort(chance, kind="stable"), kind="stable")
    return np.asarray(order * count // len(chance), np.int64)


def compute_optimal(
    settings: Sequence[ReplayResults], chance: Floats, mean_cost: float, rng: np.random.Generator, over: str = "tokens"
) -> ComputeOptimalChoice:
    """The choice of a setting for each question by the bin of its predicted chance, at a mean cost per question.

    Raises:
        InputError: the settings were replayed on different questions, or their score or cost is not known.
        InfeasibleError: the cheapest settings cost more.
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
    return ComputeOptimalChoice(
        chosen, score[rows, chosen], cost[rows, chosen], score[rows, single], cost[rows, single], float(np.mean(prices))
    )


def solve_chances(evidence: Evidence, arm: int, questions: Ints, rng: np.random.Generator) -> Floats:
    """The chance that an arm solves each question, from the text alone, by a part that was trained without it.

    Raises:
        UnsupportedError: no texts, or no scored samples of a question.
    """
    known, rows = evidence.counts(), [text_signals(evidence.items[at].text) for at in questions]
    n = known.n[questions, arm].astype(float)
    if not any(evidence.items[at].text for at in questions) or not n.all():
        raise UnsupportedError(f"{evidence.source}: difficulty is predicted from texts and scored samples of questions")
    table = np.array([list(row.values()) for row in rows])
    return cross_fitted(TrainingOutcomes(tuple(rows[0]), table, known.correct[questions, arm], n, questions), rng)


def spread(
    evidence: Evidence, solver: str, settings: Sequence[ReplayResults], mean: tuple[float, str], seed: int = 0
) -> DifficultyAllocation:
    """A mean amount, `mean` of a column, spread over the settings of a solver by difficulty predicted from the text.

    Raises:
        UnsupportedError: difficulty cannot be predicted.  InputError, InfeasibleError: as `compute_optimal`.
    """
    rng, questions = np.random.default_rng(seed), settings[0].question
    arm = [str(each) for each in evidence.arms].index(solver)
    found = compute_optimal(settings, solve_chances(evidence, arm, questions, rng), mean[0], rng, mean[1])
    made = np.stack([one.column("output_tokens") for one in settings], axis=1)
    mean_made = float(made[np.arange(len(questions)), found.setting].mean())
    return DifficultyAllocation(
        models=solver,
        mean=float(found.cost.mean()),
        score=estimate(found.score, rng),
        single=float(found.single_score.mean()),
        gain=estimate(found.score - found.single_score, rng),
        shadow_price=found.shadow_price,
        ceiling=_ceiling(evidence, arm, questions, mean_made),
        shares={one.strategy: float((found.setting == at).mean()) for at, one in enumerate(settings)},
    )


def needed_tokens(evidence: Evidence, arm: int, questions: Ints) -> Floats:
    """Output tokens that each question needs, by the samples of an arm (token complexity, arXiv 2503.01141).

    Raises:
        UnsupportedError: questions have different numbers of samples, or lengths or scores are not recorded.
    """
    rows = evidence.rows
    use = np.flatnonzero((rows.arm == arm) & evidence.samples & np.isin(rows.question, questions))
    made = (rows.output_tokens + np.nan_to_num(rows.reasoning_tokens))[use]
    counts = np.bincount(rows.question[use], minlength=len(evidence.items))[questions]
    if len(set(counts.tolist())) != 1 or not counts[0] or np.isnan(made + rows.score[use]).any():
        raise UnsupportedError(f"{evidence.source}: token complexity needs as many scored samples of every question")
    shape = (len(questions), int(counts[0]))
    return separating_tokens(made.reshape(shape), (rows.score[use] >= 0.5).reshape(shape))


def _ceiling(evidence: Evidence, arm: int, questions: Ints, output_tokens: float) -> float:
    """The share of questions that no split of a mean of output tokens can exceed; NaN where it is not known."""
    try:
        return float(token_ceiling(needed_tokens(evidence, arm, questions), [output_tokens])[0])
    except UnsupportedError:
        return float("nan")


def _halves(bins: Ints, rng: np.random.Generator) -> Ints:
    """A half for each question, as many of every bin in the one as in the other."""
    shuffled = rng.permutation(len(bins))
    half = np.empty(len(bins), np.int64)
    half[shuffled[np.argsort(bins[shuffled], kind="stable")]] = np.arange(len(bins)) % 2
    return half


def _per_bin(table: Floats, bins: Ints) -> Floats:
    """Mean over the questions of each bin: bins x settings."""
    return np.stack([table[bins == number].mean(axis=0) for number in range(BINS)])

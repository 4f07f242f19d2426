"""A strategy for each bin of predicted difficulty: the compute-optimal choice of Snell et al., arXiv 2408.03314.

Questions are binned by predicted difficulty. On one half of them the mean score and cost of every setting are taken per
bin, and a budget is allocated over bins and settings by equal marginal value. The allocation is evaluated on the other
half. Then the halves are swapped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.allocation import allocate, separating_tokens, token_ceiling
from comptroller.strategies.replay_intervals import ReplayEstimate, estimate
from comptroller.strategies.results import ReplayResults
from comptroller.strategies.success_prediction import text_signals
from comptroller.strategies.training import TrainingOutcomes, cross_fitted
from comptroller.work.evidence import Evidence

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 5
"""Bins of difficulty, as in the paper. Twice as many follow difficulty more closely from half the questions each."""

FEWEST = 4 * BINS
"""Fewest questions of a choice: two per bin and half. Below, a mean per bin rests on a single question."""
RIGHT = 0.5
"""Score from which a sample counts as right for token complexity, which is defined for right and wrong answers."""


@dataclass(frozen=True, slots=True)
class ComputeOptimalChoice:
    """Result of the choice on held-out questions, beside the best single setting chosen on the same half.

    setting: index per question.  score, cost: per question.  single_score, single_cost: of the single setting.
    shadow_price: score per unit of cost, mean over the halves.
    """

    setting: Ints
    score: Floats
    cost: Floats
    single_score: Floats
    single_cost: Floats
    shadow_price: float


@dataclass(frozen=True)
class DifficultyAllocation:
    """A mean amount per question allocated over settings by predicted difficulty, evaluated on held-out questions.

    single: score of the best single setting.  gain: over it.  shadow_price: score per additional unit per question.
    ceiling: upper bound on the score of any allocation of the same output tokens.  shares: of questions, by setting.
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
    """Index of each question's bin: bins of equal size by predicted chance of success, the hardest first.

    >>> bins_of(np.array([0.9, 0.1, 0.5, 0.4]), 2).tolist()
    [1, 0, 1, 0]
    """
    rank = np.argsort(np.argsort(chance, kind="stable"), kind="stable")
    return np.asarray(rank * count // len(chance), np.int64)


def compute_optimal(
    settings: Sequence[ReplayResults], chance: Floats, mean_cost: float, rng: np.random.Generator, over: str = "tokens"
) -> ComputeOptimalChoice:
    """A setting for each question by the bin of its predicted chance, at a mean cost per question.

    chance: of success, per question.  mean_cost: limit, in units of the column `over`.

    Raises:
        InputError: the settings were replayed on different questions, a score or cost is unknown, or there are fewer
            than `FEWEST` questions.
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
    for held_out in (0, 1):
        fitted, tested = half != held_out, half == held_out
        values, costs = (_per_bin(table[fitted], bins[fitted]) for table in (score, cost))
        split = allocate(values[bins[fitted]], costs[bins[fitted]], mean_cost * fitted.sum())
        prices.append(split.shadow_price)
        by_bin = [split.choice[bins[fitted] == number] for number in range(BINS)]
        for number, picks in enumerate(by_bin):
            members = np.flatnonzero(tested & (bins == number))
            # the marginal bin is split between two settings in the proportion that the budget allows
            chosen[members] = rng.permutation(np.resize(picks, len(members)))
        affordable = np.flatnonzero(cost[fitted].mean(axis=0) <= mean_cost)
        single[tested] = affordable[score[fitted].mean(axis=0)[affordable].argmax()]
    rows = np.arange(len(chance))
    return ComputeOptimalChoice(
        chosen, score[rows, chosen], cost[rows, chosen], score[rows, single], cost[rows, single], float(np.mean(prices))
    )


def solve_chances(evidence: Evidence, arm: int, questions: Ints, rng: np.random.Generator) -> Floats:
    """Cross-fitted chance that a recorded model solves each question, from the question's text alone.

    arm: index of the model.  questions: indices.

    Raises:
        UnsupportedError: no question has a text, or one has no scored samples.
    """
    counts, rows = evidence.counts(), [text_signals(evidence.items[number].text) for number in questions]
    n = counts.n[questions, arm].astype(float)
    if not any(evidence.items[number].text for number in questions) or not n.all():
        raise UnsupportedError(f"{evidence.source}: difficulty is predicted from texts and scored samples of questions")
    table = np.array([list(row.values()) for row in rows])
    return cross_fitted(TrainingOutcomes(tuple(rows[0]), table, counts.correct[questions, arm], n, questions), rng)


def spread(
    evidence: Evidence, solver: str, settings: Sequence[ReplayResults], mean: tuple[float, str], seed: int = 0
) -> DifficultyAllocation:
    """Allocates a mean amount per question over the settings of a solver by difficulty predicted from the text.

    mean: the amount and the column it limits.  seed: of folds, halves and resamples.

    Raises:
        UnsupportedError: difficulty cannot be predicted.  InputError, InfeasibleError: as `compute_optimal`.
    """
    rng, questions = np.random.default_rng(seed), settings[0].question
    arm = [str(recorded) for recorded in evidence.arms].index(solver)
    choice = compute_optimal(settings, solve_chances(evidence, arm, questions, rng), mean[0], rng, mean[1])
    output = np.stack([one.column("output_tokens") for one in settings], axis=1)
    mean_output = float(output[np.arange(len(questions)), choice.setting].mean())
    return DifficultyAllocation(
        models=solver,
        mean=float(choice.cost.mean()),
        score=estimate(choice.score, rng),
        single=float(choice.single_score.mean()),
        gain=estimate(choice.score - choice.single_score, rng),
        shadow_price=choice.shadow_price,
        ceiling=_ceiling(evidence, arm, questions, mean_output),
        shares={one.strategy: float((choice.setting == index).mean()) for index, one in enumerate(settings)},
    )


def needed_tokens(evidence: Evidence, arm: int, questions: Ints) -> Floats:
    """Output tokens that each question needs, from the samples of a model (token complexity, arXiv 2503.01141).

    Raises:
        UnsupportedError: questions have different numbers of samples, or lengths or scores are not recorded.
    """
    rows = evidence.rows
    use = np.flatnonzero((rows.arm == arm) & evidence.samples & np.isin(rows.question, questions))
    output = (rows.output_tokens + np.nan_to_num(rows.reasoning_tokens))[use]
    counts = np.bincount(rows.question[use], minlength=len(evidence.items))[questions]
    if len(set(counts.tolist())) != 1 or not counts[0] or np.isnan(output + rows.score[use]).any():
        raise UnsupportedError(f"{evidence.source}: token complexity needs as many scored samples of every question")
    shape = (len(questions), int(counts[0]))
    return separating_tokens(output.reshape(shape), (rows.score[use] >= RIGHT).reshape(shape))


def _ceiling(evidence: Evidence, arm: int, questions: Ints, output_tokens: float) -> float:
    """Upper bound on the share solved with a mean of output tokens per question; NaN where lengths are not recorded."""
    try:
        return float(token_ceiling(needed_tokens(evidence, arm, questions), [output_tokens])[0])
    except UnsupportedError:
        return float("nan")


def _halves(bins: Ints, rng: np.random.Generator) -> Ints:
    """Half (0 or 1) of each question, drawn at random with equal numbers of every bin."""
    shuffled = rng.permutation(len(bins))
    half = np.empty(len(bins), np.int64)
    half[shuffled[np.argsort(bins[shuffled], kind="stable")]] = np.arange(len(bins)) % 2
    return half


def _per_bin(table: Floats, bins: Ints) -> Floats:
    """Mean over the questions of each bin: bins x settings."""
    return np.stack([table[bins == number].mean(axis=0) for number in range(BINS)])

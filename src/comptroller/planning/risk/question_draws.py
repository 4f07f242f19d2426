"""Resamples of the questions behind a plan: shares solved, dollars and whatever else is a mean over questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comptroller.planning.ground.nouns import Fleet, Floats
from comptroller.planning.solve.description import LEAST_SHARE
from comptroller.planning.solve.search import PlanSearch

RESAMPLES = 2_000
"""Resamples of the questions behind an interval: the 10th percentile of so many is known to 0.7 percentiles; twice as
many would make it 0.5."""

BLOCK = 250
"""Resamples that are counted together: 250 times some thousand questions fit a cache of the processor; the result does
not depend on it."""


def resample_counts(questions: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each question is drawn: (resamples, questions), every row adding up to the number of questions.

    >>> resample_counts(3, 2, np.random.default_rng(0)).sum(axis=1).tolist()
    [3.0, 3.0]
    """
    counts = np.empty((resamples, questions))
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        drawn = rng.integers(0, questions, (rows, questions)) + np.arange(rows)[:, None] * questions
        counts[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * questions).reshape(rows, -1)
    return counts


def class_means(search: PlanSearch, values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of values, (questions, columns), on resamples within every class: (resamples, classes, columns).

    All columns of a resample are of the same questions.
    """
    plays = search.space.plays
    means = np.empty((resamples, len(plays.tasks), values.shape[1]))
    for task in range(len(plays.tasks)):
        of_class = np.flatnonzero(plays.task == task)
        means[:, task] = resample_counts(len(of_class), resamples, rng) @ values[of_class] / len(of_class)
    return means


def counts_of(search: PlanSearch, rng: np.random.Generator) -> Floats:
    """How often each question counts in one resample within every class."""
    plays = search.space.plays
    counts = np.zeros(len(plays.task))
    for task in range(len(plays.tasks)):
        of_class = np.flatnonzero(plays.task == task)
        counts[of_class] = resample_counts(len(of_class), 1, rng)[0]
    return counts


def per_question(search: PlanSearch, best: Fleet) -> Floats:
    """Score and API dollars of each question under a fleet's shares: (questions, 2)."""
    space = search.space
    amounts = np.zeros((space.questions, 2))
    for number in np.flatnonzero(best.share[0].sum(axis=0) > LEAST_SHARE):
        share, option = best.share[0][space.plays.task, number], space.options[number]
        amounts[:, 0] += share * option.play.score
        amounts[:, 1] += share * np.nan_to_num(option.usd(space.questions))
    return amounts


@dataclass(frozen=True)
class QuestionResamples:
    """Shares solved and API dollars per question, one entry per resample; by_task: (resamples, classes)."""

    solved: Floats
    usd: Floats
    by_task: Floats


def resample_fleet(search: PlanSearch, best: Fleet, seed: int) -> QuestionResamples:
    """A fleet on resamples of the questions, drawn within every class."""
    rng, weight = np.random.default_rng([seed, 1]), search.space.weight
    means = class_means(search, per_question(search, best), RESAMPLES, rng)
    return QuestionResamples(means[:, :, 0] @ weight, means[:, :, 1] @ weight, means[:, :, 0])

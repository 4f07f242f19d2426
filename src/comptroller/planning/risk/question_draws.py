"""Resamples of the questions behind a plan: shares solved, dollars and whatever else is a mean over questions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.planning.solve.search import JointSearch, JointSolution

Floats = npt.NDArray[np.float64]

RESAMPLES = 2_000
"""Resamples of the questions behind an interval."""

LEAST = 1e-6
"""Shares below this are left out."""

BLOCK = 250
"""Resamples that are counted together."""


def resample_counts(questions: int, resamples: int, rng: np.random.Generator) -> Floats:
    """How often each question is drawn: (resamples, questions), every row adding up to the number of questions.

    >>> resample_counts(3, 2, np.random.default_rng(0)).sum(axis=1).tolist()
    [3.0, 3.0]
    """
    found = np.empty((resamples, questions))
    for start in range(0, resamples, BLOCK):
        rows = min(BLOCK, resamples - start)
        drawn = rng.integers(0, questions, (rows, questions)) + np.arange(rows)[:, None] * questions
        found[start : start + rows] = np.bincount(drawn.ravel(), minlength=rows * questions).reshape(rows, -1)
    return found


def class_means(joint: JointSearch, values: Floats, resamples: int, rng: np.random.Generator) -> Floats:
    """Means of values, (questions, columns), on resamples within every class: (resamples, classes, columns).

    All columns of a resample are of the same questions.
    """
    choices = joint.ground.choices
    found = np.empty((resamples, len(choices.tasks), values.shape[1]))
    for task in range(len(choices.tasks)):
        mine = np.flatnonzero(choices.task == task)
        found[:, task] = resample_counts(len(mine), resamples, rng) @ values[mine] / len(mine)
    return found


def counts_of(joint: JointSearch, rng: np.random.Generator) -> Floats:
    """How often each question counts in one resample within every class."""
    choices = joint.ground.choices
    found = np.zeros(len(choices.task))
    for task in range(len(choices.tasks)):
        mine = np.flatnonzero(choices.task == task)
        found[mine] = resample_counts(len(mine), 1, rng)[0]
    return found


def per_question(joint: JointSearch, best: JointSolution) -> Floats:
    """Score and API dollars of each question under a solution's shares: (questions, 2)."""
    ground = joint.ground
    questions = len(ground.choices.task)
    found = np.zeros((questions, 2))
    for number in np.flatnonzero(best.share.sum(axis=0) > LEAST):
        share, way = best.share[ground.choices.task, number], ground.ways[number]
        found[:, 0] += share * way.option.score
        found[:, 1] += share * np.nan_to_num(way.usd(questions))
    return found


@dataclass(frozen=True)
class QuestionResamples:
    """Shares solved and API dollars per question, one entry per resample; by_task: (resamples, classes)."""

    solved: Floats
    usd: Floats
    by_task: Floats


def resample_solution(joint: JointSearch, best: JointSolution, seed: int) -> QuestionResamples:
    """A solution on resamples of the questions, drawn within every class."""
    rng, weight = np.random.default_rng([seed, 1]), joint.ground.weight
    means = class_means(joint, per_question(joint, best), RESAMPLES, rng)
    return QuestionResamples(means[:, :, 0] @ weight, means[:, :, 1] @ weight, means[:, :, 0])

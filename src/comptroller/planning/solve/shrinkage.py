"""Scores of ways by class, drawn towards what way and class say without each other before a choice is made on them.

s_co = w_c . s_o + d_c + own (s_co - w_c . s_o - d_c): the mean of a way over the classes, plus what a class differs
by in the mean of all ways, plus part of what is left. Of many ways in small classes the best by class is mostly lucky;
what is left counts for as much as it told of questions that it was not taken from (`own_weight`). Hierarchical
shrinkage as in James and Stein, Proc. 4th Berkeley Symp. 1 (1961) 361, with the weight learned by folds in place of a
variance.
"""

from __future__ import annotations

import numpy as np

from comptroller.planning.ground.nouns import Floats, Ints

LEAST_WEIGHT = 1e-12
"""Weight below which classes count for nothing: rounding of shares that add up to one. At twice the value the same."""


def additive_scores(score: Floats, weight: Floats) -> Floats:
    """Way plus class alone. score: (classes, ways).  weight: (classes,), of each class in the traffic.

    >>> additive_scores(np.array([[0.2, 0.4], [0.6, 1.0]]), np.array([0.5, 0.5])).round(2).tolist()
    [[0.15, 0.45], [0.65, 0.95]]
    """
    of_way = weight @ score
    return np.asarray(of_way + (score - of_way).mean(axis=1, keepdims=True))


def shrunk(score: Floats, weight: Floats, own: float) -> Floats:
    """Scores of which what is neither way nor class counts for a part `own`; as they are with one class."""
    if own >= 1.0 or len(score) == 1:
        return score
    smooth = additive_scores(score, weight)
    return np.clip(smooth + own * (score - smooth), 0.0, 1.0)


def own_weight(score: Floats, task: Ints, weight: Floats, fold: Ints) -> float:
    """The part that what is left counts for, by least squares over questions left out.

    score: (questions, ways).  task, fold: (questions,), class, and fold that each is left out with.  What is left of a
    fold's own scores is regressed on what is left of the others'.
    """
    classes, top, bottom = len(weight), 0.0, 0.0
    sums, counts = class_sums(score, task, fold, classes)
    for number in range(len(counts)):
        rest = counts.sum(axis=0) - counts[number]
        seen = (counts[number] > 0) & (rest > 0)
        told = class_means(sums.sum(axis=0) - sums[number], rest, weight)
        smooth = additive_scores(told, weight)
        apart, count = (told - smooth)[seen], counts[number][seen][:, None]
        top += float((apart * (sums[number][seen] - count * smooth[seen])).sum())
        bottom += float((count * apart * apart).sum())
    return float(np.clip(top / bottom, 0.0, 1.0)) if bottom > 0 else 0.0


def class_means(sums: Floats, counts: Floats, weight: Floats) -> Floats:
    """(classes, columns): means of each class; a class without questions is taken for the mean of the others.

    sums: (classes, columns).  counts: (classes,), questions behind them.  weight: (classes,), in the traffic.

    >>> class_means(np.array([[2.0], [0.0], [3.0]]), np.array([4, 0, 4]), np.ones(3) / 3).ravel().tolist()
    [0.5, 0.625, 0.75]
    """
    seen = counts > 0
    means = sums / np.where(seen, counts, 1.0)[:, None]
    return np.where(seen[:, None], means, weight[seen] @ means[seen] / max(weight[seen].sum(), LEAST_WEIGHT))


def class_sums(values: Floats, task: Ints, fold: Ints, classes: int) -> tuple[Floats, Floats]:
    """Sums of the values of each fold and class, (folds, classes, columns), and how many questions they are of."""
    folds = int(fold.max()) + 1
    cell = fold * classes + task
    order = np.argsort(cell, kind="stable")
    counts = np.bincount(cell, minlength=folds * classes)
    sums = np.zeros((folds * classes, values.shape[1]))
    filled = np.flatnonzero(counts)
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    sums[filled] = np.add.reduceat(values[order], starts[filled], axis=0)
    return sums.reshape(folds, classes, -1), counts.reshape(folds, classes).astype(float)

"""What the best of n samples comes to over all choices of n of N recorded ones, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.work.vote_means import log_choose

Floats = npt.NDArray[np.float64]


def expected_best(rated: Floats, scores: Sequence[Floats], sizes: npt.ArrayLike) -> list[Floats]:
    """Means of each of the scores of the best rated of n samples over all choices of n of the N, ties shared.

    rated, scores: questions x samples.  Each mean: questions x len(sizes), sum_i s_(i) C(N - i - 1, n - 1) / C(N, n)
    with samples sorted by falling rating, ties sharing their mean score (arXiv 2504.01005, `eval_utils.py`, where ties
    are shuffled a hundred times).

    >>> best = expected_best(np.array([[0.9, 0.1]]), [np.array([[1.0, 0.0]])], [1, 2])
    >>> best[0].round(12).tolist()
    [[0.5, 1.0]]
    >>> expected_best(np.array([[0.9, 0.1]]), [np.array([[1.0, np.nan]])], [1, 2])[0].tolist()
    [[nan, 1.0]]
    """
    count = rated.shape[1]
    order = np.argsort(-rated, axis=1, kind="stable")
    sorted_ratings = np.take_along_axis(rated, order, axis=1)
    starts = np.ones(rated.shape, bool)
    starts[:, 1:] = sorted_ratings[:, 1:] != sorted_ratings[:, :-1]
    group = np.cumsum(starts.ravel()) - 1
    size = np.asarray(sizes, float)
    weight = np.exp(log_choose(count - 1 - np.arange(count)[:, None], size - 1) - log_choose(count, size))
    means = []
    for score in scores:
        mean = np.bincount(group, np.take_along_axis(score, order, axis=1).ravel()) / np.bincount(group)
        shared = mean[group].reshape(score.shape)
        unknown = np.isnan(shared)
        means.append(np.where(unknown @ weight > 0.0, np.nan, np.where(unknown, 0.0, shared) @ weight))
    return means

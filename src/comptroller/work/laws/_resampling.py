"""Resampling that laws share: bootstrap over questions, thinning of samples, quantiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import Evidence, EvidenceCounts, Floats, Ints
from comptroller.work.laws import LawQuery

Statistic = Callable[[Ints], float]
"""A number of a selection of questions, given by their indices."""

POINTS = 30
"""Numbers of samples at which a coverage curve is evaluated: a factor of 1.4 apart on 10,000 samples, and fewer where
the samples are fewer. Twice as many add points between these, of a curve that is smooth in log k, at twice the time."""


def band(values: npt.ArrayLike, level: float) -> tuple[float, float]:
    """The central interval of the finite values at a level; NaN where there are none.

    >>> band(range(101), 0.5)
    (25.0, 75.0)
    """
    finite = np.asarray(values, float)
    finite = finite[np.isfinite(finite)]
    if not len(finite):
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def over_questions(count: int, statistic: Statistic, draws: int, rng: np.random.Generator) -> Floats:
    """The statistic on `draws` bootstrap resamples of `count` questions, of shape (draws,)."""
    return np.array([statistic(rng.integers(0, count, count)) for _ in range(draws)])


def mean_band(values: Floats, query: LawQuery) -> tuple[float, float]:
    """The interval of the mean of values of shape (questions,), by resampling questions."""
    rng = np.random.default_rng(query.seed)
    return band(over_questions(len(values), lambda rows: float(values[rows].mean()), query.draws, rng), query.level)


def thinned_counts(n: Ints, correct: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Number of correct samples among `size` of the n of each question, drawn without replacement."""
    return np.asarray(rng.hypergeometric(correct, n - correct, size), np.int64)


def whole_counts(evidence: Evidence | EvidenceCounts) -> EvidenceCounts:
    """The counts of evidence whose samples are either right or wrong.

    Raises:
        UnsupportedError: scores are not all 0 or 1.
    """
    counts = evidence if isinstance(evidence, EvidenceCounts) else evidence.counts()
    if not np.array_equal(counts.correct, np.floor(counts.correct)):
        raise UnsupportedError(
            f"{counts.source or 'evidence'}: scores are not all 0 or 1; a sample must be right or wrong"
        )
    return counts


def spread(most: int, points: int = POINTS) -> Ints:
    """At most `points` whole numbers from 1 to `most`, evenly spaced in their logarithm.

    >>> spread(10, 4).tolist()
    [1, 2, 4, 10]
    """
    return np.unique(np.geomspace(1, most, points).astype(np.int64).clip(1, most))


def paired_rows(table: Floats, one: int, other: int) -> Ints:
    """Indices of the rows of a table in which both columns are finite."""
    return np.flatnonzero(np.isfinite(table[:, one]) & np.isfinite(table[:, other]))


def means(evidence: Evidence, values: Floats, use: npt.NDArray[np.bool_]) -> Floats:
    """Mean over rows per question and arm, of shape (questions, arms); NaN where there is none.

    values, use: of shape (rows,); only rows in use with a finite value count.
    """
    rows = evidence.rows
    use = use & np.isfinite(values)
    shape = (len(evidence.items), len(evidence.arms))
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (rows.question[use], rows.arm[use]), values[use])
    np.add.at(count, (rows.question[use], rows.arm[use]), 1)
    mean: Floats = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    return mean


def names(evidence: Evidence | EvidenceCounts) -> list[str]:
    """Names of the arms for printing: model, format and effort without the parts that all arms share.

    >>> from comptroller.work.evidence import RecordedModel
    >>> arms = (RecordedModel("m", "Q8_0", "direct"), RecordedModel("m", "Q4_0", "direct"))
    >>> names(EvidenceCounts((), arms, np.zeros((0, 2), np.int64), np.zeros((0, 2))))
    ['Q8_0', 'Q4_0']
    """
    arms = evidence.arms
    varying = [place for place in range(3) if len({arm[place] for arm in arms}) > 1]
    if len(arms) < 2 or not varying:
        return [str(arm) for arm in arms]
    differing = [" ".join(arm[place] for place in varying if arm[place]) for arm in arms]
    return [name or str(arm) for name, arm in zip(differing, arms, strict=True)]

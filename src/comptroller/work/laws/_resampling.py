"""Resampling shared by laws: bootstrap over questions, thinning of samples, quantiles."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import Evidence, EvidenceCounts, Floats, Ints
from comptroller.work.laws import LawQuery

Statistic = Callable[[Ints], float]


def band(values: npt.ArrayLike, level: float) -> tuple[float, float]:
    """The central interval of resampled values; NaN where there are none.

    >>> band(range(101), 0.5)
    (25.0, 75.0)
    """
    found = np.asarray(values, float)
    found = found[np.isfinite(found)]
    if not len(found):
        return float("nan"), float("nan")
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def over_questions(count: int, statistic: Statistic, draws: int, rng: np.random.Generator) -> Floats:
    """A statistic of questions (their indices), on `draws` resamples of the questions."""
    return np.array([statistic(rng.integers(0, count, count)) for _ in range(draws)])


def mean_band(each: Floats, asking: LawQuery) -> tuple[float, float]:
    """The interval of the mean over questions, by resampling them."""
    rng = np.random.default_rng(asking.seed)
    return band(over_questions(len(each), lambda rows: float(each[rows].mean()), asking.draws, rng), asking.level)


def thinned_counts(n: Ints, correct: Ints, size: int, rng: np.random.Generator) -> Ints:
    """Correct ones among `size` of the n samples of each question, drawn without replacement."""
    return np.asarray(rng.hypergeometric(correct, n - correct, size), np.int64)


def whole_counts(known: Evidence | EvidenceCounts) -> EvidenceCounts:
    """Counts of evidence.

    Raises:
        UnsupportedError: scores are not all 0 or 1, so that a sample is not right or wrong.
    """
    counts = known if isinstance(known, EvidenceCounts) else known.counts()
    if not np.array_equal(counts.correct, np.floor(counts.correct)):
        raise UnsupportedError(
            f"{counts.source or 'evidence'}: scores are not all 0 or 1; a sample must be right or wrong"
        )
    return counts


def spread(most: int, points: int = 30) -> Ints:
    """Whole numbers from 1 to `most`, evenly spaced in their logarithm.

    >>> spread(10, 4).tolist()
    [1, 2, 4, 10]
    """
    return np.unique(np.geomspace(1, most, points).astype(np.int64).clip(1, most))


def paired_rows(table: Floats, one: int, other: int) -> Ints:
    """Rows in which both columns are known."""
    return np.flatnonzero(np.isfinite(table[:, one]) & np.isfinite(table[:, other]))


def means(evidence: Evidence, values: Floats, use: npt.NDArray[np.bool_]) -> Floats:
    """Mean of row values per question and arm, over the rows in use with a known value; NaN where there is none."""
    rows = evidence.rows
    use = use & np.isfinite(values)
    shape = (len(evidence.items), len(evidence.arms))
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, (rows.question[use], rows.arm[use]), values[use])
    np.add.at(count, (rows.question[use], rows.arm[use]), 1)
    found: Floats = np.divide(total, count, out=np.full(shape, np.nan), where=count > 0)
    return found


def names(evidence: Evidence | EvidenceCounts) -> list[str]:
    """Arms as they are printed, without the parts that all of several share.

    >>> from comptroller.work.evidence import Arm
    >>> arms = (Arm("m", "Q8_0", "direct"), Arm("m", "Q4_0", "direct"))
    >>> names(EvidenceCounts((), arms, np.zeros((0, 2), np.int64), np.zeros((0, 2))))
    ['Q8_0', 'Q4_0']
    """
    arms = evidence.arms
    told = [place for place in range(3) if len({arm[place] for arm in arms}) > 1]
    if len(arms) < 2 or not told:
        return [str(arm) for arm in arms]
    short = [" ".join(arm[place] for place in told if arm[place]) for arm in arms]
    return [name or str(arm) for name, arm in zip(short, arms, strict=True)]

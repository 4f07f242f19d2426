"""Coverage: the share of questions that at least one of k samples solves, estimated without bias.

Chen et al., Evaluating Large Language Models Trained on Code, arXiv 2107.03374, eq. 1; coverage over questions as
in Brown et al., Large Language Monkeys, arXiv 2407.21787.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import EvidenceCounts, Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import mean_band, names, whole_counts

STEPS = (1, 2, 4, 8, 16, 32, 64, 100, 1000, 10_000)


def pass_at_k(n: npt.ArrayLike, correct: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Chance that k of the n samples drawn without replacement hold a correct one: 1 - C(n-c, k) / C(n, k).

    Broadcasts. Exact mean over all choices of k samples, hence unbiased for the chance 1 - (1-p)^k.

    Raises:
        UnsupportedError: k exceeds n: the estimate does not exist.

    >>> pass_at_k(4, 1, [1, 2, 4]).round(3).tolist()
    [0.25, 0.5, 1.0]
    """
    total, right, size = np.broadcast_arrays(np.asarray(n, float), np.asarray(correct, float), np.asarray(k, float))
    if (size > total).any():
        raise UnsupportedError(f"pass@{int(size.max())} needs that many samples; a question has {int(total.min())}")
    wrong = total - right
    missed = wrong >= size
    left = np.where(missed, wrong, size)
    log = gammaln(left + 1) - gammaln(left - size + 1) - gammaln(total + 1) + gammaln(total - size + 1)
    return np.asarray(np.where(missed, -np.expm1(np.where(missed, np.minimum(log, 0.0), 0.0)), 1.0))


def coverage(n: Ints, correct: npt.ArrayLike, ks: npt.ArrayLike) -> Floats:
    """Mean pass@k over questions, for each k.

    >>> coverage(np.array([4, 4]), [0, 1], [1, 4]).round(6).tolist()
    [0.125, 0.5]
    """
    sizes = np.atleast_1d(np.asarray(ks))
    return np.asarray(pass_at_k(n[:, None], np.asarray(correct)[:, None], sizes[None, :]).mean(axis=0))


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    counts = whole_counts(known)
    found: list[LawFinding] = []
    for number, arm in enumerate(names(counts)):
        n, _ = counts.of(number)
        if not len(n):
            continue
        most = int(n.min())
        for k in [k for k in (asking.at or STEPS) if k <= most]:
            found.append(_finding(counts, number, k, asking))
        if not asking.at and most not in STEPS:
            found.append(_finding(counts, number, most, asking))
        for k in asking.at:
            if k > most:
                note = f"{most} samples of a question; the forecasts answer beyond"
                found.append(LawFinding("coverage", arm, f"pass@{k}", float("nan"), note=note))
    return found


def _finding(counts: EvidenceCounts, arm: int, k: int, asking: LawQuery) -> LawFinding:
    n, correct = counts.of(arm)
    each = pass_at_k(n, correct, k)
    low, high = mean_band(each, asking)
    note = f"{len(n)} questions"
    return LawFinding("coverage", names(counts)[arm], f"pass@{k}", float(each.mean()), low, high, note)


LAW = EvidenceLaw("coverage", "share of questions solved by at least one of k samples (unbiased pass@k)", _find)

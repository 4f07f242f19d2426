"""Coverage: the share of questions that at least one of k samples solves; the unbiased estimate pass@k.

Chen et al., Evaluating Large Language Models Trained on Code, arXiv 2107.03374, eq. 1; the mean over questions as in
Brown et al., Large Language Monkeys, arXiv 2407.21787.
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
"""Numbers of samples k that are reported where the query names none: doublings, then the k = 100 of Chen et al. and the
1,000 and 10,000 of Brown et al. Those above the fewest samples of a question are left out, so that larger ones cost
nothing."""


def pass_at_k(n: npt.ArrayLike, correct: npt.ArrayLike, k: npt.ArrayLike) -> Floats:
    """Probability that k of the n samples, drawn without replacement, include a correct one: 1 - C(n-c, k) / C(n, k).

    Arguments broadcast. The value is the mean over all choices of k samples, hence unbiased for 1 - (1-p)^k.

    Raises:
        UnsupportedError: k exceeds n, where the estimate does not exist.

    >>> pass_at_k(4, 1, [1, 2, 4]).round(3).tolist()
    [0.25, 0.5, 1.0]
    >>> pass_at_k(3, 0, [1, 2, 3]).tolist()
    [0.0, 0.0, 0.0]
    """
    total, successes, size = np.broadcast_arrays(np.asarray(n, float), np.asarray(correct, float), np.asarray(k, float))
    if (size > total).any():
        raise UnsupportedError(f"pass@{int(size.max())} needs that many samples; a question has {int(total.min())}")
    wrong = total - successes
    missed = wrong >= size
    drawn_from = np.where(missed, wrong, size)
    log = gammaln(drawn_from + 1) - gammaln(drawn_from - size + 1) - gammaln(total + 1) + gammaln(total - size + 1)
    return np.asarray(
        np.where(missed, 0.0 - np.expm1(np.where(missed & (successes > 0), np.minimum(log, 0.0), 0.0)), 1.0)
    )


def coverage(n: Ints, correct: npt.ArrayLike, ks: npt.ArrayLike) -> Floats:
    """Mean pass@k over questions, for each k; n and correct have shape (questions,).

    >>> coverage(np.array([4, 4]), [0, 1], [1, 4]).round(6).tolist()
    [0.125, 0.5]
    """
    sizes = np.atleast_1d(np.asarray(ks))
    return np.asarray(pass_at_k(n[:, None], np.asarray(correct)[:, None], sizes[None, :]).mean(axis=0))


def right_counts(evidence: Known) -> EvidenceCounts:
    """Samples and right ones of each question and model; raises UnsupportedError where scores are not 0 or 1."""
    return whole_counts(evidence)


def _coverage_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    counts = whole_counts(evidence)
    findings: list[LawFinding] = []
    for number, name in enumerate(names(counts)):
        n, _ = counts.of(number)
        if not len(n):
            continue
        most = int(n.min())
        for k in [k for k in (query.at or STEPS) if k <= most]:
            findings.append(_coverage_finding(counts, number, k, query))
        if not query.at and most not in STEPS:
            findings.append(_coverage_finding(counts, number, most, query))
        for k in query.at:
            if k > most:
                note = f"{most} samples of a question; the forecasts answer beyond"
                findings.append(LawFinding("coverage", name, f"pass@{k}", float("nan"), note=note))
    return findings


def _coverage_finding(counts: EvidenceCounts, arm: int, k: int, query: LawQuery) -> LawFinding:
    n, correct = counts.of(arm)
    by_question = pass_at_k(n, correct, k)
    low, high = mean_band(by_question, query)
    note = f"{len(n)} questions"
    return LawFinding("coverage", names(counts)[arm], f"pass@{k}", float(by_question.mean()), low, high, note)


LAW = EvidenceLaw(
    "coverage",
    "share of questions solved by at least one of k samples (unbiased pass@k)",
    _coverage_findings,
    "scores of 0 or 1",
)

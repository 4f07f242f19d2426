"""Saturation: the number of samples after which one more adds less than a given coverage.

TTSPM, arXiv 2505.20522: F(N) = F_max (1 - (1-p)^N) for N parallel samples, or N rounds of rethinking, so that
the next sample gains F_max p (1-p)^N and N* = ceil(ln(eps / (F_max p)) / ln(1-p)). Here N* is read off pass@k instead,
which needs neither p nor F_max.
"""

from __future__ import annotations

from math import inf

import numpy as np

from comptroller.work.evidence import Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import names, over_questions, whole_counts
from comptroller.work.laws.coverage import pass_at_k

GAINS = (0.01, 0.001)
"""Coverage that one more sample per question must add: one point and a tenth of one. By the formula above, twice the
gain needs ln 2 / -ln(1-p) samples fewer (2 at p = 0.3, 69 at p = 0.01)."""

MOST_DRAWS = 200
"""Most resamples of questions here, because each searches the pass@k curve again: 2 s per arm and gain on 128 questions
of 10,000 samples. There the upper end of the 90 % interval varies by 0.4 samples between seeds at 200 draws, and not at
all at 400, which take twice the time."""


def observed_saturation(n: Ints, correct: Floats, gain: float) -> float:
    """The number of samples after which the next adds less than `gain` to the unbiased estimate of coverage.

    n, correct: of shape (questions,). Infinite where even the last recorded sample adds as much.

    >>> observed_saturation(np.array([4]), np.array([4.0]), 0.01)
    1.0
    """
    low, high = 0, int(n.min()) - 1
    if _coverage_gain(n, correct, high) >= gain:
        return inf
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _coverage_gain(n, correct, middle) < gain else (middle + 1, high)
    return float(low)


def _coverage_gain(n: Ints, correct: Floats, k: int) -> float:
    """Coverage that sample k+1 adds; it falls with k, because the estimate is concave in k."""
    before = pass_at_k(n, correct, k) if k else np.zeros(len(n))
    return float(np.mean(pass_at_k(n, correct, k + 1) - before))


def _saturation_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    counts = whole_counts(evidence)
    findings = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        if not len(n) or n.min() < 2:
            continue
        for gain in GAINS:
            rng = np.random.default_rng(query.seed)

            def saturation_of(rows: Ints, n: Ints = n, correct: Floats = correct, gain: float = gain) -> float:
                return observed_saturation(n[rows], correct[rows], gain)

            value = observed_saturation(n, correct, gain)
            spread = over_questions(len(n), saturation_of, min(query.draws, MOST_DRAWS), rng)
            side = (1 - query.level) / 2
            low = float(np.quantile(spread, side, method="lower"))
            high = float(np.quantile(spread, 1 - side, method="higher"))
            note = "" if np.isfinite(value) else f"not reached by {int(n.min())} samples"
            quantity = f"samples until one more adds < {gain:.1%}"
            findings.append(LawFinding("saturation", arm, quantity, value, low, high, note))
    return findings


LAW = EvidenceLaw(
    "saturation",
    "number of samples after which one more adds too little coverage",
    _saturation_findings,
    "2 or more scored samples of every question",
)

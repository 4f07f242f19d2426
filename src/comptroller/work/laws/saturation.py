"""Where one more sample stops paying.

TTSPM, arXiv 2505.20522: F(N) = F_max (1 - (1-p)^N) for N parallel samples, or N rounds of rethinking, so
the next sample gains F_max p (1-p)^N and N* = ceil(ln(eps / (F_max p)) / ln(1-p)).
"""

from __future__ import annotations

from math import ceil, inf, log

import numpy as np

from comptroller.errors import InputError
from comptroller.work.evidence import Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import names, over_questions, whole_counts
from comptroller.work.laws.coverage import pass_at_k

GAINS = (0.01, 0.001)
"""Coverage that one more sample a question must add to be worth drawing."""


def saturates(p: float, gain: float, most: float = 1.0) -> float:
    """The least number of samples after which the next adds less than `gain`: p per sample, `most` attainable.

    Raises:
        InputError: p or most is outside [0, 1], or gain is not above 0.

    >>> saturates(0.3, 0.01)
    10
    """
    if not (0 <= p <= 1 and 0 <= most <= 1 and gain > 0):
        raise InputError(f"saturation: p {p}, most {most} must lie in [0, 1] and gain {gain} above 0")
    if most * p < gain:
        return 0
    return 1 if p == 1 else max(0, ceil(log(gain / (most * p)) / log(1 - p) - 1e-12))


def observed_saturation(n: Ints, correct: Floats, gain: float) -> float:
    """The number of samples after which the next adds less than `gain` to coverage, from the unbiased estimate.

    Infinite where the samples recorded do not reach it.

    >>> observed_saturation(np.array([4]), np.array([4.0]), 0.01)
    1.0
    """
    low, high = 0, int(n.min()) - 1
    if _gain(n, correct, high) >= gain:
        return inf
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if _gain(n, correct, middle) < gain else (middle + 1, high)
    return float(low)


def _gain(n: Ints, correct: Floats, k: int) -> float:
    """What sample k+1 adds to mean coverage; falls with k, because the estimate is concave."""
    before = pass_at_k(n, correct, k) if k else np.zeros(len(n))
    return float(np.mean(pass_at_k(n, correct, k + 1) - before))


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    counts = whole_counts(known)
    found = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        if not len(n) or n.min() < 2:
            continue
        for gain in GAINS:
            rng = np.random.default_rng(asking.seed)

            def drawn(rows: Ints, n: Ints = n, correct: Floats = correct, gain: float = gain) -> float:
                return observed_saturation(n[rows], correct[rows], gain)

            value = observed_saturation(n, correct, gain)
            spread = over_questions(len(n), drawn, min(asking.draws, 200), rng)
            side = (1 - asking.level) / 2
            low = float(np.quantile(spread, side, method="lower"))
            high = float(np.quantile(spread, 1 - side, method="higher"))
            note = "" if np.isfinite(value) else f"not reached by {int(n.min())} samples"
            quantity = f"samples until one more adds < {gain:.1%}"
            found.append(LawFinding("saturation", arm, quantity, value, low, high, note))
    return found


LAW = EvidenceLaw("saturation", "number of samples after which one more adds too little coverage", _find)

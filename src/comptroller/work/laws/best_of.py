"""Best of k by a recorded rating (a reward, a verifier, the likelihood): the unbiased mean of its correctness.

It is the mean, over all choices of k of the N samples, of the correctness of the best rated one. With samples sorted by
rating it is sum_i correct_(i) C(i-1, k-1) / C(N, k), i the rank from below. Tied samples share their places evenly,
which is the limit of the random tie-breaks of Singhi et al., arXiv 2504.01005 (100 shuffles there).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, VERIFIER, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import mean_band, names

STEPS = (1, 2, 4, 8, 16, 32, 64)
"""Values of k that are reported where the query names none: doublings, because the gain is about even in log k. Those
above the fewest samples of a question are left out; an end of 128 only adds a line where there are as many samples."""


def best_of_k(rating: npt.ArrayLike, correct: npt.ArrayLike, k: int) -> float:
    """Expected correctness of the best rated of k samples, drawn without replacement from those of one question.

    Raises:
        UnsupportedError: fewer than k samples.

    >>> round(best_of_k([0.1, 0.9, 0.5], [0, 1, 0], 2), 6)
    0.666667
    """
    rated, correctness = np.asarray(rating, float), np.asarray(correct, float)
    count = len(rated)
    if count < k:
        raise UnsupportedError(f"best of {k} needs that many samples; there are {count}")
    values, group = np.unique(rated, return_inverse=True)
    size = np.bincount(group, minlength=len(values))
    share = np.bincount(group, weights=correctness, minlength=len(values)) / size
    upto = np.cumsum(size)
    wins = np.exp(_log_choose(upto, k) - _log_choose(count, k))
    return float((np.diff(wins, prepend=0.0) * share).sum())


def _log_choose(n: npt.ArrayLike, k: int) -> Floats:
    total = np.asarray(n, float)
    enough = total >= k
    top = np.where(enough, total, k)
    return np.where(enough, gammaln(top + 1) - gammaln(k + 1) - gammaln(top - k + 1), -np.inf)


def ratings(evidence: Evidence) -> Mapping[str, Floats]:
    """Ratings of rows, by name, each of shape (rows,); NaN where a row has none.

    judgement: recorded with the sample.  verdicts: mean over the verdicts on it.  likelihood: mean log-probability
    of its tokens, in nats.  vote: number of samples of the arm that gave the same answer to the question.
    """
    rows = evidence.rows
    count = len(rows)
    by_name = {"judgement": np.where(rows.role == SOLVER, rows.judgement, np.nan)}
    verdicts = (rows.role == VERIFIER) & np.isfinite(rows.judgement) & (rows.parent >= 0)
    total = np.bincount(rows.parent[verdicts], weights=rows.judgement[verdicts], minlength=count)
    number = np.bincount(rows.parent[verdicts], minlength=count)
    by_name["verdicts"] = np.divide(total, number, out=np.full(count, np.nan), where=number > 0)
    if evidence.logprobs is not None:
        logs = [float(np.mean(cell)) if cell is not None and len(cell) else np.nan for cell in evidence.logprobs]
        by_name["likelihood"] = np.array(logs)
    by_name["vote"] = _votes(evidence)
    return by_name


def _votes(evidence: Evidence) -> Floats:
    """Number of samples with the row's question, arm and answer; NaN where the row has no answer."""
    rows = evidence.rows
    keys = list(zip(rows.question.tolist(), rows.arm.tolist(), rows.answer.tolist(), strict=True))
    use = evidence.samples & np.array([answer is not None for *_, answer in keys], bool)
    tally: dict[tuple[int, int, str], int] = {}
    for row in np.flatnonzero(use):
        tally[keys[row]] = tally.get(keys[row], 0) + 1
    return np.array([float(tally[key]) if use[row] else np.nan for row, key in enumerate(keys)])


def _best_of_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence):
        return []
    findings = []
    for name, rating in ratings(evidence).items():
        if name == "vote":
            continue  # a vote over k samples is not the best of k by a vote over N
        for arm in range(len(evidence.arms)):
            findings += _findings_of_arm(evidence, name, rating, arm, query)
    return findings


def _findings_of_arm(evidence: Evidence, name: str, rating: Floats, arm: int, query: LawQuery) -> list[LawFinding]:
    rows = evidence.rows
    use = evidence.samples & (rows.arm == arm) & np.isfinite(rating) & np.isfinite(rows.score)
    groups = [np.flatnonzero(use & (rows.question == q)) for q in np.unique(rows.question[use])]
    groups = [group for group in groups if len(group) > 1]
    if not groups:
        return []
    most = min(len(group) for group in groups)
    findings = []
    for k in [k for k in (query.at or STEPS) if k <= most]:
        best = np.array([best_of_k(rating[group], rows.score[group], k) for group in groups])
        findings.append(
            LawFinding(
                "best_of",
                names(evidence)[arm],
                f"best of {k} by {name}",
                float(best.mean()),
                *mean_band(best, query),
                f"{len(groups)} questions",
            )
        )
    return findings


LAW = EvidenceLaw(
    "best_of",
    "correctness of the best of k samples by each recorded rating (unbiased)",
    _best_of_findings,
    "scored replies with a rating of each: judgement, or verdicts on them (role verifier)",
)

"""Shapley shares: what each model, or each further sample, adds to what all of them solve together.

phi_i = mean over orders of v(those before i, and i) - v(those before i), v the share of questions that any of them
solves. Exact over all subsets for few sources; otherwise truncated Monte Carlo: orders are drawn, and an order ends
where what is left can add less than a tolerance (TMC-Shapley; Ghorbani and Zou, Data Shapley, ICML 2019).
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np

from comptroller.work.evidence import SOLVER, Evidence, Floats
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import mean_band, means, names

EXACT = 10
"""Most sources that are counted over all subsets: 1,024 of them. At twice this there would be a million."""

ORDERS = 200
"""Orders that are drawn of more sources: the share of one then varies by a fifteenth of its own spread over orders."""

TOLERANCE = 1e-3
"""What is left of an order adds less than a tenth of a point: it is given nothing."""


def shapley_shares(solved: Floats, rng: np.random.Generator) -> Floats:
    """(questions, sources): each source's part in whether a question is solved by any of them; rows sum to that.

    solved: (questions, sources), the chance or share that a source solves a question.

    >>> shapley_shares(np.array([[1.0, 1.0, 0.0]]), np.random.default_rng(0)).tolist()
    [[0.5, 0.5, 0.0]]
    """
    count = solved.shape[1]
    return _exact_shares(solved) if count <= EXACT else _drawn_shares(solved, rng)


def _exact_shares(solved: Floats) -> Floats:
    count = solved.shape[1]
    shares = np.zeros(solved.shape)
    for source in range(count):
        others = [other for other in range(count) if other != source]
        for size in range(count):
            weight = 1.0 / (count * comb(count - 1, size))
            for before in combinations(others, size):
                unsolved = (1.0 - solved[:, list(before)]).prod(axis=1)
                shares[:, source] += weight * unsolved * solved[:, source]
    return shares


def _drawn_shares(solved: Floats, rng: np.random.Generator) -> Floats:
    questions, count = solved.shape
    every = 1.0 - (1.0 - solved).prod(axis=1)
    shares = np.zeros(solved.shape)
    for _ in range(ORDERS):
        unsolved = np.ones(questions)
        for source in rng.permutation(count).tolist():
            if float((every - (1.0 - unsolved)).mean()) < TOLERANCE:
                break
            shares[:, source] += unsolved * solved[:, source]
            unsolved = unsolved * (1.0 - solved[:, source])
    return shares / ORDERS


def _source_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence) or len(evidence.arms) < 2:
        return []
    solved = means(evidence, evidence.rows.score, evidence.rows.role == SOLVER)
    shared = solved[np.isfinite(solved).all(axis=1)]
    if len(shared) < 2:
        return []
    shares = shapley_shares(shared, np.random.default_rng(query.seed))
    together = float(shares.sum(axis=1).mean())
    exact = "all subsets" if len(evidence.arms) <= EXACT else f"{ORDERS} orders, truncated at {TOLERANCE:g}"
    note = f"of {together:.1%} that any one solves of {len(shared):,} questions; {exact}"
    return [
        LawFinding("source_shares", arm, "share of what all solve", float(share.mean()), *mean_band(share, query), note)
        for arm, share in zip(names(evidence), shares.T, strict=True)
    ]


LAW = EvidenceLaw(
    "source_shares",
    "Shapley shares of the models in what all of them solve together",
    _source_findings,
    "two models, formats or efforts scored on the same two or more questions",
)

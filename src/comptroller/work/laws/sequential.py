"""Saturation of parallel samples and of rounds of rethinking by one formula, beside what was observed.

TTSPM, arXiv 2505.20522: N parallel samples solve F(N) = F_max (1 - (1-p)^N) of the questions, and so do N rounds of
rethinking, an absorbing Markov chain whose p is the chance that a round puts a wrong answer right. The next gains
F_max p (1-p)^N, which is below eps from N* = ceil(ln(eps / (F_max p)) / ln(1-p)) on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, inf, isfinite, log

import numpy as np
import numpy.typing as npt
import scipy  # its optimisers are imported when they are used

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import REVISER, SOLVER, Evidence, Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, names, over_questions, spread, whole_counts
from comptroller.work.laws.coverage import coverage, pass_at_k
from comptroller.work.laws.saturation import GAINS, observed_saturation

LEAST_POINTS = 3
"""Points that two parameters are fitted to: one more than they are."""

MOST_DRAWS = 100
"""Most resamples of questions or of chains, a fit each: 5 ms. An end of a 90 % interval then has 5 draws beyond it."""


@dataclass(frozen=True, slots=True)
class SaturationLaw:
    """F(N) = most (1 - (1-p)^N)."""

    most: float
    p: float

    def at(self, count: npt.ArrayLike) -> Floats:
        """Share solved by N samples or rounds.

        >>> SaturationLaw(0.8, 0.5).at([1, 2]).round(3).tolist()
        [0.4, 0.6]
        """
        return np.asarray(self.most * -np.expm1(np.asarray(count, float) * np.log1p(-self.p)))

    def saturates(self, gain: float) -> float:
        """N* from which the next adds less than a share; 0 where the first one does.

        >>> SaturationLaw(0.8, 0.5).saturates(0.01)
        6.0
        """
        first = self.most * self.p
        if first <= gain:
            return 0.0
        return inf if self.p <= 0 else float(ceil(log(gain / first) / log(1 - self.p))) if self.p < 1 else 1.0


def saturation_law(counts: npt.ArrayLike, solved: npt.ArrayLike) -> SaturationLaw:
    """The law fitted to shares solved by so many samples or rounds, by least squares.

    Raises:
        UnsupportedError: fewer than three points, or nothing is solved.

    >>> law = saturation_law([1, 2, 4, 8], SaturationLaw(0.7, 0.2).at([1, 2, 4, 8]))
    >>> round(law.most, 4), round(law.p, 4)
    (0.7, 0.2)
    """
    sizes, share = np.asarray(counts, float), np.asarray(solved, float)
    if len(sizes) < LEAST_POINTS or not share.max() > 0:
        raise UnsupportedError(f"no saturation: {LEAST_POINTS} numbers of samples or rounds, and some right ones, tell")

    def miss(of: Floats) -> Floats:
        return np.asarray(SaturationLaw(of[0], of[1]).at(sizes) - share)

    ceiling = float(share.max())
    start = [ceiling, min(max(float(share[0]) / ceiling, 0.01), 0.9)]
    found = scipy.optimize.least_squares(miss, start, bounds=([1e-6, 1e-9], [1.0, 1.0 - 1e-9]))
    return SaturationLaw(float(found.x[0]), float(found.x[1]))


def rounds_solved(evidence: Evidence, arm: int) -> Floats:
    """(chains, 1 + rounds): whether the first reply, or a revision so far, was right, of each chain of revisions.

    A chain that ended early keeps what it had. Shape (0, 1) where nothing was revised.
    """
    rows = evidence.rows
    after: dict[int, int] = {}
    for row in np.flatnonzero((rows.role == REVISER) & (rows.arm == arm) & np.isfinite(rows.score)).tolist():
        after.setdefault(int(rows.parent[row]), row)
    heads = [row for row in after if rows.role[row] == SOLVER and np.isfinite(rows.score[row])]
    chains = []
    for head in heads:
        chain, row = [float(rows.score[head])], head
        while row in after:
            row = after[row]
            chain.append(max(chain[-1], float(rows.score[row])))
        chains.append(chain)
    longest = max(map(len, chains), default=1)
    filled = [chain + [chain[-1]] * (longest - len(chain)) for chain in chains]
    return np.array(filled).reshape(-1, longest)


def _sequential_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    counts = whole_counts(evidence)
    findings: list[LawFinding] = []
    for number, arm in enumerate(names(counts)):
        n, correct = counts.of(number)
        if len(n) and n.min() >= LEAST_POINTS and correct.sum() > 0:
            findings += _sample_findings(arm, n, correct, query)
        if isinstance(evidence, Evidence):
            findings += _round_findings(arm, rounds_solved(evidence, number), query)
    return findings


def _sample_findings(arm: str, n: Ints, correct: Floats, query: LawQuery) -> Iterator[LawFinding]:
    """F_max, p and where they saturate, with intervals over questions, and how far the law misses what was observed."""
    most = int(n.min())
    sizes = spread(most)
    covered = coverage(n, correct, sizes)
    law, laws = saturation_law(sizes, covered), _resampled_laws(n, correct, sizes, query)
    miss = float(np.abs(law.at(sizes) - covered).max())
    note = f"F(N) = F_max (1 - (1-p)^N) fitted up to {most:,} samples, largest miss {miss:.3f}"
    for called, value, drawn in (
        ("F_max of samples", law.most, [of.most for of in laws]),
        ("p of samples", law.p, [of.p for of in laws]),
    ):
        yield LawFinding("sequential", arm, called, value, *band(np.array(drawn), query.level), note)
    for gain in GAINS:
        drawn = [of.saturates(gain) for of in laws]
        quantity = f"samples until one more adds < {gain:.1%}, by the law"
        seen = observed_saturation(n, correct, gain)
        observed = f"observed: {seen:,.0f}" if isfinite(seen) else f"observed: not within {most:,} samples"
        yield LawFinding(
            "sequential", arm, quantity, law.saturates(gain), *band(np.array(drawn), query.level), observed
        )


def _resampled_laws(n: Ints, correct: Floats, sizes: Ints, query: LawQuery) -> list[SaturationLaw]:
    """The law fitted to resamples of the questions; those without a solved question have none and are left out."""
    covered = pass_at_k(n[:, None], correct[:, None], sizes[None, :])
    rng = np.random.default_rng(query.seed)
    drawn = [rng.integers(0, len(n), len(n)) for _ in range(min(query.draws, MOST_DRAWS))]
    return [saturation_law(sizes, covered[rows].mean(axis=0)) for rows in drawn if correct[rows].sum() > 0]


def _round_findings(arm: str, solved: Floats, query: LawQuery) -> list[LawFinding]:
    """What rounds of revision solve, and p: the share of wrong answers that a round puts right."""
    if solved.shape[1] < 2:
        return []
    wrong, righted = (1.0 - solved[:, :-1]).sum(axis=1), np.diff(solved, axis=1).sum(axis=1)

    def chance(rows: Ints) -> float:
        return float(righted[rows].sum() / wrong[rows].sum()) if wrong[rows].sum() else float("nan")

    every = np.arange(len(solved))
    draws = over_questions(len(solved), chance, min(query.draws, MOST_DRAWS), np.random.default_rng(query.seed))
    note = f"{len(solved):,} chains; right once is right, however it is chosen"
    p = LawFinding("sequential", arm, "p of a round of revision", chance(every), *band(draws, query.level), note)
    rounds = [
        LawFinding(
            "sequential", arm, f"solved after {number} round{'s' * (number != 1)} of revision", float(share), note=note
        )
        for number, share in enumerate(solved.mean(axis=0).tolist())
    ]
    return [p, *rounds]


LAW = EvidenceLaw(
    "sequential",
    "where samples and rounds of rethinking saturate, by one formula (TTSPM)",
    _sequential_findings,
    "3 or more scored samples of every question, or revisions of replies (role reviser), some right",
)

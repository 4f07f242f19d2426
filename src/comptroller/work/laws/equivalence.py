"""Equivalence of a cheaper and a dearer arm: two one-sided t tests on paired questions (TOST).

Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987) 657: two means are equivalent within a margin at the 5 %
level if the 90 % interval of the paired difference lies inside the margin. The first is not worse if the lower end
does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import stdtr, stdtrit

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, Evidence
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import means, names, paired_rows
from comptroller.work.laws.frontier import arm_costs

SIGNIFICANCE = 0.05
"""Level of each one-sided test, as in Schuirmann; intervals are 1 - 2 x 0.05 = 90 %. At twice this one in ten arms that
are just outside the margin would be called equivalent, instead of one in twenty."""


@dataclass(frozen=True, slots=True)
class EquivalenceTest:
    """Mean difference in score, first minus second, with its 90 % interval.

    p_equivalent, p_not_worse: p values of the hypotheses that it lies outside the margin, and below it.
    """

    difference: float
    low: float
    high: float
    p_equivalent: float
    p_not_worse: float
    pairs: int

    @property
    def verdict(self) -> str:
        """The result at the 5 % level."""
        if self.p_equivalent < SIGNIFICANCE:
            return "equivalent"
        if self.low > 0:
            return "better"
        if self.p_not_worse < SIGNIFICANCE:
            return "not worse"
        return "worse" if self.high < 0 else "undecided"


def tost(first: npt.ArrayLike, second: npt.ArrayLike, margin: float) -> EquivalenceTest:
    """Two one-sided t tests on paired scores, both of shape (questions,).

    margin: difference in score that does not matter.

    Raises:
        UnsupportedError: fewer than two pairs.

    >>> tost([1, 0, 1, 0] * 50, [1, 0, 0, 1] * 50, 0.2).verdict
    'equivalent'
    """
    gap = np.asarray(first, float) - np.asarray(second, float)
    count = len(gap)
    if count < 2:
        raise UnsupportedError(f"no equivalence test: {count} paired question(s), 2 needed")
    mean, error = float(gap.mean()), float(gap.std(ddof=1)) / np.sqrt(count)
    free = count - 1
    if error == 0:
        below, above = float(mean <= -margin), float(mean >= margin)
    else:
        below = float(stdtr(free, -(mean + margin) / error))
        above = float(stdtr(free, (mean - margin) / error))
    half = float(stdtrit(free, 1 - SIGNIFICANCE)) * error
    return EquivalenceTest(mean, mean - half, mean + half, max(below, above), below, count)


def _equivalence_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence) or len(evidence.arms) < 2:
        return []
    _, cost = arm_costs(evidence)
    score = means(evidence, evidence.rows.score, evidence.rows.role == SOLVER)
    findings = []
    for cheap in range(len(evidence.arms)):
        for dear in range(len(evidence.arms)):
            rows = paired_rows(score, cheap, dear)
            if cheap == dear or len(rows) < 2 or not _cheaper(cost[rows, cheap], cost[rows, dear], cheap < dear):
                continue
            test = tost(score[rows, cheap], score[rows, dear], query.margin)
            chance = f"TOST p {test.p_equivalent:.2g}"
            note = f"{test.verdict}, margin {query.margin:.1%} ({chance}), {test.pairs} questions"
            subject = f"{names(evidence)[cheap]} against {names(evidence)[dear]}"
            findings.append(
                LawFinding("equivalence", subject, "score difference", test.difference, test.low, test.high, note)
            )
    return findings


def _cheaper(cost: npt.NDArray[np.float64], other_cost: npt.NDArray[np.float64], comes_first: bool) -> bool:
    """Whether an arm costs less over the questions than another; if unknown or equal, whether it comes first."""
    gap = float(np.sum(cost - other_cost))
    return gap < 0 if np.isfinite(gap) and gap != 0 else comes_first


LAW = EvidenceLaw(
    "equivalence",
    "is the cheaper arm as good as the dearer one, question by question (TOST)",
    _equivalence_findings,
    "two models, formats or efforts scored on the same questions",
)

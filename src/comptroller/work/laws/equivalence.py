"""Whether a cheap arm is as good as a dear one: two one-sided tests on paired questions (TOST).

Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15 (1987) 657: equivalent within a margin at 5 % where the 90 %
interval of the mean paired difference lies inside it; not worse where its lower end does.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import t as student

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, Evidence
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import means, names, paired_rows
from comptroller.work.laws.frontier import arm_costs


@dataclass(frozen=True, slots=True)
class EquivalenceTest:
    """Difference first minus second with its 90 % interval; p that it is outside the margin, and below it."""

    difference: float
    low: float
    high: float
    p_equivalent: float
    p_not_worse: float
    pairs: int

    @property
    def verdict(self) -> str:
        """What the tests say at 5 %."""
        if self.p_equivalent < 0.05:
            return "equivalent"
        if self.low > 0:
            return "better"
        if self.p_not_worse < 0.05:
            return "not worse"
        return "worse" if self.high < 0 else "undecided"


def tost(first: npt.ArrayLike, second: npt.ArrayLike, margin: float) -> EquivalenceTest:
    """Two one-sided t tests on paired scores.

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
        below = float(student.sf((mean + margin) / error, free))
        above = float(student.cdf((mean - margin) / error, free))
    half = float(student.ppf(0.95, free)) * error
    return EquivalenceTest(mean, mean - half, mean + half, max(below, above), below, count)


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    if not isinstance(known, Evidence) or len(known.arms) < 2:
        return []
    _, cost = arm_costs(known)
    score = means(known, known.rows.score, known.rows.role == SOLVER)
    found = []
    for cheap in range(len(known.arms)):
        for dear in range(len(known.arms)):
            rows = paired_rows(score, cheap, dear)
            if cheap == dear or len(rows) < 2 or not _cheaper(cost[rows, cheap], cost[rows, dear], cheap < dear):
                continue
            test = tost(score[rows, cheap], score[rows, dear], asking.margin)
            chance = f"TOST p {test.p_equivalent:.2g}"
            note = f"{test.verdict}, margin {asking.margin:.1%} ({chance}), {test.pairs} questions"
            subject = f"{names(known)[cheap]} against {names(known)[dear]}"
            found.append(
                LawFinding("equivalence", subject, "score difference", test.difference, test.low, test.high, note)
            )
    return found


def _cheaper(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64], first: bool) -> bool:
    """Whether the one costs less over the questions; where costs are unknown, whichever stands first."""
    gap = float(np.sum(one - other))
    return gap < 0 if np.isfinite(gap) and gap != 0 else first


LAW = EvidenceLaw("equivalence", "is the cheaper arm as good as the dearer one, question by question (TOST)", _find)

"""Does thinking longer buy anything? Score against length within a question, and effort against effort.

Within: the slope of score on log2 of the tokens made, each question having its own level, so that hard questions being
long does not count. It is association: a sample that went astray is long as well. Between: the paired difference in
score of a model's efforts, which is cause, because the same question was asked at both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, Evidence, Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, mean_band, means, names, over_questions, paired_rows


@dataclass(frozen=True, slots=True)
class LengthResponse:
    """Change of score per doubling of tokens, or from one effort to the next, with its interval."""

    value: float
    low: float
    high: float

    def verdict(self, margin: float) -> str:
        """What it means: within the margin nothing is bought."""
        if self.high < 0:
            return "longer is worse"
        if self.high < margin:
            return "flat: thinking longer buys nothing here"
        return "longer is better" if self.low > 0 else "undecided"


def slope_within(question: Ints, tokens: Floats, score: Floats, asking: LawQuery) -> LengthResponse:
    """Score per doubling of tokens within questions; interval by resampling questions.

    Raises:
        UnsupportedError: no question has samples of different lengths.
    """
    _, group = np.unique(question, return_inverse=True)
    size = np.bincount(group)
    x, y = np.log2(tokens), score
    dx = x - (np.bincount(group, x) / size)[group]
    dy = y - (np.bincount(group, y) / size)[group]
    top, bottom = np.bincount(group, dx * dy), np.bincount(group, dx * dx)
    if not bottom.sum() > 1e-12:
        raise UnsupportedError("no response to length: no question has samples of different lengths")

    def slope(rows: Ints) -> float:
        below = bottom[rows].sum()
        return float(top[rows].sum() / below) if below > 0 else float("nan")

    drawn = over_questions(len(size), slope, asking.draws, np.random.default_rng(asking.seed))
    return LengthResponse(slope(np.arange(len(size))), *band(drawn, asking.level))


def effort_gain(less: Floats, more: Floats, asking: LawQuery) -> LengthResponse:
    """Mean gain in score of the longer effort over paired questions; interval by resampling them."""
    gap = more - less
    return LengthResponse(float(gap.mean()), *mean_band(gap, asking))


def _find(known: Known, asking: LawQuery) -> list[LawFinding]:
    if not isinstance(known, Evidence):
        return []
    rows = known.rows
    made = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    found = []
    for number, arm in enumerate(names(known)):
        use = known.samples & (rows.arm == number) & (made > 0) & np.isfinite(rows.score)
        many = np.bincount(rows.question[use], minlength=len(known.items)) > 1
        use &= many[rows.question]
        if not use.any() or np.unique(made[use]).size < 2:
            continue
        response = slope_within(rows.question[use], made[use], rows.score[use], asking)
        found.append(_finding(arm, "score per doubling of tokens, within questions", response, asking))
    return found + _efforts(known, made, asking)


def _efforts(known: Evidence, made: Floats, asking: LawQuery) -> list[LawFinding]:
    """Consecutive efforts of each model and format, in the order of the tokens they take."""
    solver = known.rows.role == SOLVER
    score, length = means(known, known.rows.score, solver), means(known, made, solver)
    found = []
    for model, form in dict.fromkeys((arm.model, arm.format) for arm in known.arms):
        mine = [i for i, arm in enumerate(known.arms) if (arm.model, arm.format) == (model, form)]
        mine.sort(key=lambda i: float(np.nanmean(length[:, i])) if np.isfinite(length[:, i]).any() else 0.0)
        for less, more in pairwise(mine):
            both = paired_rows(score, less, more)
            if len(both) < 2:
                continue
            response = effort_gain(score[both, less], score[both, more], asking)
            efforts = f"{known.arms[less].effort or 'default'} to {known.arms[more].effort or 'default'}"
            subject = f"{model} {form}".strip()
            found.append(_finding(subject, f"score gained, effort {efforts}", response, asking))
    return found


def _finding(subject: str, quantity: str, response: LengthResponse, asking: LawQuery) -> LawFinding:
    note = response.verdict(asking.margin)
    return LawFinding("flat", subject, quantity, response.value, response.low, response.high, note)


LAW = EvidenceLaw("flat", "whether longer answers, or more effort, buy any score", _find)

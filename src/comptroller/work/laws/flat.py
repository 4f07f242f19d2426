"""Response of the score to the length of replies: within a question, and between reasoning efforts.

Within: the slope of score on log2 of the generated tokens, with a separate level for each question, so that it does
not matter that hard questions have long replies. This is association: a sample that went astray is long as well.
Between: the paired difference in score of two efforts of a model. This is causal, because the same questions were asked
at both.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from comptroller.errors import UnsupportedError
from comptroller.work.evidence import SOLVER, Evidence, Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, mean_band, means, names, over_questions, paired_rows

LEAST_VARIATION = 1e-12
"""Least sum of squared deviations of log2 tokens within questions that has a slope. Token counts are whole, so that any
difference below a million tokens is above it and rounding is below; twice this changes nothing."""


@dataclass(frozen=True, slots=True)
class LengthResponse:
    """Change of score per doubling of tokens, or from one effort to the next longer one, with its interval."""

    value: float
    low: float
    high: float

    def verdict(self, margin: float) -> str:
        """The interval in words; a gain below the margin counts as none."""
        if self.high < 0:
            return "longer is worse"
        if self.high < margin:
            return "flat: thinking longer buys nothing here"
        return "longer is better" if self.low > 0 else "undecided"


def slope_within(question: Ints, tokens: Floats, score: Floats, query: LawQuery) -> LengthResponse:
    """Score per doubling of tokens within questions; the interval is from resampled questions.

    question (index), tokens, score: of shape (samples,).

    Raises:
        UnsupportedError: no question has samples of different lengths.
    """
    _, group = np.unique(question, return_inverse=True)
    size = np.bincount(group)
    x, y = np.log2(tokens), score
    dx = x - (np.bincount(group, x) / size)[group]
    dy = y - (np.bincount(group, y) / size)[group]
    top, bottom = np.bincount(group, dx * dy), np.bincount(group, dx * dx)
    if not bottom.sum() > LEAST_VARIATION:
        raise UnsupportedError("no response to length: no question has samples of different lengths")

    def slope(rows: Ints) -> float:
        below = bottom[rows].sum()
        return float(top[rows].sum() / below) if below > 0 else float("nan")

    slopes = over_questions(len(size), slope, query.draws, np.random.default_rng(query.seed))
    return LengthResponse(slope(np.arange(len(size))), *band(slopes, query.level))


def effort_gain(less: Floats, more: Floats, query: LawQuery) -> LengthResponse:
    """Mean gain in score of the longer effort over paired questions; the interval is from resampling them."""
    gap = more - less
    return LengthResponse(float(gap.mean()), *mean_band(gap, query))


def _length_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence):
        return []
    rows = evidence.rows
    generated = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    findings = []
    for number, arm in enumerate(names(evidence)):
        use = evidence.samples & (rows.arm == number) & (generated > 0) & np.isfinite(rows.score)
        many = np.bincount(rows.question[use], minlength=len(evidence.items)) > 1
        use &= many[rows.question]
        if not use.any() or np.unique(generated[use]).size < 2:
            continue
        response = slope_within(rows.question[use], generated[use], rows.score[use], query)
        findings.append(_finding(arm, "score per doubling of tokens, within questions", response, query))
    return findings + _effort_findings(evidence, generated, query)


def _effort_findings(evidence: Evidence, generated: Floats, query: LawQuery) -> list[LawFinding]:
    """Gains between consecutive efforts of each model and format, in the order of their mean length."""
    solver = evidence.rows.role == SOLVER
    score, length = means(evidence, evidence.rows.score, solver), means(evidence, generated, solver)
    findings = []
    for model, form in dict.fromkeys((arm.model, arm.format) for arm in evidence.arms):
        by_length = [i for i, arm in enumerate(evidence.arms) if (arm.model, arm.format) == (model, form)]
        by_length.sort(key=lambda i: float(np.nanmean(length[:, i])) if np.isfinite(length[:, i]).any() else 0.0)
        for less, more in pairwise(by_length):
            paired = paired_rows(score, less, more)
            if len(paired) < 2:
                continue
            response = effort_gain(score[paired, less], score[paired, more], query)
            efforts = f"{evidence.arms[less].effort or 'default'} to {evidence.arms[more].effort or 'default'}"
            subject = f"{model} {form}".strip()
            findings.append(_finding(subject, f"score gained, effort {efforts}", response, query))
    return findings


def _finding(subject: str, quantity: str, response: LengthResponse, query: LawQuery) -> LawFinding:
    note = response.verdict(query.margin)
    return LawFinding("flat", subject, quantity, response.value, response.low, response.high, note)


LAW = EvidenceLaw(
    "flat",
    "whether longer answers, or more effort, buy any score",
    _length_findings,
    "output_tokens and scores of several samples of a question, or several efforts of a model",
)

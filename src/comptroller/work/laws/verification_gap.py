"""What choosing by a verifier is ahead of voting at equal numbers of samples, and how that grows with them.

VB - VF at n: the best of n by each recorded rating less the vote of n, ties shared, both means over all choices of n
samples. Setlur et al., Scaling Test-Time Compute Without Verification or RL is Suboptimal, arXiv 2502.12118: the gap
grows with the budget, so its slope per doubling of samples is told with an interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from comptroller.work.evidence import Evidence, Floats, Ints
from comptroller.work.laws import EvidenceLaw, Known, LawFinding, LawQuery
from comptroller.work.laws._resampling import band, mean_band, names, over_questions
from comptroller.work.laws.best_of import best_of_k, ratings
from comptroller.work.vote_means import expected_vote

STEPS = (1, 2, 4, 8)
"""Numbers of samples: doublings, so that the slope is per doubling. A vote is worked out exactly in a time that grows
with the third power of its samples: minutes at 16 on hundreds of questions."""

ROUNDING = 12
"""Decimals of a gap: below is the rounding of means over choices, and one sample has no gap."""


def gaps(evidence: Evidence, arm: int, rating: Floats) -> tuple[list[int], Floats]:
    """Numbers of samples, and (questions, numbers): the best by a rating less the vote.

    Only samples with a rating, a score and an answer count, for both. No question where there are too few.
    """
    rows = evidence.rows
    told = np.array([answer is not None for answer in rows.answer.tolist()], bool)
    use = evidence.samples & (rows.arm == arm) & np.isfinite(rating) & np.isfinite(rows.score) & told
    groups = [np.flatnonzero(use & (rows.question == q)) for q in np.unique(rows.question[use])]
    groups = [group for group in groups if len(group) > 1]
    most = min(map(len, groups), default=0)
    steps = [step for step in STEPS if step <= most]
    if len(steps) < 2:
        return [], np.zeros((0, 0))
    best = [[best_of_k(rating[g], rows.score[g], k) for k in steps] for g in groups]
    counted = [_counts_of(rows.answer[g].tolist(), rows.score[g]) for g in groups]
    counts, score = (_in_one(rows) for rows in zip(*counted, strict=True))
    return steps, np.round(np.array(best) - expected_vote(counts, score, steps), ROUNDING)


def _counts_of(answers: Sequence[str], score: Floats) -> tuple[Ints, Floats]:
    """How often each answer of a question was given, and its mean score."""
    _, group = np.unique(np.array(answers), return_inverse=True)
    counts = np.bincount(group)
    return counts, np.bincount(group, weights=score) / counts


def _in_one(rows: Sequence[npt.NDArray[Any]]) -> npt.NDArray[Any]:
    """Rows of several lengths as one array, ended by zeros: an answer that nobody gave wins no vote."""
    found = np.zeros((len(rows), max(map(len, rows))), rows[0].dtype)
    for number, row in enumerate(rows):
        found[number, : len(row)] = row
    return found


def _gap_findings(evidence: Known, query: LawQuery) -> list[LawFinding]:
    if not isinstance(evidence, Evidence):
        return []
    findings = []
    for name, rating in ratings(evidence).items():
        if name == "vote":
            continue
        for number, arm in enumerate(names(evidence)):
            steps, gap = gaps(evidence, number, rating)
            if steps:
                findings += _findings_of(arm, name, steps, gap, query)
    return findings


def _findings_of(arm: str, name: str, steps: list[int], gap: Floats, query: LawQuery) -> list[LawFinding]:
    doublings = np.log2(steps)

    def slope(rows: Ints) -> float:
        return float(np.polyfit(doublings, gap[rows].mean(axis=0), 1)[0])

    note = f"{len(gap)} questions, 1 to {steps[-1]} samples"
    every = np.arange(len(gap))
    draws = over_questions(len(gap), slope, query.draws, np.random.default_rng(query.seed))
    told = "grows" if band(draws, query.level)[0] > 0 else "shrinks" if band(draws, query.level)[1] < 0 else "undecided"
    findings = [
        LawFinding(
            "verification_gap",
            arm,
            f"gap per doubling, by {name}",
            slope(every),
            *band(draws, query.level),
            f"{told}; {note}",
        )
    ]
    for step, of_step in zip(steps, gap.T, strict=True):
        quantity = f"best of {step} by {name} less the vote of {step}"
        ends = mean_band(of_step, query)
        findings.append(LawFinding("verification_gap", arm, quantity, float(of_step.mean()), *ends, note))
    return findings


LAW = EvidenceLaw(
    "verification_gap",
    "what choosing by a verifier is ahead of voting, and its growth",
    _gap_findings,
    "answers of several samples of a question, and a rating of each: judgement, or verdicts (role verifier)",
)

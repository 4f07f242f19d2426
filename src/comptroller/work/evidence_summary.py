"""What evidence covers, costs and lacks, arm by arm: the first thing to look at."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from comptroller.work.evidence import REVISER, SOLVER, TOKENS, VERIFIER, Evidence, EvidenceCounts, Floats, RecordedModel
from comptroller.work.laws.caps import LengthCap, caps, made_tokens

NAMED = 5
"""Missing questions that are named; the rest are counted."""


@dataclass(frozen=True, slots=True)
class RecordedModelSummary:
    """What is recorded of one arm. Means are NaN where nothing of the kind is recorded.

    questions: with a solver's reply.  samples: fewest and most of a question, greedy ones apart.  score, greedy:
    mean over samples, and over greedy replies.  unscored: solvers' replies without a score.  input_tokens,
    made_tokens: mean per reply.  usd: total recorded, of all roles.  usd_per_solved: solvers' dollars over solvers'
    score.  unpriced, uncounted: replies without dollars, without tokens.  truncated: share of the replies whose end
    is recorded that ended by length.  cap: a suspected one among the others.  missing: questions without a reply;
    gaps: the first of them.
    """

    arm: RecordedModel
    questions: int
    samples: tuple[int, int]
    score: float
    greedy: float
    unscored: int
    failed: int
    verdicts: int
    revisions: int
    input_tokens: float
    made_tokens: float
    usd: float
    usd_per_solved: float
    unpriced: int
    uncounted: int
    truncated: float
    cap: LengthCap | None
    missing: int
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Questions of a task, and the mean score of the samples of each arm on it (NaN: none)."""

    task: str
    questions: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EvidenceSummary:
    """Evidence at a glance. replies: rows, or samples counted."""

    source: str
    questions: int
    replies: int
    arms: tuple[RecordedModelSummary, ...]
    tasks: tuple[TaskSummary, ...]
    counts_only: bool


def summarise(known: Evidence | EvidenceCounts) -> EvidenceSummary:
    """The summary of evidence."""
    if isinstance(known, EvidenceCounts):
        return _of_counts(known)
    silent = caps(known)
    arms = tuple(_arm(known, number, silent.get(number)) for number in range(len(known.arms)))
    scored = known.counts()
    return EvidenceSummary(known.source, len(known.items), len(known), arms, _tasks(scored), counts_only=False)


def _arm(known: Evidence, number: int, cap: LengthCap | None) -> RecordedModelSummary:
    rows = known.rows
    mine = rows.arm == number
    solver = mine & (rows.role == SOLVER)
    sampled, greedy = solver & ~known.greedy, solver & known.greedy
    asked = np.unique(rows.question[solver])
    each = np.bincount(rows.question[sampled], minlength=len(known.items))[asked]
    made = made_tokens(known)
    ended = solver & (rows.finish != "")
    missing = np.setdiff1d(np.arange(len(known.items)), asked)
    score = rows.score[solver]
    return RecordedModelSummary(
        arm=known.arms[number],
        questions=len(asked),
        samples=(int(each.min()), int(each.max())) if len(each) else (0, 0),
        score=_mean(rows.score[sampled]),
        greedy=_mean(rows.score[greedy]),
        unscored=int(np.isnan(score).sum()),
        failed=int((rows.finish[mine] == "failed").sum()),
        verdicts=int((mine & (rows.role == VERIFIER)).sum()),
        revisions=int((mine & (rows.role == REVISER)).sum()),
        input_tokens=_mean(rows.input_tokens[solver] + np.nan_to_num(rows.cached_tokens[solver])),
        made_tokens=_mean(made[solver]),
        usd=_total(rows.usd[mine]),
        usd_per_solved=_per_solved(rows.usd[solver], score),
        unpriced=int(np.isnan(rows.usd[mine]).sum()),
        uncounted=int(np.isnan([getattr(rows, name)[mine] for name in TOKENS]).all(axis=0).sum()),
        truncated=float(np.mean(rows.finish[ended] == "length")) if ended.any() else nan,
        cap=cap,
        missing=len(missing),
        gaps=tuple(known.items[question].id for question in missing[:NAMED]),
    )


def _of_counts(counts: EvidenceCounts) -> EvidenceSummary:
    arms = []
    for number, arm in enumerate(counts.arms):
        n, correct = counts.of(number)
        missing = np.flatnonzero(counts.n[:, number] == 0)
        arms.append(
            RecordedModelSummary(
                arm=arm,
                questions=len(n),
                samples=(int(n.min()), int(n.max())),
                score=_mean(correct / n),
                greedy=nan,
                unscored=0,
                failed=0,
                verdicts=0,
                revisions=0,
                input_tokens=nan,
                made_tokens=nan,
                usd=nan,
                usd_per_solved=nan,
                unpriced=int(n.sum()),
                uncounted=int(n.sum()),
                truncated=nan,
                cap=None,
                missing=len(missing),
                gaps=tuple(counts.items[question].id for question in missing[:NAMED]),
            )
        )
    total = int(counts.n.sum())
    return EvidenceSummary(counts.source, len(counts.items), total, tuple(arms), _tasks(counts), counts_only=True)


def _tasks(counts: EvidenceCounts) -> tuple[TaskSummary, ...]:
    """Mean score by task: every question counts alike."""
    share = np.divide(counts.correct, counts.n, out=np.full(counts.n.shape, nan), where=counts.n > 0)
    found = []
    for task in dict.fromkeys(item.task for item in counts.items):
        mine = np.array([item.task == task for item in counts.items])
        scores = tuple(_mean(share[mine, arm]) for arm in range(len(counts.arms)))
        found.append(TaskSummary(task, int(mine.sum()), scores))
    return tuple(found)


def _mean(values: npt.NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else nan


def _total(values: Floats) -> float:
    known = values[np.isfinite(values)]
    return float(known.sum()) if len(known) else nan


def _per_solved(usd: Floats, score: Floats) -> float:
    both = np.isfinite(usd) & np.isfinite(score)
    return float(usd[both].sum() / score[both].sum()) if score[both].sum() > 0 else nan

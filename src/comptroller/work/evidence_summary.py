"""Summary of evidence by arm: questions covered, scores, tokens, dollars, and what is missing."""

from __future__ import annotations

from dataclasses import dataclass
from math import nan

import numpy as np
import numpy.typing as npt

from comptroller.work.evidence import (
    REVISER,
    SOLVER,
    STEP,
    TOKENS,
    VERIFIER,
    Evidence,
    EvidenceCounts,
    Floats,
    RecordedModel,
)
from comptroller.work.laws.caps import LengthCap, caps, made_tokens

NAMED = 5
"""Missing questions that are named; the number of all is stated. Twice as many make the line of a table twice as
long."""


@dataclass(frozen=True, slots=True)
class RecordedModelSummary:
    """Summary of one arm. Means are NaN where nothing of the kind is recorded.

    questions: with a solver's reply.  samples: fewest and most of a question, without greedy ones.  score, greedy:
    mean over samples, and over greedy replies.  unscored: solvers' replies without a score.  input_tokens,
    made_tokens: mean per solver's reply; generated ones include reasoning.  usd: recorded total of all roles.
    usd_per_solved: solvers' dollars over solvers' scores.  unpriced, uncounted: replies without dollars, without
    tokens.  truncated: share ended by length, of the replies whose end is recorded.  cap: suspected among the others.
    missing: number of questions without a reply.  gaps: ids of the first of them.
    steps: of solutions, without refused ones.
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
    steps: int = 0


@dataclass(frozen=True, slots=True)
class StepTreeSummary:
    """Recorded steps of an arm on a task: of how many questions, how many, the solutions that they end, and the share
    of those that is right (NaN where nobody judged them)."""

    task: str
    arm: RecordedModel
    questions: int
    steps: int
    solutions: int
    right: float


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Number of questions of a task, and the mean score of each arm's samples on them (NaN: none)."""

    task: str
    questions: int
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class EvidenceSummary:
    """Summary of evidence.

    replies: number of rows, or of counted samples.  counts_only: whether only counts are recorded.
    """

    source: str
    questions: int
    replies: int
    arms: tuple[RecordedModelSummary, ...]
    tasks: tuple[TaskSummary, ...]
    counts_only: bool
    trees: tuple[StepTreeSummary, ...] = ()


def summarise(evidence: Evidence | EvidenceCounts) -> EvidenceSummary:
    """The summary of evidence."""
    if isinstance(evidence, EvidenceCounts):
        return _summary_of_counts(evidence)
    suspected = caps(evidence)
    arms = tuple(_arm_summary(evidence, number, suspected.get(number)) for number in range(len(evidence.arms)))
    counts = evidence.counts()
    return EvidenceSummary(
        evidence.source, len(evidence.items), len(evidence), arms, _task_summaries(counts), False, _trees(evidence)
    )


def _is_step(evidence: Evidence) -> npt.NDArray[np.bool_]:
    return np.asarray((evidence.rows.role == STEP) & (evidence.rows.finish != "refused"))


def _trees(evidence: Evidence) -> tuple[StepTreeSummary, ...]:
    """Recorded steps by task and arm."""
    rows, step = evidence.rows, _is_step(evidence)
    task = np.array([item.task for item in evidence.items] or [""])[rows.question]
    ends = np.array([answer is not None for answer in rows.answer], bool)
    found = []
    for name, number in sorted(set(zip(task[step].tolist(), rows.arm[step].tolist(), strict=True))):
        here = step & (task == name) & (rows.arm == number)
        last = here & ends
        sizes = len(np.unique(rows.question[here])), int(here.sum()), int(last.sum())
        found.append(StepTreeSummary(name, evidence.arms[number], *sizes, _mean(rows.score[last])))
    return tuple(found)


def _arm_summary(evidence: Evidence, number: int, cap: LengthCap | None) -> RecordedModelSummary:
    rows = evidence.rows
    of_arm = rows.arm == number
    solver = of_arm & (rows.role == SOLVER)
    sampled, greedy = solver & ~evidence.greedy, solver & evidence.greedy
    questions = np.unique(rows.question[solver])
    samples = np.bincount(rows.question[sampled], minlength=len(evidence.items))[questions]
    generated = made_tokens(evidence)
    ended = solver & (rows.finish != "")
    missing = np.setdiff1d(np.arange(len(evidence.items)), questions)
    score = rows.score[solver]
    return RecordedModelSummary(
        arm=evidence.arms[number],
        questions=len(questions),
        samples=(int(samples.min()), int(samples.max())) if len(samples) else (0, 0),
        score=_mean(rows.score[sampled]),
        greedy=_mean(rows.score[greedy]),
        unscored=int(np.isnan(score).sum()),
        failed=int((rows.finish[of_arm] == "failed").sum()),
        verdicts=int((of_arm & (rows.role == VERIFIER)).sum()),
        revisions=int((of_arm & (rows.role == REVISER)).sum()),
        input_tokens=_mean(rows.input_tokens[solver] + np.nan_to_num(rows.cached_tokens[solver])),
        made_tokens=_mean(generated[solver]),
        usd=_total(rows.usd[of_arm]),
        usd_per_solved=_per_solved(rows.usd[solver], score),
        unpriced=int(np.isnan(rows.usd[of_arm]).sum()),
        uncounted=int(np.isnan([getattr(rows, name)[of_arm] for name in TOKENS]).all(axis=0).sum()),
        truncated=float(np.mean(rows.finish[ended] == "length")) if ended.any() else nan,
        cap=cap,
        missing=len(missing),
        gaps=tuple(evidence.items[question].id for question in missing[:NAMED]),
        steps=int((_is_step(evidence) & of_arm).sum()),
    )


def _summary_of_counts(counts: EvidenceCounts) -> EvidenceSummary:
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
    return EvidenceSummary(
        counts.source, len(counts.items), total, tuple(arms), _task_summaries(counts), counts_only=True
    )


def _task_summaries(counts: EvidenceCounts) -> tuple[TaskSummary, ...]:
    """Mean score by task, over questions with equal weights."""
    share = np.divide(counts.correct, counts.n, out=np.full(counts.n.shape, nan), where=counts.n > 0)
    tasks = []
    for task in dict.fromkeys(item.task for item in counts.items):
        of_task = np.array([item.task == task for item in counts.items])
        scores = tuple(_mean(share[of_task, arm]) for arm in range(len(counts.arms)))
        tasks.append(TaskSummary(task, int(of_task.sum()), scores))
    return tuple(tasks)


def _mean(values: npt.NDArray[np.float64]) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.mean()) if len(finite) else nan


def _total(values: Floats) -> float:
    finite = values[np.isfinite(values)]
    return float(finite.sum()) if len(finite) else nan


def _per_solved(usd: Floats, score: Floats) -> float:
    both = np.isfinite(usd) & np.isfinite(score)
    return float(usd[both].sum() / score[both].sum()) if score[both].sum() > 0 else nan

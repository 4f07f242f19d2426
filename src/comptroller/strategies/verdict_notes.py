"""How lenient the check of a cascade of two models may be, said of recorded replies."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from comptroller.strategies.rules.verdict_cascade import VerdictCascadeStrategy, break_even_fpr
from comptroller.strategies.spelling import asks_checker, parse
from comptroller.work.evidence import SOLVER, Evidence, Floats, Ints


def break_even_notes(
    evidence: Evidence, strategy: str, models: Mapping[str, str], questions: Ints, tpr: float
) -> list[str]:
    """One sentence on a cascade of two models on a verdict of the modelled checker; none on other strategies.

    models: by role.  questions: those it was replayed on.  tpr: share of right answers that its check accepts.
    """
    played = parse(strategy)
    if (
        not isinstance(played, VerdictCascadeStrategy)
        or not asks_checker(strategy)
        or len(played.roles) != 2
        or not models.keys() >= set(played.roles)
    ):
        return []
    weak, strong = (_mean_scores(evidence, models[role], questions) for role in played.roles)
    most = break_even_fpr(weak, strong, tpr)
    alone = f"{' > '.join(models[role] for role in played.roles)}: {models[played.roles[1]]} alone solves"
    if most == 1.0:
        return [f"{alone} {strong.mean():.1%}, no more than the cascade however many wrong answers pass the check"]
    return [f"{alone} {strong.mean():.1%}, as much as the cascade does if {most:.1%} of wrong answers pass the check"]


def _mean_scores(evidence: Evidence, who: str, questions: Ints) -> Floats:
    """Mean score of a model's recorded replies to each question."""
    rows, count = evidence.rows, len(evidence.items)
    arm = next(number for number, known in enumerate(evidence.arms) if str(known) == who)
    use = (rows.arm == arm) & (rows.role == SOLVER) & np.isfinite(rows.score)
    replies = np.bincount(rows.question[use], minlength=count)
    total = np.bincount(rows.question[use], rows.score[use], count)
    return np.asarray((total / np.maximum(replies, 1))[questions], float)

"""A reward model that errs as a recorded one does: its scores of right and of wrong steps, drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.replay import RIGHT, ModelledChecker
from comptroller.work.evidence import STEP, VERIFIER, Evidence

FEWEST = 30
"""Recorded scores of right, and of wrong, steps below which no error is drawn from them: the standard error of a rate
of one half is then 9 points; of 15 scores it is 13."""


@dataclass(frozen=True, slots=True)
class ModelledReward(ModelledChecker):
    """right, wrong: scores that the reward model gave to steps that were, and were not, right so far.

    The score of a step is drawn from those of its kind, each step independently of the others.

    Raises:
        InputError: there are none of a kind.
    """

    right: tuple[float, ...] = (1.0,)
    wrong: tuple[float, ...] = (0.0,)

    def __post_init__(self) -> None:
        ModelledChecker.__post_init__(self)
        if not (self.right and self.wrong):
            raise InputError("reward: scores of right and of wrong steps are both needed")

    def may_err(self, right: bool) -> bool:
        """Whether two scores of a right, or a wrong, step may differ."""
        return len(set(self.right if right else self.wrong)) > 1

    def judged(self, right: bool, rng: np.random.Generator) -> float:
        """A score from the recorded ones of such steps."""
        scores = self.right if right else self.wrong
        return scores[int(rng.integers(len(scores)))]

    @property
    def auc(self) -> float:
        """Chance that a right step scores above a wrong one, ties counted half.

        >>> ModelledReward(right=(0.9, 0.5), wrong=(0.1, 0.5)).auc
        0.875
        """
        right, wrong = np.array(self.right)[:, None], np.array(self.wrong)[None, :]
        return float(((right > wrong) + 0.5 * (right == wrong)).mean())


def recorded_reward(evidence: Evidence, name: str, tasks: Sequence[str] = ()) -> ModelledReward:
    """The error of a recorded reward model on steps whose truth is recorded too.

    name: of the model.  tasks: domains to keep, empty for all.

    Raises:
        InputError: no model, or several, have the name.
        UnsupportedError: it scored too few right or wrong steps.
    """
    rows, arm = evidence.rows, evidence.arm(evidence.find(name))
    kept = np.array([not tasks or item.task in tasks for item in evidence.items])
    use = (rows.arm == arm) & (rows.role == VERIFIER) & (rows.parent >= 0) & np.isfinite(rows.judgement)
    use &= kept[rows.question]
    use[use] = rows.role[rows.parent[use]] == STEP
    truth, judged = rows.score[rows.parent[use]], rows.judgement[use]
    right, wrong = judged[truth >= RIGHT], judged[truth < RIGHT]
    if min(len(right), len(wrong)) < FEWEST:
        told = f"{len(right)} right and {len(wrong)} wrong steps scored by {name}"
        raise UnsupportedError(f"{evidence.source}: {told}; at least {FEWEST} of each say how it errs")
    return ModelledReward(right=tuple(right.tolist()), wrong=tuple(wrong.tolist()))

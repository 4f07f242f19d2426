"""Who judges the questions of a workload with errors that it states: a checker of answers, a reward model of steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from comptroller.errors import UnsupportedError
from comptroller.strategies.checked_runs import CheckedRun
from comptroller.strategies.expected_runs import form_of
from comptroller.strategies.modelled_reward import recorded_reward
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.replay import EvidenceReplay, ModelledChecker, RecordedService
from comptroller.strategies.sample_pools import SampleTable
from comptroller.strategies.vote_odds import exact_votes
from comptroller.work.evidence import Evidence
from comptroller.work.evidence_readers import read_evidence
from comptroller.work.quality import WorkloadQuality


def judges_of(quality: WorkloadQuality) -> dict[str, ModelledChecker]:
    """Role -> who plays it; the checker scores steps too, where nothing is said of a reward model.

    Raises:
        InputError, UnsupportedError: the recorded scores do not say how the reward model errs.
    """
    judges: dict[str, ModelledChecker] = {}
    if quality.checker is not None:
        judges["checker"] = judges["reward"] = ModelledChecker(quality.checker.tpr, quality.checker.fpr)
    if (errors := quality.reward) is not None:
        recorded = bool(errors.scores)
        judges["reward"] = (
            _reward_of_scores(errors.scores, errors.model) if recorded else ModelledChecker(errors.tpr, errors.fpr)
        )
    return judges


def replay_of(evidence: Evidence, roles: Mapping[str, int], quality: WorkloadQuality) -> EvidenceReplay:
    """The evidence as it answers: each role by a recorded model, (role -> arm), judges as the workload states them."""
    played: dict[str, RecordedService | ModelledChecker] = {
        role: RecordedService(evidence.arms[arm]) for role, arm in roles.items()
    }
    return EvidenceReplay(evidence, played | judges_of(quality))


def answers_greedily(replay: EvidenceReplay, questions: Sequence[int]) -> bool:
    """Whether the solver has a greedy reply to each of some questions, or a single one of an unknown temperature."""
    return bool(SampleTable(replay, questions, 0).pools("solver", greedy=True))


@lru_cache(maxsize=8)
def _reward_of_scores(scores: str, model: str) -> ModelledChecker:
    records = read_evidence(scores)
    if not isinstance(records, Evidence):
        raise UnsupportedError(f"quality.reward.scores: {scores} holds counts, no scores of steps")
    return recorded_reward(records, model)


def played_scores(
    replay: EvidenceReplay, strategy: Strategy, questions: Sequence[int], played: Sequence[float]
) -> npt.NDArray[np.float64]:
    """(questions,): what a strategy scores of each: the mean over all choices of its samples where there is a closed
    form (a plain vote, one sample, a cascade on a verdict), else as played.

    played: the scores of one run on each question.
    """
    exact, form = exact_votes(replay, strategy, questions), form_of(strategy)
    if isinstance(form, CheckedRun):
        (run,) = CheckedRun.runs([form], SampleTable(replay, questions, 0))
        exact = None if run is None else run.score
    return np.array(played, float) if exact is None else exact

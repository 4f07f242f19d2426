"""What a plain vote scores over all choices of its samples among the recorded ones, exactly."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.rules.once import OnceStrategy
from comptroller.strategies.rules.sample_and_vote import SampleAndVoteStrategy
from comptroller.work.evidence import SOLVER, RecordedAskKey
from comptroller.work.vote_means import expected_vote, log_choose

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

MOST_VOTES, MOST_ANSWERS = 16, 16
"""Samples and different answers up to which votes are counted exactly: time grows with their third and second power; at
twice as many it takes longer than the deals that stand in for it."""


def exact_votes(replay: EvidenceReplay, strategy: object, questions: Sequence[int]) -> Floats | None:
    """(questions,): the mean score of a plain vote over all choices of its samples, ties shared.

    Samples without an answer, truncated ones among them, do not vote: of n drawn, k have one with the hypergeometric
    chance, and the vote is that of k; where none has, the first sample's score counts. `None` where the strategy is no
    plain vote, samples failed or differ in more answers than are counted, or whole samples without an answer score
    otherwise than truncated ones, after which they count.
    """
    service = replay.roles.get("solver")
    drawn, effort = _plain_vote(strategy)
    if not 0 < drawn <= MOST_VOTES or not isinstance(service, RecordedService):
        return None
    rows, arm = replay.evidence.rows, replay.arm(service, effort)
    counts, scores = np.zeros((2, len(questions), MOST_ANSWERS + 1))
    for place, number in enumerate(questions):
        pool = np.asarray(replay.evidence.at(RecordedAskKey(number, arm, SOLVER)), np.int64)
        cut = rows.finish[pool] == "length"
        answers = [None if short else rows.answer[row] for row, short in zip(pool, cut, strict=True)]
        labels = [None, *dict.fromkeys(answer for answer in answers if answer is not None)]
        ended = np.isin(rows.finish[pool], ("stop", "length", "")).all()
        if not ended or len(labels) > MOST_ANSWERS + 1 or len(pool) < drawn:
            return None
        label = np.array([labels.index(answer) for answer in answers])
        blank = rows.score[pool][label == 0]
        if cut.any() and not cut[label == 0].all() and np.ptp(blank) > 0:
            return None
        counts[place] = np.bincount(label, minlength=MOST_ANSWERS + 1)
        total = np.bincount(label, rows.score[pool], minlength=MOST_ANSWERS + 1)
        scores[place] = total / np.maximum(counts[place], 1)
    return _with_blanks(counts, scores, drawn)


def _plain_vote(strategy: object) -> tuple[int, str]:
    """Samples of a plain vote of the solver's and their effort; one sample is a vote of one, all else one of none."""
    if isinstance(strategy, SampleAndVoteStrategy) and strategy.weight == "plain":
        return strategy.n, strategy.effort
    if isinstance(strategy, OnceStrategy) and not strategy.greedy and strategy.role == "solver":
        return 1, strategy.effort
    return 0, ""


def _with_blanks(counts: Floats, scores: Floats, drawn: int) -> Floats:
    """The expected vote where the first column is samples without an answer."""
    used = counts[:, 1:].any(axis=0)
    named, blank = counts[:, 1:][:, used], counts[:, :1]
    sizes = np.arange(1, drawn + 1)
    with np.errstate(invalid="ignore", divide="ignore"):
        votes = np.nan_to_num(expected_vote(named.astype(np.int64), scores[:, 1:][:, used], sizes))
    voters = np.arange(drawn + 1)
    ways = log_choose(named.sum(axis=1, keepdims=True), voters) + log_choose(blank, drawn - voters)
    chance = np.exp(ways - log_choose(counts.sum(axis=1, keepdims=True), drawn))
    return np.asarray((chance * np.concatenate([scores[:, :1], votes], axis=1)).sum(axis=1))

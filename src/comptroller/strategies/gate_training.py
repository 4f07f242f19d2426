"""Training of gates on evidence: the chance that a model is right, from a question's text or from its replies.

`question` is for gates before anything is generated (`difficulty_gate`, efforts of `budget_forcing`), `reply` for those
after (`cascade`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any, NamedTuple

import numpy as np

from comptroller.errors import InputError, UnknownIdError
from comptroller.strategies.protocol import Ask
from comptroller.strategies.replay import EvidenceReplay, RecordedService
from comptroller.strategies.router_training import FEWEST
from comptroller.strategies.rules.cascade import CascadeStrategy
from comptroller.strategies.rules.difficulty_gate import DifficultyGateStrategy
from comptroller.strategies.success_prediction import SuccessPredictor, reply_signals, text_signals
from comptroller.strategies.training import TrainingOutcomes, cross_fitted, with_quality
from comptroller.strategies.votes import vote
from comptroller.work.evidence import SOLVER, Evidence, Floats, RecordedAskKey, RecordedModel


def question_outcomes(evidence: Evidence, arm: RecordedModel, samples: int = 1) -> TrainingOutcomes:
    """Success rates of a model's samples on each question with a text; of its greedy replies where there are none.

    Questions of the same text are one group. samples: of no meaning here.
    """
    rows, number = evidence.rows, evidence.arm(arm)
    scored = (rows.arm == number) & (rows.role == SOLVER) & np.isfinite(rows.score)
    use = scored & evidence.samples if (scored & evidence.samples).any() else scored
    count = len(evidence.items)
    trials = np.bincount(rows.question[use], minlength=count).astype(float)
    wins = np.bincount(rows.question[use], rows.score[use], count).astype(float)
    asked = [place for place in np.flatnonzero(trials).tolist() if evidence.items[place].text]
    if not asked:
        raise InputError(f"{evidence.source}: no scored reply of {arm} to a question whose text is recorded")
    first: dict[str, int] = {}
    group = np.array([first.setdefault(evidence.items[place].text, place) for place in asked])
    signals = [text_signals(evidence.items[place].text) for place in asked]
    table = np.array([list(row.values()) for row in signals])
    return TrainingOutcomes(tuple(signals[0]), table, wins[asked], trials[asked], group)


def reply_outcomes(evidence: Evidence, arm: RecordedModel, samples: int = 1) -> TrainingOutcomes:
    """Whether the vote over so many samples is right, by the signals of these samples; each sample is used once."""
    replay = EvidenceReplay(evidence, {"solver": RecordedService(arm)})
    rows, right, group = [], [], []
    for number in replay.covered().tolist():
        recorded = len(evidence.at(RecordedAskKey(number, evidence.arm(arm), SOLVER, -1, False)))
        world = replay.world(number)
        drawn = [world.reply(ask, 0.0) for ask in Ask().times(recorded // samples * samples)]
        for start in range(0, len(drawn), samples):
            some = drawn[start : start + samples]
            score = world.score(vote(some))
            if not isnan(score):
                rows.append(reply_signals(some))
                right.append(score >= 0.5)
                group.append(number)
    if not rows:
        raise InputError(f"{evidence.source}: no question has {samples} scored samples of {arm}")
    return TrainingOutcomes.of(rows, right, np.array(group))


class GateKind(NamedTuple):
    """What a gate learns from, the strategy that uses it, and the predicted chance at or above which it lets pass."""

    outcomes: Callable[[Evidence, RecordedModel, int], TrainingOutcomes]
    strategy: str
    thresholds: Sequence[float]
    least: Callable[[float], float]


GATES: Mapping[str, GateKind] = {
    "question": GateKind(
        question_outcomes, "difficulty_gate", DifficultyGateStrategy.grid["threshold"], lambda hardest: 1 - hardest
    ),
    "reply": GateKind(reply_outcomes, "cascade", CascadeStrategy.grid["threshold"], lambda least: least),
}
"""Kinds of gates by name."""


class GateThreshold(NamedTuple):
    """A setting of a gate on held-out questions: the share that it lets pass, and the share right of those."""

    threshold: float
    passed: float
    right: float


@dataclass(frozen=True)
class TrainedGate:
    """A success predictor, and the chances that it gave held-out rows. kind: of `GATES`."""

    kind: str
    part: SuccessPredictor
    outcomes: TrainingOutcomes
    chance: Floats

    @property
    def thresholds(self) -> tuple[GateThreshold, ...]:
        """What its strategy's grid lets pass."""
        kind, rate = GATES[self.kind], self.outcomes.successes / self.outcomes.trials
        passed = [(threshold, self.chance >= kind.least(threshold)) for threshold in kind.thresholds]
        return tuple(
            GateThreshold(threshold, float(easy.mean()), float(rate[easy].mean()) if easy.any() else float("nan"))
            for threshold, easy in passed
        )

    @property
    def caution(self) -> str:
        """Why it is no gate: it tells no more than the base rate, or decides nothing at any threshold; else empty."""
        measured = self.part.measured
        if measured["log_loss"] >= measured["log_loss_of_base_rate"]:
            return "held out it tells no more than the base rate: do not use it"
        if all(setting.passed in (0.0, 1.0) for setting in self.thresholds):
            return "at every threshold it lets all pass or none: it decides nothing"
        return ""


def train_gate(
    kind: str, evidence: Evidence, arm: RecordedModel, samples: int, about: Mapping[str, Any], seed: int
) -> TrainedGate:
    """Trains a gate on the recorded replies of a model; cross-fitted, questions of one text held out together.

    samples: replies behind each vote, for `reply`.  about: kept in the part beside data, model and tasks.

    Raises:
        UnknownIdError: the kind is not one of `GATES`.
        InputError: fewer than `FEWEST` questions, or nothing to learn from.
    """
    if kind not in GATES:
        raise UnknownIdError("kind of gate", kind, GATES)
    outcomes = GATES[kind].outcomes(evidence, arm, samples)
    questions = len(np.unique(outcomes.group))
    if questions < FEWEST:
        raise InputError(f"{evidence.source}: {questions} questions are scored for {arm}; {FEWEST} are needed")
    rates = outcomes.successes / outcomes.trials
    if rates.min() == rates.max():
        raise InputError(f"{evidence.source}: all outcomes of {arm} are the same, so there is nothing to learn")
    chance = cross_fitted(outcomes, np.random.default_rng(seed))
    tasks = sorted({evidence.items[number].task for number in np.unique(outcomes.group).tolist()} - {""})
    told = {"data": evidence.source, "model": str(arm), "tasks": tasks, "samples": samples, "seed": seed, **about}
    return TrainedGate(kind, with_quality(outcomes, chance, told), outcomes, chance)

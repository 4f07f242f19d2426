"""Closed forms: what a strategy yields on recorded samples, for every setting at once and without driving it.

Two kinds. A *path* is exact for the recorded order: column n is what the generator answers with the first n+1
samples of each question (nested grids in one pass). An *expected* form is the mean over all orders, or over fresh
draws. Each is held equal to its generator by a test. Arrays are questions x samples unless said otherwise; answers
are small whole numbers per question, -1 where a sample has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import betainc

from comptroller.work.vote_means import log_choose

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class RecordedSamples:
    """Recorded samples, questions x samples.

    answer: class of the answer, -1 for none.  score: what the scorer gives.
    """

    answer: Ints
    score: Floats


@dataclass(frozen=True, slots=True)
class VotePath:
    """The vote after each sample: its score, and the counts of the two leading answers."""

    score: Floats
    first: Floats
    second: Floats


def vote_path(samples: RecordedSamples, weight: Floats | None = None) -> VotePath:
    """The vote over the first 1, 2 ... samples, each weighing one or `weight`; ties as `votes.vote` breaks them.

    >>> path = vote_path(RecordedSamples(np.array([[0, 1, 1]]), np.array([[0.0, 1.0, 1.0]])))
    >>> path.score.tolist(), path.first.tolist()
    ([[0.0, 0.0, 1.0]], [[1.0, 1.0, 2.0]])
    """
    questions, count = samples.answer.shape
    rows = np.arange(questions)
    classes = int(samples.answer.max(initial=0)) + 2
    tally = np.zeros((questions, classes))
    lead = np.full((questions, classes), np.inf)
    worth = np.zeros((questions, classes))
    out = VotePath(*(np.zeros((questions, count)) for _ in range(3)))
    for n in range(count):
        label = samples.answer[:, n] % classes  # no answer goes to the last class, which does not vote
        tally[rows, label] += 1.0 if weight is None else weight[:, n]
        sooner = lead[rows, label] > n
        lead[rows, label] = np.where(sooner, n, lead[rows, label])
        worth[rows, label] = np.where(sooner, samples.score[:, n], worth[rows, label])
        voting = np.where(np.isfinite(lead[:, :-1]), tally[:, :-1], -np.inf)
        top = voting.max(axis=1)
        winner = np.where(voting == top[:, None], lead[:, :-1], np.inf).argmin(axis=1)
        nobody = ~np.isfinite(top)
        out.score[:, n] = np.where(nobody, worth[:, -1], worth[rows, winner])
        out.first[:, n] = np.where(nobody, 0.0, top)
        voting[rows, winner] = -np.inf
        second = voting.max(axis=1)
        out.second[:, n] = np.where(np.isfinite(second), second, 0.0)
    return out


def best_path(samples: RecordedSamples, rated: Floats) -> Floats:
    """The score of the best rated of the first 1, 2 ... samples; samples without an answer only if all are.

    >>> best_path(RecordedSamples(np.array([[0, 1]]), np.array([[1.0, 0.0]])), np.array([[0.2, 0.9]])).tolist()
    [[1.0, 0.0]]
    """
    rated = np.where(samples.answer < 0, -1e300, rated)
    best, worth = rated[:, 0].copy(), samples.score[:, 0].copy()
    out = np.empty(rated.shape)
    out[:, 0] = worth
    for n in range(1, rated.shape[1]):
        better = rated[:, n] > best
        best = np.where(better, rated[:, n], best)
        worth = np.where(better, samples.score[:, n], worth)
        out[:, n] = worth
    return out


def verified_path(samples: RecordedSamples, verdicts: Floats) -> Floats:
    """The score of the solution with the best mean verdict, for every S and V: questions x S x V.

    verdicts: questions x samples x verdicts.
    """
    running = np.cumsum(verdicts, axis=2) / np.arange(1, verdicts.shape[2] + 1)
    return np.stack([best_path(samples, running[:, :, v]) for v in range(verdicts.shape[2])], axis=2)


def adaptive_path(votes: VotePath, thresholds: npt.ArrayLike) -> tuple[Ints, Floats]:
    """Samples drawn and score of adaptive consistency by the Beta rule: questions x thresholds x caps, each.

    One sample at a time, as `adaptive_consistency(width=1)`; cap c is the (c-1)-th of the last axis.
    """
    sure = 1 - betainc(votes.first + 1, votes.second + 1, 0.5)
    levels, count = np.atleast_1d(np.asarray(thresholds, float)), votes.score.shape[1]
    stop = np.where(sure[:, None, :] >= levels[:, None] - 1e-12, np.arange(1, count + 1), count + 1).min(axis=2)
    drawn = np.minimum(stop[:, :, None], np.arange(1, count + 1))
    score = np.take_along_axis(votes.score[:, None, :], drawn - 1, axis=2)
    return drawn.astype(np.int64), score


def shuffled_vote(samples: RecordedSamples, orders: int, rng: np.random.Generator) -> Floats:
    """Mean score of the plain vote over the first 1, 2 ... samples in random orders: questions x samples.

    Unbiased for `expected_vote`; its standard error is at most 0.5 / sqrt(orders) for a question, and over questions
    falls with the root of their number.
    """
    total = np.zeros(samples.answer.shape)
    for _ in range(orders):
        order = np.argsort(rng.random(total.shape), axis=1)
        answer = np.take_along_axis(samples.answer, order, axis=1)
        total += vote_path(RecordedSamples(answer, np.take_along_axis(samples.score, order, axis=1))).score
    return total / orders


@dataclass(frozen=True, slots=True)
class StoppingOutcome:
    """Stop on success: samples drawn, chance that the answer is right, chance that any was accepted."""

    samples: Floats
    right: Floats
    accepted: Floats


def stop_on_success_outcome(
    p: npt.ArrayLike, caps: npt.ArrayLike, tpr: float = 1.0, fpr: float = 0.0
) -> StoppingOutcome:
    """Stop on success over fresh draws, each right with probability p: arrays of p's shape x caps.

    A verifier accepts a right sample with probability tpr and a wrong one with fpr, so each is accepted with
    a = p tpr + (1 - p) fpr: samples = (1 - (1 - a)^c) / a. Where none is accepted the first sample is the answer,
    right with probability p (1 - tpr) / (1 - a).

    >>> found = stop_on_success_outcome(0.5, [1, 2])
    >>> found.samples.tolist(), found.right.tolist()
    ([1.0, 1.5], [0.5, 0.75])
    """
    p, cap = np.asarray(p, float)[..., None], np.asarray(caps, float)
    a = p * tpr + (1 - p) * fpr
    never = (1 - a) ** cap
    safe = np.where(a > 0, a, 1.0)
    samples = np.where(a > 0, (1 - never) / safe, cap)
    last = np.where(a < 1, p * (1 - tpr) / np.where(a < 1, 1 - a, 1.0), 0.0)
    right = np.where(a > 0, p * tpr / safe, 0.0) * (1 - never) + never * last
    return StoppingOutcome(samples, right, 1 - never)


def stop_on_success_over_orders(correct: npt.ArrayLike, total: int, caps: npt.ArrayLike) -> StoppingOutcome:
    """Stop on success with a perfect checker over all orders of `total` recorded samples.

    The first k all fail with probability C(N - c, k) / C(N, k); samples = sum of that over k < cap.

    >>> stop_on_success_over_orders([1], 2, [1, 2]).samples.tolist()
    [[1.0, 1.5]]
    """
    right, cap = np.asarray(correct, float), np.asarray(caps, np.int64)
    ks = np.arange(int(cap.max()) + 1)
    failing = np.exp(log_choose(total - right[:, None], ks) - log_choose(total, ks))
    drawn = np.cumsum(failing, axis=1)[:, cap - 1]
    solved = 1 - failing[:, cap]
    return StoppingOutcome(drawn, solved, solved)


def cascade_means(accept: Floats, score: Floats, cost: Floats, thresholds: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Mean score and mean cost of a cascade at each of many thresholds.

    accept, score, cost: questions x levels, cheapest first; a level answers if its acceptance reaches the
    threshold, the last always; every level tried is paid for.
    """
    levels = np.atleast_1d(np.asarray(thresholds, float))
    passed = accept[:, :, None] >= levels
    passed[:, -1] = True
    stop = passed.argmax(axis=1)
    paid = np.cumsum(cost, axis=1)
    return np.take_along_axis(score, stop, 1).mean(axis=0), np.take_along_axis(paid, stop, 1).mean(axis=0)

"""Trains routers on outcomes, and measures them on folds of questions that had no part in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse
from scipy.sparse.linalg import LinearOperator, cg, svds

from comptroller.errors import InputError, UnknownIdError
from comptroller.strategies.routers import (
    DomainScorer,
    LinearScorer,
    ModelRouter,
    NearestNeighbourScorer,
    RouterScorer,
    WinProbabilityScorer,
    domain,
    hashed_ngrams,
)
from comptroller.strategies.routing import RoutingCurve, RoutingOutcomes, choices_by_price, routing_curve
from comptroller.strategies.success_prediction import text_signals
from comptroller.strategies.training import FOLDS, fit
from comptroller.strategies.training import TrainingOutcomes as Trials

Floats = npt.NDArray[np.float64]
Sparse = Any

BITS = 16
"""Buckets of the linear router, as a power of two, for two models; one less for every doubling of their number."""
NEAREST_BITS, DIRECTIONS, NEIGHBOURS = 13, 24, 200
RIDGE = 10.0
"""Penalty of the linear router, for every time that a question is there."""
PRIOR = 20.0
"""Questions' worth of the overall mean in the mean of a domain."""
FEWEST = 100


def win(known: RoutingOutcomes) -> WinProbabilityScorer:
    """A logistic chance for each dearer model to beat the cheapest, a tie counting half."""
    rows = [list(text_signals(question.content).values()) for question in known.questions]
    names, count = tuple(text_signals("")), len(rows)
    gain = known.score[:, 1:] - known.score[:, :1]
    one = np.ones(count)
    parts = [fit(Trials(names, np.array(rows), (1 + each) / 2, one, np.arange(count))) for each in gain.T]
    return WinProbabilityScorer(
        np.array(parts[0].centre),
        np.array(parts[0].scale),
        np.array([part.weights for part in parts]),
        np.array([part.intercept for part in parts]),
    )


def _table(texts: Sequence[str], buckets: int, pairs: bool) -> Sparse:
    """Texts x buckets: 1 + log of the counts."""
    found = [hashed_ngrams(text, buckets, pairs) for text in texts]
    ends = np.cumsum([0, *(len(at) for at, _ in found)])
    at, times = (np.concatenate(part) for part in zip(*found, strict=True))
    return sparse.csr_matrix((times, at, ends), shape=(len(texts), buckets))


def _idf(table: Sparse) -> Floats:
    """Inverse document frequency: log((1 + texts) / (1 + texts with it)) + 1."""
    hits = np.bincount(table.indices, minlength=table.shape[1])
    return np.asarray(np.log((1 + table.shape[0]) / (1 + hits)) + 1)


def _with_idf_weights(table: Sparse, idf: Floats) -> Sparse:
    """The table times the inverse document frequency, every text scaled to norm 1."""
    found = table @ sparse.diags(idf)
    norm = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    return sparse.diags(1 / np.maximum(norm, 1e-9)) @ found


def linear(known: RoutingOutcomes) -> LinearScorer:
    """Ridge regression of the score of every model on hashed words and pairs of words, and on the domain.

    Every question is there twice, with its domain and without, so that the router does without one too.
    """
    buckets = 1 << (BITS - max(int(np.ceil(np.log2(len(known.models) / 2))), 0))
    table = _table([question.content for question in known.questions], buckets, True)
    idf = _idf(table)
    texts = _with_idf_weights(table, idf)
    said = [(row, domain(question.task, buckets)) for row, question in enumerate(known.questions) if question.task]
    level = known.score.mean(axis=0)
    if said:
        at = tuple(np.array(said).T)
        named = sparse.csr_matrix((np.full(len(said), LinearScorer.SAID), at), shape=texts.shape)
        texts = sparse.vstack([texts + named, texts]).tocsr()
    times = texts.shape[0] // len(known.score)
    gap = np.tile(known.score - level, (times, 1))
    # solved for one weight per row, w = X'a with (X X' + ridge) a = y: far fewer than buckets where questions are few
    normal = LinearOperator(
        (texts.shape[0],) * 2, matvec=lambda a: texts @ (texts.T @ a) + RIDGE * times * a, dtype=np.float64
    )
    weights = [texts.T @ cg(normal, column, rtol=1e-5, maxiter=300)[0] for column in gap.T]
    return LinearScorer(np.stack(weights, axis=1).astype(np.float16), idf.astype(np.float16), level)


def nearest(known: RoutingOutcomes) -> NearestNeighbourScorer:
    """The questions in the main directions of latent semantic analysis, with their scores."""
    table = _table([question.content for question in known.questions], 1 << NEAREST_BITS, False)
    idf = _idf(table)
    texts = _with_idf_weights(table, idf)
    count = min(DIRECTIONS, min(texts.shape) - 1)
    _, _, basis = svds(texts.astype(float), count, v0=np.ones(min(texts.shape)))
    return NearestNeighbourScorer(
        _whole(basis.T),
        idf.astype(np.float16),
        _whole(np.asarray(texts @ basis.T), axis=1),
        known.score.astype(np.float16),
        np.array(NEIGHBOURS),
    )


def _whole(values: Floats, axis: int | None = None) -> npt.NDArray[np.int8]:
    """The values in 1/127 of the largest, of all or of each row."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    return np.asarray(np.round(values / np.maximum(largest, 1e-12) * 127), np.int8)


def by_domain(known: RoutingOutcomes) -> DomainScorer:
    """Mean scores of every domain, drawn towards the overall mean."""
    tasks, at = np.unique([question.task for question in known.questions], return_inverse=True)
    if len(tasks) < 2:
        raise InputError("routing: the questions belong to one domain, so a table of domains has nothing to tell")
    level, times = known.score.mean(axis=0), np.bincount(at)
    total = np.stack([np.bincount(at, column) for column in known.score.T], axis=1)
    return DomainScorer(tasks, (total + PRIOR * level) / (times[:, None] + PRIOR), level)


TRAINERS: Mapping[str, Callable[[RoutingOutcomes], RouterScorer]] = {
    "win": win,
    "linear": linear,
    "nearest": nearest,
    "domain": by_domain,
}


@dataclass(frozen=True)
class TrainedRouter:
    """A router trained on all outcomes, and its curve on folds that did not train it."""

    router: ModelRouter
    curve: RoutingCurve


def held_out(kind: str, known: RoutingOutcomes, rng: np.random.Generator, folds: int = FOLDS) -> Floats:
    """What a router expects of every question that was trained without it: questions x models.

    Questions of the same text stand in the same fold.
    """
    texts = Counter(question.content or question.id for question in known.questions)
    fold_of = dict(zip(texts, rng.permutation(len(texts)) % folds, strict=True))
    fold = np.array([fold_of[question.content or question.id] for question in known.questions])
    found = np.empty(known.score.shape)
    for held in range(folds):
        scorer = TRAINERS[kind](known.take(fold != held))
        for row in np.flatnonzero(fold == held):
            found[row] = scorer.scores(known.questions[row].content, known.questions[row].task)
    return found


def train(kind: str, known: RoutingOutcomes, about: Mapping[str, Any], rng: np.random.Generator) -> TrainedRouter:
    """A router of a kind for models in order of cost, calibrated on what it expected of held-out questions.

    Raises:
        UnknownIdError: there is no such kind.
        InputError: too few questions, or nothing to learn from them.
    """
    if kind not in TRAINERS:
        raise UnknownIdError("kind of router", kind, TRAINERS)
    if len(known.questions) < FEWEST:
        raise InputError(f"routing: {len(known.questions)} questions are scored for all; {FEWEST} are needed")
    known = known.cheapest_first
    values, cost = held_out(kind, known, rng), known.spend
    prices, models = choices_by_price(values, cost)
    curve = routing_curve(kind, values, known)
    spends = np.maximum.accumulate(cost[models].mean(axis=1))
    measured = {"questions": float(len(values)), **figures(curve)}
    told = {"data": known.source, "unit": known.unit, "folds": FOLDS, **about}
    return TrainedRouter(ModelRouter(TRAINERS[kind](known), known.models, cost, spends, prices, told, measured), curve)


def figures(curve: RoutingCurve) -> dict[str, float]:
    """What a curve amounts to, as far as it is known, rounded."""
    found = {"apgr": curve.apgr, "apgr_low": curve.low, "apgr_high": curve.high, "aiq": curve.aiq}
    found |= {"cpt_50": curve.cpt(0.5), "cpt_80": curve.cpt(0.8)}
    return {name: round(value, 4) for name, value in found.items() if np.isfinite(value)}

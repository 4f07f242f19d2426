"""Training of routers on recorded outcomes, and their quality on held-out folds of questions."""

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
"""log2 of the linear router's buckets for two models; one less for every doubling of the models, for equal size.

65,536 make a file of 0.3 MB. Held-out APGR on MMLU: 0.6956 with 15, 0.6980 with 16, 0.6981 with 17 (measured),
at twice the size per step.
"""
NEAREST_BITS = 13
"""log2 of the nearest-neighbour router's buckets. One more doubles the basis, a third of the file of 0.35 MB.

Held-out APGR on MMLU: 0.672 with 12, 0.669 with 13, 0.676 with 14 (measured), within its 95 % interval of +-0.02.
"""
DIRECTIONS = 24
"""Directions of latent semantic analysis. Twice as many double the file.

Held-out APGR on MMLU: 0.672 with 12, 0.669 with 24, 0.673 with 48 (measured), within its interval as well.
"""
NEIGHBOURS = 200
"""Neighbours whose scores are averaged.

Held-out APGR on MMLU: 0.666 with 100, 0.669 with 200, 0.674 with 400 (measured), within its interval as well.
"""
RIDGE = 10.0
"""L2 penalty of the linear router, per copy of the questions.

Held-out APGR on MMLU: 0.6952 with 5, 0.6980 with 10, 0.6963 with 20 (measured).
"""
TOLERANCE, STEPS = 1e-5, 300
"""Relative residual and most iterations of the conjugate gradients.

Weights are stored as float16, with a relative rounding of 5e-4, so a smaller residual is lost on saving.
"""
PRIOR = 20.0
"""Weight of the overall mean in the mean of a domain, as a number of questions.

Held-out APGR on MMLU: 0.6794 with 10, 0.6792 with 20, 0.6790 with 40 (measured): it matters only for small domains.
"""
FEWEST = 100
"""Fewest questions to train on.

On MMLU's 14,042 the half width of the APGR's interval is 0.02. By 1 / sqrt(questions) it is 0.25 at 100, as much as a
router gains over random choice, and 0.18 at 200.
"""


def win(recorded: RoutingOutcomes) -> WinProbabilityScorer:
    """Trains a logistic chance for each dearer model to beat the cheapest, a tie counting half."""
    rows = [list(text_signals(question.content).values()) for question in recorded.questions]
    names, count = tuple(text_signals("")), len(rows)
    gain = recorded.score[:, 1:] - recorded.score[:, :1]
    one = np.ones(count)
    parts = [fit(Trials(names, np.array(rows), (1 + column) / 2, one, np.arange(count))) for column in gain.T]
    return WinProbabilityScorer(
        np.array(parts[0].centre),
        np.array(parts[0].scale),
        np.array([part.weights for part in parts]),
        np.array([part.intercept for part in parts]),
    )


def _ngram_table(texts: Sequence[str], buckets: int, pairs: bool) -> Sparse:
    """Sparse matrix, texts x buckets: 1 + log of the counts."""
    hashed = [hashed_ngrams(text, buckets, pairs) for text in texts]
    ends = np.cumsum([0, *(len(hits) for hits, _ in hashed)])
    columns, weights = (np.concatenate(part) for part in zip(*hashed, strict=True))
    return sparse.csr_matrix((weights, columns, ends), shape=(len(texts), buckets))


def _idf(table: Sparse) -> Floats:
    """Inverse document frequency: log((1 + texts) / (1 + texts with it)) + 1."""
    hits = np.bincount(table.indices, minlength=table.shape[1])
    return np.asarray(np.log((1 + table.shape[0]) / (1 + hits)) + 1)


def _with_idf_weights(table: Sparse, idf: Floats) -> Sparse:
    """The table times the inverse document frequency, every row scaled to norm 1."""
    weighted = table @ sparse.diags(idf)
    norm = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    return sparse.diags(1 / np.maximum(norm, 1e-9)) @ weighted


def linear(recorded: RoutingOutcomes) -> LinearScorer:
    """Trains a ridge regression of every model's score on hashed words and pairs of words, and on the domain.

    Every question is used twice, with and without its domain, so that the router also works without one.
    """
    buckets = 1 << (BITS - max(int(np.ceil(np.log2(len(recorded.models) / 2))), 0))
    table = _ngram_table([question.content for question in recorded.questions], buckets, True)
    idf = _idf(table)
    texts = _with_idf_weights(table, idf)
    domains = [
        (row, domain(question.task, buckets)) for row, question in enumerate(recorded.questions) if question.task
    ]
    level = recorded.score.mean(axis=0)
    if domains:
        cells = tuple(np.array(domains).T)
        weights_of_domains = np.full(len(domains), LinearScorer.DOMAIN_WEIGHT)
        named = sparse.csr_matrix((weights_of_domains, cells), shape=texts.shape)
        texts = sparse.vstack([texts + named, texts]).tocsr()
    copies = texts.shape[0] // len(recorded.score)
    gap = np.tile(recorded.score - level, (copies, 1))
    # solved for one weight per row, w = X'a with (X X' + ridge) a = y: far fewer than buckets where questions are few
    normal = LinearOperator(
        (texts.shape[0],) * 2, matvec=lambda a: texts @ (texts.T @ a) + RIDGE * copies * a, dtype=np.float64
    )
    weights = [texts.T @ cg(normal, column, rtol=TOLERANCE, maxiter=STEPS)[0] for column in gap.T]
    return LinearScorer(np.stack(weights, axis=1).astype(np.float16), idf.astype(np.float16), level)


def nearest(recorded: RoutingOutcomes) -> NearestNeighbourScorer:
    """Projects the questions on the main directions of latent semantic analysis and keeps their scores."""
    table = _ngram_table([question.content for question in recorded.questions], 1 << NEAREST_BITS, False)
    idf = _idf(table)
    texts = _with_idf_weights(table, idf)
    count = min(DIRECTIONS, min(texts.shape) - 1)
    _, _, basis = svds(texts.astype(float), count, v0=np.ones(min(texts.shape)))
    return NearestNeighbourScorer(
        _as_int8(basis.T),
        idf.astype(np.float16),
        _as_int8(np.asarray(texts @ basis.T), axis=1),
        recorded.score.astype(np.float16),
        np.array(NEIGHBOURS),
    )


def _as_int8(values: Floats, axis: int | None = None) -> npt.NDArray[np.int8]:
    """The values in units of 1/127 of the largest magnitude, of all (axis None) or of each row (axis 1)."""
    largest = np.abs(values).max(axis=axis, keepdims=True)
    return np.asarray(np.round(values / np.maximum(largest, 1e-12) * 127), np.int8)


def by_domain(recorded: RoutingOutcomes) -> DomainScorer:
    """Computes mean scores of every domain, shrunk towards the overall mean.

    Raises:
        InputError: all questions belong to one domain.
    """
    tasks, task_of = np.unique([question.task for question in recorded.questions], return_inverse=True)
    if len(tasks) < 2:
        raise InputError("routing: the questions belong to one domain, so a table of domains has nothing to tell")
    level, times = recorded.score.mean(axis=0), np.bincount(task_of)
    total = np.stack([np.bincount(task_of, column) for column in recorded.score.T], axis=1)
    return DomainScorer(tasks, (total + PRIOR * level) / (times[:, None] + PRIOR), level)


TRAINERS: Mapping[str, Callable[[RoutingOutcomes], RouterScorer]] = {
    "win": win,
    "linear": linear,
    "nearest": nearest,
    "domain": by_domain,
}
"""Kind of router -> its training."""


@dataclass(frozen=True)
class TrainedRouter:
    """A router trained on all outcomes, and its curve on held-out folds."""

    router: ModelRouter
    curve: RoutingCurve


def held_out(kind: str, recorded: RoutingOutcomes, rng: np.random.Generator, folds: int = FOLDS) -> Floats:
    """Cross-fitted expected scores, each question by a router trained without it: questions x models.

    Questions of the same text are in the same fold.
    """
    texts = Counter(question.content or question.id for question in recorded.questions)
    fold_of = dict(zip(texts, rng.permutation(len(texts)) % folds, strict=True))
    fold = np.array([fold_of[question.content or question.id] for question in recorded.questions])
    expected = np.empty(recorded.score.shape)
    for tested in range(folds):
        scorer = TRAINERS[kind](recorded.take(fold != tested))
        for row in np.flatnonzero(fold == tested):
            expected[row] = scorer.scores(recorded.questions[row].content, recorded.questions[row].task)
    return expected


def train(kind: str, recorded: RoutingOutcomes, about: Mapping[str, Any], rng: np.random.Generator) -> TrainedRouter:
    """Trains a router of a kind, with its price calibrated on held-out questions.

    about: data and command, kept in the router's file.

    Raises:
        UnknownIdError: the kind is not one of `TRAINERS`.
        InputError: fewer than `FEWEST` questions, or a single domain.
    """
    if kind not in TRAINERS:
        raise UnknownIdError("kind of router", kind, TRAINERS)
    if len(recorded.questions) < FEWEST:
        raise InputError(f"routing: {len(recorded.questions)} questions are scored for all; {FEWEST} are needed")
    recorded = recorded.cheapest_first
    values, cost = held_out(kind, recorded, rng), recorded.spend
    prices, models = choices_by_price(values, cost)
    curve = routing_curve(kind, values, recorded)
    spends = np.maximum.accumulate(cost[models].mean(axis=1))
    measured = {"questions": float(len(values)), **figures(curve)}
    header = {"data": recorded.source, "unit": recorded.unit, "folds": FOLDS, **about}
    return TrainedRouter(
        ModelRouter(TRAINERS[kind](recorded), recorded.models, cost, spends, prices, header, measured), curve
    )


def figures(curve: RoutingCurve) -> dict[str, float]:
    """APGR with its interval, AIQ and CPT of a curve, rounded to four decimals; figures that are NaN are left out."""
    values = {"apgr": curve.apgr, "apgr_low": curve.low, "apgr_high": curve.high, "aiq": curve.aiq}
    values |= {"cpt_50": curve.cpt(0.5), "cpt_80": curve.cpt(0.8)}
    return {name: round(value, 4) for name, value in values.items() if np.isfinite(value)}

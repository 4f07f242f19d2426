"""Trained routers: the expected score of each model on a question, from the question's text and domain alone.

Four kinds. `win`: a logistic chance that a dearer model beats the cheapest, from signals of the text (the threshold
on a predicted win probability of RouteLLM, arXiv 2406.18665). `linear`: ridge regression on hashed word n-grams.
`nearest`: the mean score on the k nearest questions. `domain`: a table of mean scores per domain. All kinds decide by
the same rule (RouterBench, arXiv 2403.12031): the model with the greatest score_m - price cost_m, ties to the cheaper
one. The price is the one at which the mean cost met a target on held-out questions.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Protocol
from zlib import crc32

import numpy as np
import numpy.typing as npt

from comptroller.errors import FactError, UnknownIdError
from comptroller.strategies.protocol import StrategyQuestion
from comptroller.strategies.success_prediction import TRAINED, text_signals

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Arrays = Mapping[str, npt.NDArray[Any]]

WORD = re.compile(r"[a-z]+|\d|[^\sa-z\d]")
"""A token of a text: a word, a single digit (so that numbers share buckets), or a symbol."""
DOMAIN = "domain: "
"""Prefix of a domain's bucket key. No n-gram of `WORD` joins a word and a colon without a space, so none equals it."""
REMEMBERED = 1 << 15
"""Questions whose scores and choices stay cached, per process.

MMLU, the largest evidence of routers, has 14,042 questions, so one pass with two routers fits. Twice as many cost only
memory.
"""


def hashed_ngrams(text: str, buckets: int, pairs: bool = True) -> tuple[Ints, Floats]:
    """Hash buckets of the words (and pairs of neighbouring words) of a text, each with 1 + log of its count.

    >>> at, weight = hashed_ngrams("to be or not to be", 1 << 16, pairs=False)
    >>> sorted(weight.round(2).tolist())
    [1.0, 1.0, 1.69, 1.69]
    """
    words = WORD.findall(text.lower())
    grams = words + [f"{a} {b}" for a, b in pairwise(words)] if pairs else words
    hits, counts = np.unique([crc32(gram.encode()) % buckets for gram in grams], return_counts=True)
    return hits.astype(np.int64), 1 + np.log(counts)


def unit(weights: Floats) -> Floats:
    """The vector scaled to a Euclidean norm of 1; a zero vector stays zero."""
    # 1e-9 only guards the division: weights of a text that has words are 1 or more
    return weights / max(float(np.linalg.norm(weights)), 1e-9)


class RouterScorer(Protocol):
    """A predictor of scores: a dataclass whose fields are arrays, which `ModelRouter.save` writes by name."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def scores(self, text: str, task: str) -> Floats:
        """Expected score of each model, up to a shift, on a question of a domain ('': unknown). Shape: models."""
        ...


@dataclass(frozen=True)
class WinProbabilityScorer:
    """Logistic models. weights: dearer models x signals.  level: per dearer model.  centre, scale: per text signal."""

    kind: ClassVar[str] = "win"
    centre: Floats
    scale: Floats
    weights: Floats
    level: Floats

    def scores(self, text: str, task: str) -> Floats:
        """Expected gain over the cheapest model: 2 p - 1 with p the chance to beat it, ties counting half."""
        signals = np.array(list(text_signals(text).values()))
        level = self.level + self.weights @ ((signals - self.centre) / self.scale)
        return np.concatenate([[0.0], np.tanh(level / 2)])


@dataclass(frozen=True)
class LinearScorer:
    """Ridge regression. weights: buckets x models.  idf: per bucket.  level: mean score of each model."""

    kind: ClassVar[str] = "linear"
    DOMAIN_WEIGHT: ClassVar[float] = 0.5
    """Value of the domain's feature beside a text of norm 1. Held-out APGR of the linear router on MMLU: 0.693 at half,
    0.698 here and at twice the value (measured)."""
    weights: npt.NDArray[Any]
    idf: npt.NDArray[Any]
    level: Floats

    def scores(self, text: str, task: str) -> Floats:
        """Level plus the weights of the text's buckets, with features of norm 1, plus that of the domain."""
        buckets, counts = hashed_ngrams(text, len(self.idf))
        by_text = self.level + unit(counts * self.idf[buckets]) @ self.weights[buckets].astype(float)
        if not task:
            return np.asarray(by_text)
        return np.asarray(by_text + self.DOMAIN_WEIGHT * self.weights[domain(task, len(self.idf))])


def domain(task: str, buckets: int) -> int:
    """Hash bucket of a domain's name."""
    return crc32((DOMAIN + task).encode()) % buckets


@dataclass(frozen=True)
class NearestNeighbourScorer:
    """Nearest neighbours in the directions of latent semantic analysis.

    basis: buckets x directions.  points: questions x directions.  known: questions x models, scores.  k: neighbours.
    basis and points are int8, in units of 1/127 of the largest entry.
    """

    kind: ClassVar[str] = "nearest"
    basis: npt.NDArray[Any]
    idf: npt.NDArray[Any]
    points: npt.NDArray[Any]
    known: npt.NDArray[Any]
    k: Ints

    def scores(self, text: str, task: str) -> Floats:
        """Mean scores of the k questions at the smallest angle."""
        buckets, counts = hashed_ngrams(text, len(self.idf), pairs=False)
        point = (unit(counts * self.idf[buckets]) @ self.basis[buckets].astype(np.float32)).astype(np.float32)
        count = min(int(self.k), len(self.known))
        close = np.argpartition(-(self._unit_points @ point), count - 1)[:count]
        return np.asarray(self.known[close].mean(axis=0, dtype=float))

    @cached_property
    def _unit_points(self) -> npt.NDArray[np.float32]:
        points = self.points.astype(np.float32)
        return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9))


@dataclass(frozen=True)
class DomainScorer:
    """Mean scores by domain. tasks: names.  known: tasks x models, shrunk towards `level`, the overall means."""

    kind: ClassVar[str] = "domain"
    tasks: npt.NDArray[np.str_]
    known: Floats
    level: Floats

    def scores(self, text: str, task: str) -> Floats:
        """The row of the domain, the overall means for one that is not in the table."""
        matches = np.flatnonzero(self.tasks == task)
        return self.known[matches[0]] if len(matches) else self.level


KINDS: Mapping[str, type[Any]] = {
    one.kind: one for one in (WinProbabilityScorer, LinearScorer, NearestNeighbourScorer, DomainScorer)
}
"""Kind as written in a router's file -> class of its scorer."""


@dataclass(frozen=True, eq=False)
class ModelRouter:
    """A scorer, its models from the cheapest to the dearest, and the calibration of its price.

    cost: of each model as a share, 0 the cheapest and 1 the dearest.  spends, prices: mean cost reached at each price
    on held-out questions, in the same order.  about: data, command, unit of cost.  measured: quality on held-out
    questions.
    """

    scorer: RouterScorer
    models: tuple[str, ...]
    cost: Floats
    spends: Floats
    prices: Floats
    about: Mapping[str, Any] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)

    def choose(self, question: StrategyQuestion, spend: float) -> int:
        """The model for a question where the mean cost may be `spend`, from 0 (the cheapest) to 1 (the dearest)."""
        return _choice(self, question.content, question.task, spend)

    def scores(self, question: StrategyQuestion) -> Floats:
        """Expected score of each model on a question, up to a shift."""
        return _scores(self, question.content, question.task)

    def expected(self, questions: Sequence[StrategyQuestion]) -> Floats:
        """Expected scores on many questions: questions x models."""
        return np.stack([self.scores(question) for question in questions])

    def save(self, path: Path) -> None:
        """Writes the router as a NumPy archive; equal routers give equal bytes."""
        header = {"kind": self.scorer.kind, "models": self.models, "about": self.about, "measured": self.measured}
        arrays = {name: getattr(self, name) for name in SHARES}
        arrays |= {f"scorer.{item.name}": getattr(self.scorer, item.name) for item in fields(self.scorer)}
        with path.open("wb") as file:
            np.savez_compressed(file, told=np.array(json.dumps(header, default=dict)), **arrays)


@lru_cache(maxsize=REMEMBERED)
def _choice(router: ModelRouter, text: str, task: str, spend: float) -> int:
    affordable = int(np.searchsorted(router.spends, spend, side="right")) - 1
    return int(np.argmax(_scores(router, text, task) - router.prices[max(affordable, 0)] * router.cost))


SHARES = ("cost", "spends", "prices")
"""Arrays of `ModelRouter` in a router's file; the arrays of its scorer begin with `scorer.`."""


@lru_cache(maxsize=REMEMBERED)
def _scores(router: ModelRouter, text: str, task: str) -> Floats:
    return router.scorer.scores(text, task)


def names() -> tuple[str, ...]:
    """Ids of the shipped routers."""
    return tuple(sorted(path.stem for path in TRAINED.glob("*.npz")))


@lru_cache(maxsize=32)  # loaded once per process; six ship, of two megabytes at most
def router(name: str) -> ModelRouter:
    """Loads the router of an id, or of a path to a file written by `comptroller fit routers --out`.

    Raises:
        UnknownIdError: no router has this id, or no file this path.
        FactError: the file does not hold a router.
    """
    path = Path(name) if name.endswith(".npz") else TRAINED / f"{name}.npz"
    if not path.is_file():
        raise UnknownIdError("router", name, names())
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        header = json.loads(str(arrays.pop("told")))
        scorer = KINDS[header["kind"]](**{k.removeprefix("scorer."): v for k, v in arrays.items() if k not in SHARES})
        cost, spends, prices = (arrays[name] for name in SHARES)
        models, about, measured = tuple(header["models"]), header["about"], header["measured"]
        loaded = ModelRouter(scorer, models, cost, spends, prices, about, measured)
        scores = scorer.scores("a question", "")
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError, IndexError) as error:
        raise FactError(path.name, "file", f"not a router: {error}") from error
    if len(scores) != len(models) or len(cost) != len(models):
        raise FactError(path.name, "models", f"{len(models)} are named, {len(scores)} scored, {len(cost)} priced")
    return loaded

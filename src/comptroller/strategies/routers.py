"""The trained part that routes: the score each model is expected to get on a question, from its text and domain alone.

Four kinds. `win`: a logistic chance that a dearer model beats the cheapest, from signals of the text (the threshold
on a predicted win probability of RouteLLM, arXiv 2406.18665). `linear`: ridge regression on hashed word n-grams.
`nearest`: the mean score on the k nearest questions. `domain`: a table of mean scores per domain. All decide alike
(RouterBench, arXiv 2403.12031): the model with the greatest score_m - price cost_m, ties to the cheaper one, where
the price is the one at which the mean cost met a target on questions that had no part in the training.
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
DOMAIN = "domain: "


def hashed_ngrams(text: str, buckets: int, pairs: bool = True) -> tuple[Ints, Floats]:
    """Buckets of the words of a text, and of neighbouring words if asked, with 1 + log of how often each is hit.

    >>> at, weight = hashed_ngrams("to be or not to be", 1 << 16, pairs=False)
    >>> sorted(weight.round(2).tolist())
    [1.0, 1.0, 1.69, 1.69]
    """
    words = WORD.findall(text.lower())
    grams = words + [f"{a} {b}" for a, b in pairwise(words)] if pairs else words
    at, times = np.unique([crc32(gram.encode()) % buckets for gram in grams], return_counts=True)
    return at.astype(np.int64), 1 + np.log(times)


def unit(weights: Floats) -> Floats:
    """The weights scaled to a Euclidean norm of 1; nothing stays nothing."""
    return weights / max(float(np.linalg.norm(weights)), 1e-9)


class RouterScorer(Protocol):
    """What expects scores; a dataclass of arrays, so that each kind is saved and loaded alike."""

    kind: ClassVar[str]
    __dataclass_fields__: ClassVar[dict[str, Any]]

    def scores(self, text: str, task: str) -> Floats:
        """The expected score of each model, or what orders them alike, on a question of a domain ('': unknown)."""
        ...


@dataclass(frozen=True)
class WinProbabilityScorer:
    """weights, level: of each dearer model.  centre, scale: per signal of `learned.text_signals`."""

    kind: ClassVar[str] = "win"
    centre: Floats
    scale: Floats
    weights: Floats
    level: Floats

    def scores(self, text: str, task: str) -> Floats:
        """0 for the cheapest, for the others what a chance p to beat it, a tie counting half, is worth: 2 p - 1."""
        signals = np.array(list(text_signals(text).values()))
        level = self.level + self.weights @ ((signals - self.centre) / self.scale)
        return np.concatenate([[0.0], np.tanh(level / 2)])


@dataclass(frozen=True)
class LinearScorer:
    """weights: buckets x models.  idf: per bucket.  level: of each model.  The domain is one bucket more."""

    kind: ClassVar[str] = "linear"
    SAID: ClassVar[float] = 0.5
    """Weight of the domain beside a text of norm 1."""
    weights: npt.NDArray[Any]
    idf: npt.NDArray[Any]
    level: Floats

    def scores(self, text: str, task: str) -> Floats:
        """Level and weights of what the text holds, scaled to norm 1, and of its domain."""
        at, times = hashed_ngrams(text, len(self.idf))
        found = self.level + unit(times * self.idf[at]) @ self.weights[at].astype(float)
        return np.asarray(found + self.SAID * self.weights[domain(task, len(self.idf))] if task else found)


def domain(task: str, buckets: int) -> int:
    """The bucket of a domain."""
    return crc32((DOMAIN + task).encode()) % buckets


@dataclass(frozen=True)
class NearestNeighbourScorer:
    """basis: buckets x directions of latent semantic analysis.  points, known: of each question its place, its scores.

    basis and points are whole numbers of 1/127 of the largest.  k: neighbours.
    """

    kind: ClassVar[str] = "nearest"
    basis: npt.NDArray[Any]
    idf: npt.NDArray[Any]
    points: npt.NDArray[Any]
    known: npt.NDArray[Any]
    k: Ints

    def scores(self, text: str, task: str) -> Floats:
        """The mean of the k questions of the smallest angle."""
        at, times = hashed_ngrams(text, len(self.idf), pairs=False)
        place = (unit(times * self.idf[at]) @ self.basis[at].astype(np.float32)).astype(np.float32)
        count = min(int(self.k), len(self.known))
        close = np.argpartition(-(self._placed @ place), count - 1)[:count]
        return np.asarray(self.known[close].mean(axis=0, dtype=float))

    @cached_property
    def _placed(self) -> npt.NDArray[np.float32]:
        points = self.points.astype(np.float32)
        return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-9))


@dataclass(frozen=True)
class DomainScorer:
    """tasks: names.  known: tasks x models, mean scores drawn towards the overall mean.  level: the overall means."""

    kind: ClassVar[str] = "domain"
    tasks: npt.NDArray[np.str_]
    known: Floats
    level: Floats

    def scores(self, text: str, task: str) -> Floats:
        """The row of the domain, the overall means for one that is not in the table."""
        at = np.flatnonzero(self.tasks == task)
        return self.known[at[0]] if len(at) else self.level


KINDS: Mapping[str, type[Any]] = {
    one.kind: one for one in (WinProbabilityScorer, LinearScorer, NearestNeighbourScorer, DomainScorer)
}


@dataclass(frozen=True, eq=False)
class ModelRouter:
    """A scorer, the models it tells apart from the cheapest to the dearest, and its calibration.

    cost: of each model as a share, 0 of the cheapest and 1 of the dearest.  spends, prices: mean cost met at each
    price on held-out questions.  about: data, command, unit of cost.  measured: quality on held-out questions.
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
        """What each model is expected to score."""
        return _scores(self, question.content, question.task)

    def expected(self, questions: Sequence[StrategyQuestion]) -> Floats:
        """The same for many: questions x models."""
        return np.stack([self.scores(question) for question in questions])

    def save(self, path: Path) -> None:
        """Writes the router, the same bytes for the same router."""
        told = {"kind": self.scorer.kind, "models": self.models, "about": self.about, "measured": self.measured}
        arrays = {name: getattr(self, name) for name in SHARES}
        arrays |= {f"scorer.{item.name}": getattr(self.scorer, item.name) for item in fields(self.scorer)}
        with path.open("wb") as file:
            np.savez_compressed(file, told=np.array(json.dumps(told, default=dict)), **arrays)


@lru_cache(maxsize=1 << 15)
def _choice(router: ModelRouter, text: str, task: str, spend: float) -> int:
    last = int(np.searchsorted(router.spends, spend, side="right")) - 1
    return int(np.argmax(_scores(router, text, task) - router.prices[max(last, 0)] * router.cost))


SHARES = ("cost", "spends", "prices")


@lru_cache(maxsize=1 << 15)
def _scores(router: ModelRouter, text: str, task: str) -> Floats:
    return router.scorer.scores(text, task)


def names() -> tuple[str, ...]:
    """Ids of the routers that ship."""
    return tuple(sorted(path.stem for path in TRAINED.glob("*.npz")))


@lru_cache(maxsize=32)
def router(name: str) -> ModelRouter:
    """The router of an id, or of a path to a file that `comptroller fit routers --out` wrote.

    Raises:
        UnknownIdError: there is none.
        FactError: the file is not one of a router.
    """
    path = Path(name) if name.endswith(".npz") else TRAINED / f"{name}.npz"
    if not path.is_file():
        raise UnknownIdError("router", name, names())
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        told = json.loads(str(arrays.pop("told")))
        scorer = KINDS[told["kind"]](**{k.removeprefix("scorer."): v for k, v in arrays.items() if k not in SHARES})
        cost, spends, prices = (arrays[name] for name in SHARES)
        found = ModelRouter(scorer, tuple(told["models"]), cost, spends, prices, told["about"], told["measured"])
        scores = scorer.scores("a question", "")
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, KeyError, TypeError, IndexError) as error:
        raise FactError(path.name, "file", f"not a router: {error}") from error
    if len(scores) != len(found.models) or len(found.cost) != len(found.models):
        raise FactError(
            path.name, "models", f"{len(found.models)} are named, {len(scores)} scored, {len(found.cost)} priced"
        )
    return found

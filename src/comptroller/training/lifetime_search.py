"""The best life of a model within a budget, or the cheapest that solves a share: search over sizes, tokens, rollouts.

A coarse grid is searched at a price of solved questions, which is bisected until the money is used up; what answers
each class then is kept, and the grid is narrowed around the best point that keeps the limit.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize

from comptroller.errors import InfeasibleError
from comptroller.training.lifetime_model import LifetimeModel, StageDollars, TrainingWay

Array = npt.NDArray[np.float64]

COARSE = (33, 33, 9)
"""Points of the first grid in parameters, tokens and rollouts: 10^12 of tokens over 10^8 is a factor of 1.4 a step. At
twice as many the narrowed grids end at the same optimum, to 1 %."""

FINE = 9
"""Points of a narrowed grid in each direction. ROUNDS times it shrinks by 3, to a hundredth of a step, from which the
optimum is found exactly."""

ROUNDS = 4

HALVINGS = 60
"""Bisections of the price, over twenty decades: to 1e-16 of it."""

KEPT_WAYS = 3
"""Ways of training whose grids are narrowed: the best ones of the coarse grid. More never won in the examples."""

MOST_TOKENS_PER_PARAM = 1e5
LEAST_TOKENS_PER_PARAM = 1.0
"""Tokens a parameter that are searched: from a twentieth of Chinchilla's optimum to 5,000 times it."""


@dataclass(frozen=True)
class LifetimeFreedom:
    """What a search may choose. ways: of training.  one_answer: no samples.  reinforced: whether rollouts are tried.

    optimal: tokens are those of least loss for their compute (Chinchilla's rule).
    """

    ways: tuple[TrainingWay, ...]
    one_answer: bool = False
    reinforced: bool = True
    optimal: bool = False


@dataclass(frozen=True)
class LifetimeChoice:
    """A life: its size, tokens, rollouts, how each class is answered (indices into the model's ways), what it gives."""

    way: TrainingWay
    params: float
    tokens: float
    rollouts: float
    answers: tuple[int, ...]
    solved: float
    usd: float
    loss: float
    by_class: tuple[float, ...]
    stages: dict[str, float]


@dataclass(frozen=True)
class GridAxes:
    """Values in each direction: of parameters, of tokens a parameter (or a multiple of the optimum), of rollouts."""

    params: Array
    ratio: Array
    rollouts: Array

    def points(self) -> tuple[Array, Array, Array]:
        """All combinations, flat."""
        n, r, c = np.meshgrid(self.params, self.ratio, self.rollouts, indexing="ij")
        return n.ravel(), r.ravel(), c.ravel()


@dataclass
class LifetimeSearch:
    """A search with one freedom."""

    model: LifetimeModel
    freedom: LifetimeFreedom
    _coarse: dict[TrainingWay, tuple[Array, Array, Array, Array]] = field(default_factory=dict)

    def best(self) -> LifetimeChoice:
        """The life that solves most within the budget, or costs least for the share.

        Raises:
            InfeasibleError: no life keeps the limit; says what the least or the most is.
        """
        found = [
            (self._choice(way, answers, centre), centre)
            for way, answers in self._candidates()
            if (centre := self._narrowed(way, answers)) is not None
        ]
        if not found:
            raise InfeasibleError(self._why_none())
        if self.model.life.budget is not None:
            chosen, centre = max(found, key=lambda one: (round(one[0].solved, 9), -one[0].usd))
        else:
            chosen, centre = min(found, key=lambda one: one[0].usd)
        return self._choice(chosen.way, chosen.answers, self._polished(chosen.way, chosen.answers, centre))

    def _axes(self) -> GridAxes:
        low, high = self.model.life.params
        rl = self.model.life.rl
        rollouts = np.zeros(1)
        if rl is not None and self.freedom.reinforced:
            rollouts = np.concatenate([[0.0], rl.midpoint_rollouts * np.geomspace(1e-2, 1e3, COARSE[2] - 1)])
        ratio = np.geomspace(LEAST_TOKENS_PER_PARAM, MOST_TOKENS_PER_PARAM, COARSE[1])
        return GridAxes(np.geomspace(low, high, COARSE[0]), np.ones(1) if self.freedom.optimal else ratio, rollouts)

    def _tokens(self, params: Array, ratio: Array) -> Array:
        if not self.freedom.optimal:
            return params * ratio
        return ratio * optimal_tokens(self.model, params)

    def _evaluated(self, way: TrainingWay, axes: GridAxes) -> tuple[Array, Array, Array, Array]:
        """Points (3, P) as axes' values, dollars of training (P), value and dollars of answers (classes, ways, P)."""
        params, ratio, rollouts = axes.points()
        tokens = self._tokens(params, ratio)
        loss = self.model.loss(way, params, tokens)
        training = self.model.training_usd(way, params, tokens, rollouts).total
        shares, dollars = [], []
        for i, kind in enumerate(self.model.life.classes):
            odds = self.model.odds(kind, loss, rollouts)
            count = 1 if self.freedom.one_answer else len(self.model.ways)
            shares.append(kind.share * self.model.solved(i, odds)[:count])
            dollars.append(self.model.answer_usd(i, way, params)[:count])
        return np.stack([params, ratio, rollouts]), training, np.array(shares), np.array(dollars)

    def _grid(self, way: TrainingWay) -> tuple[Array, Array, Array, Array]:
        if way not in self._coarse:
            self._coarse[way] = self._evaluated(way, self._axes())
        return self._coarse[way]

    def _candidates(self) -> Iterator[tuple[TrainingWay, tuple[int, ...]]]:
        """Ways of training with ways of answering: those of the best points at prices on either side of the limit."""
        kept: dict[tuple[TrainingWay, tuple[int, ...]], float] = {}
        low, high = -20.0, 0.0
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            ranked = sorted((self._at_price(way, 10.0**middle) for way in self.freedom.ways), key=lambda one: -one[0])
            for score, way, answers, *_ in ranked[:KEPT_WAYS]:
                kept[way, answers] = score
            solved, usd = ranked[0][3:]
            budget = self.model.life.budget
            enough = usd <= budget.max_usd if budget is not None else solved < (self.model.life.solved or 0.0)
            low, high = (low, middle) if enough else (middle, high)
        last = list(kept)[-4 * KEPT_WAYS :]
        yield from dict.fromkeys(last)

    def _at_price(self, way: TrainingWay, price: float) -> tuple[float, TrainingWay, tuple[int, ...], float, float]:
        """The best point at a price of dollars in solved shares: score, way, answers, share solved, dollars."""
        _, training, shares, dollars = self._grid(way)
        worth = shares - price * dollars
        chosen = worth.argmax(axis=1)
        score = np.take_along_axis(worth, chosen[:, None], axis=1)[:, 0].sum(axis=0) - price * training
        best = int(score.argmax())
        answers = tuple(int(one) for one in chosen[:, best])
        solved = sum(float(shares[i, one, best]) for i, one in enumerate(answers))
        usd = float(training[best]) + sum(float(dollars[i, one, best]) for i, one in enumerate(answers))
        return float(score[best]), way, answers, solved, usd

    def _narrowed(self, way: TrainingWay, answers: tuple[int, ...]) -> Array | None:
        """The best point within the limit, with these answers; `None` where no point of the coarse grid keeps it."""
        points, training, shares, dollars = self._grid(way)
        axes = self._axes()
        spans = [float(np.log(axis[-1] / axis[-2])) if len(axis) > 1 else 0.0 for axis in
                 (axes.params, axes.ratio, axes.rollouts)]  # fmt: skip
        best = self._best_index(training, shares, dollars, answers)
        if best is None:
            return None
        centre = points[:, best]
        for _ in range(ROUNDS):
            found = self._evaluated(way, self._around(centre, spans))
            best = self._best_index(*found[1:], answers)
            if best is not None:
                centre = found[0][:, best]
            spans = [span / 3 for span in spans]
        return np.asarray(centre)

    def _polished(self, way: TrainingWay, answers: tuple[int, ...], centre: Array) -> Array:
        """The optimum near a point, by SLSQP in the logarithms of what moves freely; the point itself where none is
        better and keeps the limit."""
        free = np.array([not np.isclose(*self.model.life.params), not self.freedom.optimal, centre[2] > 0])
        budget, target = self.model.life.budget, self.model.life.solved or 0.0
        start = self._choice(way, answers, centre)
        most = budget.max_usd if budget is not None else start.usd

        def at(x: Array) -> LifetimeChoice:
            moved = centre.copy()
            moved[free] = np.exp(x)
            return self._choice(way, answers, moved)

        def cost(x: Array) -> float:
            return -at(x).solved if budget is not None else at(x).usd / most

        def room(x: Array) -> float:
            return 1.0 - at(x).usd / most if budget is not None else at(x).solved - target

        low, high = (np.log(one) for one in self.model.life.params)
        bounds = [(low, high), (None, None), (None, None)]
        found = minimize(
            cost, np.log(centre[free]), method="SLSQP", constraints={"type": "ineq", "fun": room},
            bounds=[one for one, kept in zip(bounds, free, strict=True) if kept], options={"ftol": 1e-10},
        )  # fmt: skip
        moved = centre.copy()
        moved[free] = np.exp(found.x)
        better = cost(found.x) < cost(np.log(centre[free])) and room(found.x) >= -1e-9
        return moved if better else centre

    def _around(self, centre: Array, spans: list[float]) -> GridAxes:
        steps = np.linspace(-1.0, 1.0, FINE)
        low, high = self.model.life.params
        axes = [value * np.exp(steps * span) if value > 0 and span else np.array([value])
                for value, span in zip(centre, spans, strict=True)]  # fmt: skip
        return GridAxes(np.clip(axes[0], low, high), axes[1], axes[2])

    def _best_index(self, training: Array, shares: Array, dollars: Array, answers: tuple[int, ...]) -> int | None:
        solved = sum(shares[i, one] for i, one in enumerate(answers))
        usd = training + sum(dollars[i, one] for i, one in enumerate(answers))
        budget = self.model.life.budget
        if budget is not None:
            score = np.where(usd <= budget.max_usd, solved, -np.inf)
        else:
            score = np.where(solved >= (self.model.life.solved or 0.0), -usd, -np.inf)
        best = int(np.argmax(score))
        return best if np.isfinite(score[best]) else None

    def _choice(self, way: TrainingWay, answers: tuple[int, ...], centre: Array) -> LifetimeChoice:
        params, tokens = np.array([centre[0]]), self._tokens(np.array([centre[0]]), np.array([centre[1]]))
        return life_of(self.model, way, answers, (params, tokens, np.array([centre[2]])))

    def _why_none(self) -> str:
        life = self.model.life
        usd, solved = np.inf, 0.0
        for way in self.freedom.ways:
            _, training, shares, dollars = self._grid(way)
            usd = min(usd, float((training + dollars.min(axis=1).sum(axis=0)).min()))
            solved = max(solved, float(shares.max(axis=1).sum(axis=0).max()))
        if life.budget is not None:
            return f"no life costs at most ${life.budget.max_usd:,.0f}: the least is ${usd:,.0f}"
        return f"no life solves {life.solved:.1%} of the questions: the most is {solved:.1%}, at any price"


def optimal_tokens(model: LifetimeModel, params: Array) -> Array:
    """Tokens at which a size is the best for its compute: N = N*(C) solved for D.

    D = (N^alpha (beta B) / (alpha A))^(1 / beta), where both terms of the loss fall alike for a FLOP.
    """
    law = model.law
    return np.asarray((params**law.alpha * law.beta * law.b / (law.alpha * law.a)) ** (1.0 / law.beta))


def life_of(
    model: LifetimeModel, way: TrainingWay, answers: tuple[int, ...], point: tuple[Array, Array, Array]
) -> LifetimeChoice:
    """Everything of one life. point: parameters, tokens, rollouts, each of shape (1,)."""
    params, tokens, rollouts = point
    loss = model.loss(way, params, tokens)
    odds = [model.odds(kind, loss, rollouts) for kind in model.life.classes]
    by_class = [float(model.solved(i, odds[i])[one][0]) for i, one in enumerate(answers)]
    dollars = model.training_usd(way, params, tokens, rollouts)
    usd = np.array([sum(float(model.answer_usd(i, way, params)[one][0]) for i, one in enumerate(answers))])
    whole: StageDollars = replace(dollars, answers=usd)
    stages = {
        "pre-training": float(whole.pretraining[0]),
        "quantisation-aware": float(whole.qat[0]),
        "teacher": float(whole.distillation[0]),
        "reinforcement": float(whole.rl[0]),
        "answers": float(usd[0]),
    }
    solved = sum(kind.share * share for kind, share in zip(model.life.classes, by_class, strict=True))
    return LifetimeChoice(
        way, float(params[0]), float(tokens[0]), float(rollouts[0]), answers, solved, float(whole.total[0]),
        float(loss[0]), tuple(by_class), stages,
    )  # fmt: skip


def answer_neighbours(model: LifetimeModel, answers: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Other ways of answering one class: index of the class, and all answers with it changed."""
    for i, one in product(range(len(answers)), range(len(model.ways))):
        if one != answers[i]:
            yield i, (*answers[:i], one, *answers[i + 1 :])

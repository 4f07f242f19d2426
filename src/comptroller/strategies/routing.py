"""Quality of routers: score against cost over all prices, beside random choice, single models and the oracle.

RouteLLM, arXiv 2406.18665: PGR = (score - weak) / (strong - weak); APGR is its area over the share of spending, CPT(x)
the least spending that reaches PGR x. RouterBench, arXiv 2403.12031: AIQ is the mean height of the non-decreasing
convex hull of score over cost. Spending is a share: 0 the cheapest model for all questions, 1 the dearest. For two
models of constant cost it is the share of strong calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import nan

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError, UnsupportedError
from comptroller.strategies.protocol import StrategyQuestion
from comptroller.work.evidence import SOLVER, Evidence, RecordedModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

KNOTS = 200
"""Prices at which a router is evaluated: quantiles of the prices at which a question changes its model.

On 14,042 questions of MMLU, 400 or 2,000 prices change the APGR of the linear router by less than 0.0001 and take 2.6
or 13 times as long (measured).
"""
DRAWS = 400
"""Resamples behind the interval of an APGR.

On the same router an edge of the interval has a standard deviation of 0.001 to 0.002 over seeds, a tenth of the half
width; with 800 draws it is about the same, at 1.6 times the time (measured).
"""
EQUAL_COST = 1e-12
"""Shares of spending closer than this count as equal: the rounding of doubles, far below real differences."""
COSTS = ("usd", "tokens")
"""Columns that may serve as cost, in order of preference: dollars are what a plan pays, tokens stand in."""


@dataclass(frozen=True)
class RoutingOutcomes:
    """Score and cost of every question (rows) with every model (columns).

    unit: of the cost; '' if none is recorded, where the cost of a model is its position, 0, 1, 2 and so on.

    Raises:
        InputError: all models have the same mean cost.
    """

    questions: tuple[StrategyQuestion, ...]
    models: tuple[str, ...]
    score: Floats
    cost: Floats
    unit: str = ""
    source: str = ""

    def __post_init__(self) -> None:
        if not np.ptp(self.cost.mean(axis=0)) > 0:
            raise InputError("routing: all models cost the same, so there is nothing to save by choosing among them")

    @property
    def ends(self) -> tuple[int, int]:
        """Indices of the models of lowest and highest mean cost."""
        means = self.cost.mean(axis=0)
        return int(means.argmin()), int(means.argmax())

    @property
    def spends(self) -> Floats:
        """Cost as shares, questions x models: 0 is the mean of the cheapest model, 1 that of the dearest."""
        return self._share(self.cost)

    @property
    def spend(self) -> Floats:
        """Mean cost of each model as a share."""
        return self._share(self.cost.mean(axis=0))

    def _share(self, cost: Floats) -> Floats:
        means = self.cost.mean(axis=0)
        return np.asarray((cost - means.min()) / np.ptp(means))

    @property
    def cheapest_first(self) -> RoutingOutcomes:
        """The same outcomes with the models in order of mean cost."""
        order = np.argsort(self.cost.mean(axis=0), kind="stable")
        models = tuple(self.models[position] for position in order)
        return replace(self, models=models, score=self.score[:, order], cost=self.cost[:, order])

    def take(self, rows: npt.NDArray[np.bool_]) -> RoutingOutcomes:
        """The outcomes of the questions in a mask."""
        kept = tuple(question for question, keep in zip(self.questions, rows, strict=True) if keep)
        return replace(self, questions=kept, score=self.score[rows], cost=self.cost[rows])


def outcomes(
    evidence: Evidence, arms: Sequence[RecordedModel], cost: Sequence[float] = (), among: Sequence[int] | None = None
) -> RoutingOutcomes:
    """Outcomes of one ask of each model: its greedy reply where one is recorded, else the mean of its samples.

    cost: declared cost of each model, in place of the recorded one.  among: indices of questions to keep, of those
    scored for all models; None keeps all.

    Raises:
        InputError: fewer than two different models, or all cost the same.
        UnsupportedError: no question is scored for all models.
    """
    if len(set(arms)) < max(len(arms), 2) or (cost and len(cost) != len(arms)):
        raise InputError("routing: needs two or more different models, and a cost for each if for any")
    rows, numbers = evidence.rows, [evidence.arm(arm) for arm in arms]
    generated = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    values = {"score": rows.score, "usd": rows.usd, "tokens": rows.input_tokens + generated}
    tables = {
        name: np.stack([_mean_per_question(evidence, arm, value) for arm in numbers], 1)
        for name, value in values.items()
    }
    scored = np.flatnonzero(np.isfinite(tables["score"]).all(axis=1))
    kept = scored if among is None else np.intersect1d(scored, among)
    if not len(kept):
        raise UnsupportedError(f"{evidence.source or 'evidence'}: no question is scored for all of {len(arms)} models")
    unit = "declared" if cost else next((n for n in COSTS if np.isfinite(tables[n][kept]).all()), "")
    positions = np.tile(cost or np.arange(len(arms), dtype=float), (len(kept), 1))
    items = [evidence.items[number] for number in kept]
    return RoutingOutcomes(
        tuple(StrategyQuestion(item.id, item.text, task=item.task) for item in items),
        tuple(map(str, arms)),
        tables["score"][kept],
        tables[unit][kept] if unit in COSTS else np.asarray(positions, float),
        unit,
        evidence.source,
    )


def _mean_per_question(evidence: Evidence, arm: int, value: Floats) -> Floats:
    """Mean of a column over the greedy replies to each question, over its samples where there are none: questions."""
    rows, count = evidence.rows, len(evidence.items)
    means = np.full(count, np.nan)
    for use in (evidence.samples, (rows.role == SOLVER) & evidence.greedy):
        taken = use & (rows.arm == arm)
        total = np.bincount(rows.question[taken], value[taken], count)
        times = np.bincount(rows.question[taken], minlength=count)
        means = np.where(times > 0, total / np.maximum(times, 1), means)
    return means


def choices_by_price(values: Floats, spends: Floats) -> tuple[Floats, Ints]:
    """Prices from high to low, and the index of the model chosen for each question at each: prices x questions.

    values: expected scores, questions x models.  spends: cost as shares, of the same shape or one row for all.
    """
    spends = np.broadcast_to(spends, values.shape)
    turning_prices = []
    for one, other in permutations(range(values.shape[1]), 2):
        more = spends[:, one] - spends[:, other]
        use = more > EQUAL_COST
        turning_prices.append((values[use, one] - values[use, other]) / more[use])
    turns = np.unique(np.concatenate(turning_prices))
    knots = turns if len(turns) <= KNOTS else np.unique(np.quantile(turns, np.linspace(0, 1, KNOTS)))
    # between the turns, so that no question is at a tie
    between = (knots[1:] + knots[:-1]) / 2
    prices = np.concatenate([[knots[0] - 1.0], between, [knots[-1] + 1.0]])[::-1]
    return prices, np.stack([np.argmax(values - price * spends, axis=1) for price in prices])


@dataclass(frozen=True, slots=True)
class RoutingCurve:
    """Mean spending and score of a router at prices from high to low.

    spend, score: one entry per price.  ends: mean score of the cheapest and of the dearest model.  low, high: 95 %
    bootstrap interval of the APGR over questions.
    """

    name: str
    spend: Floats
    score: Floats
    ends: tuple[float, float]
    low: float = nan
    high: float = nan

    @property
    def apgr(self) -> float:
        """Average performance gap recovered: the area under PGR from spending 0 to 1; NaN without a gap."""
        return area(self.spend, self.score, self.ends)

    @property
    def aiq(self) -> float:
        """Average improvement in quality: the mean height of the hull from spending 0 to 1."""
        x, y = hull(self.spend, self.score)
        inside = np.unique(np.clip(np.concatenate([x, [0.0, 1.0]]), 0, 1))
        return float(np.trapezoid(np.interp(inside, x, y), inside))

    def cpt(self, recovered: float) -> float:
        """The least spending that recovers a share of the gap in score; NaN if none does, or without a gap."""
        weak, strong = self.ends
        x, y = by_spending(self.spend, self.score)
        reached = np.flatnonzero(y >= weak + recovered * (strong - weak))
        if not len(reached) or not strong > weak:
            return nan
        if reached[0] == 0:
            return float(x[0])
        around = slice(reached[0] - 1, reached[0] + 1)
        (x0, x1), (y0, y1) = x[around], y[around]
        return float(x0 + (weak + recovered * (strong - weak) - y0) / (y1 - y0) * (x1 - x0))


def by_spending(spend: Floats, score: Floats) -> tuple[Floats, Floats]:
    """The points in order of spending; of points at the same spending only the best score."""
    order = np.lexsort((score, spend))
    x, y = spend[order], score[order]
    last = np.append(np.diff(x) > 0, True)
    return x[last], y[last]


def area(spend: Floats, score: Floats, ends: tuple[float, float]) -> float:
    """APGR of points of spending and score; NaN where the dearest model scores no higher than the cheapest.

    ends: score of the cheapest and of the dearest model. Ong et al., arXiv 2406.18665, eq. 5, with the integral in
    place of the mean over ten thresholds.

    >>> area(np.array([0.0, 1.0]), np.array([0.6, 0.8]), (0.6, 0.8))
    0.5
    """
    weak, strong = ends
    if not strong > weak:
        return nan
    x, y = by_spending(spend, score)
    inside = np.unique(np.clip(np.concatenate([x, [0.0, 1.0]]), 0, 1))
    return float(np.trapezoid((np.interp(inside, x, y) - weak) / (strong - weak), inside))


def hull(cost: Floats, score: Floats) -> tuple[Floats, Floats]:
    """The non-decreasing convex hull of points: the scores that random mixtures of them reach, by cost.

    Hu et al., RouterBench, arXiv 2403.12031, sec. 3.

    >>> x, y = hull(np.array([0.0, 1.0, 2.0, 3.0]), np.array([0.0, 0.1, 1.0, 0.5]))
    >>> x.tolist(), y.tolist()
    ([0.0, 2.0, 3.0], [0.0, 1.0, 1.0])
    """
    kept: list[tuple[float, float]] = []
    order = np.lexsort((-score, cost))
    for x, y in zip(cost[order].tolist(), score[order].tolist(), strict=True):
        if kept and y <= kept[-1][1]:
            continue
        while len(kept) > 1 and (y - kept[-1][1]) * (kept[-1][0] - kept[-2][0]) >= (kept[-1][1] - kept[-2][1]) * (
            x - kept[-1][0]
        ):
            kept.pop()
        kept.append((x, y))
    x, y = np.array(kept).T
    return (x, y) if x[-1] == cost.max() else (np.append(x, cost.max()), np.append(y, y[-1]))


@dataclass(frozen=True)
class RoutingComparison:
    """Curves of routers among the same models, then of random choice and the oracle. unit: of the spending."""

    models: tuple[str, ...]
    unit: str
    curves: tuple[RoutingCurve, ...]


def routing_curve(
    name: str, values: Floats, recorded: RoutingOutcomes, spends: Floats | None = None, seed: int = 0
) -> RoutingCurve:
    """Mean spending and score of choosing by expected scores, with a bootstrap interval of the APGR.

    values: expected scores, questions x models.  spends: expected cost of each model as a share; None for its mean in
    the outcomes.  seed: of the resamples; another moves the edges of the interval, see `DRAWS`.
    """
    believed = recorded.spend if spends is None else spends
    _, models = choices_by_price(values, believed)
    rows = np.arange(len(values))
    score = np.stack([recorded.score[rows, chosen] for chosen in models])
    spend = np.stack([recorded.spends[rows, chosen] for chosen in models])
    weak, strong = recorded.score[:, recorded.ends].T
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=DRAWS) / len(rows)
    ends = np.stack([draws @ weak, draws @ strong], axis=1)
    resampled = zip(draws @ spend.T, draws @ score.T, map(tuple, ends), strict=True)
    areas = [area(*curve) for curve in resampled]
    low, high = np.quantile(areas, [0.025, 0.975]) if np.isfinite(areas).all() else (nan, nan)
    both = (float(weak.mean()), float(strong.mean()))
    return RoutingCurve(name, spend.mean(axis=1), score.mean(axis=1), both, float(low), float(high))


def references(recorded: RoutingOutcomes) -> list[RoutingCurve]:
    """Curves to compare routers with: random choice of cheapest or dearest, of any if there are more, the oracle."""
    means = recorded.score.mean(axis=0)
    weak, strong = recorded.ends
    ends = (float(means[weak]), float(means[strong]))
    spends = recorded.spend
    line = RoutingCurve("random", np.array([0.0, 1.0]), np.array(ends), ends)
    single = RoutingCurve("single models, mixed", spends, means, ends)
    return [
        line,
        *([single] if len(means) > 2 else []),
        routing_curve("oracle", recorded.score, recorded, recorded.spends),
    ]

"""How good a router is: score against cost over all prices, beside random choice, single models and the oracle.

RouteLLM, arXiv 2406.18665: PGR = (score - weak) / (strong - weak); APGR its area over the share of spending, CPT(x)
the least spending that reaches PGR x. RouterBench, arXiv 2403.12031: AIQ, the mean height of the non-decreasing
convex hull of score over cost. Spending is a share here too: 0 the cheapest model for all, 1 the dearest; of two
models that cost the same every time it is the share of strong calls.
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
"""Prices at which a router is looked at, quantiles of those at which a question changes its model."""
DRAWS = 400
COSTS = ("usd", "tokens")
"""What models may cost, in the order in which it is looked for."""


@dataclass(frozen=True)
class RoutingOutcomes:
    """Score and cost of every question (rows) with every model (columns).

    unit: of the cost; '' if none is recorded, and the models are then equal steps from the first to the last.
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
        """The cheapest and the dearest model, on the mean."""
        means = self.cost.mean(axis=0)
        return int(means.argmin()), int(means.argmax())

    @property
    def spends(self) -> Floats:
        """The cost as shares: 0 the mean of the cheapest, 1 that of the dearest."""
        return self._share(self.cost)

    @property
    def spend(self) -> Floats:
        """The mean cost of each model as a share."""
        return self._share(self.cost.mean(axis=0))

    def _share(self, cost: Floats) -> Floats:
        means = self.cost.mean(axis=0)
        return np.asarray((cost - means.min()) / np.ptp(means))

    @property
    def cheapest_first(self) -> RoutingOutcomes:
        """The models in order of their mean cost."""
        order = np.argsort(self.cost.mean(axis=0), kind="stable")
        models = tuple(self.models[at] for at in order)
        return replace(self, models=models, score=self.score[:, order], cost=self.cost[:, order])

    def take(self, rows: npt.NDArray[np.bool_]) -> RoutingOutcomes:
        """The questions of a mask."""
        kept = tuple(question for question, keep in zip(self.questions, rows, strict=True) if keep)
        return replace(self, questions=kept, score=self.score[rows], cost=self.cost[rows])


def outcomes(
    evidence: Evidence, arms: Sequence[RecordedModel], cost: Sequence[float] = (), among: Sequence[int] | None = None
) -> RoutingOutcomes:
    """What one ask of each arm gives: its greedy reply where one is recorded, the mean of its samples otherwise.

    cost: of each model, where the record has none or another is wanted.  among: questions; all scored for all arms,
    if none are given.

    Raises:
        InputError: fewer than two arms, or all cost the same.
        UnsupportedError: no question is scored for all of them.
    """
    if len(set(arms)) < max(len(arms), 2) or (cost and len(cost) != len(arms)):
        raise InputError("routing: needs two or more different models, and a cost for each if for any")
    rows, at = evidence.rows, [evidence.arm(arm) for arm in arms]
    made = rows.output_tokens + np.nan_to_num(rows.reasoning_tokens)
    values = {"score": rows.score, "usd": rows.usd, "tokens": rows.input_tokens + made}
    tables = {
        name: np.stack([_mean_per_question(evidence, arm, value) for arm in at], 1) for name, value in values.items()
    }
    scored = np.flatnonzero(np.isfinite(tables["score"]).all(axis=1))
    kept = scored if among is None else np.intersect1d(scored, among)
    if not len(kept):
        raise UnsupportedError(f"{evidence.source or 'evidence'}: no question is scored for all of {len(arms)} models")
    unit = "declared" if cost else next((n for n in COSTS if np.isfinite(tables[n][kept]).all()), "")
    shares = np.tile(cost or np.arange(len(arms), dtype=float), (len(kept), 1))
    items = [evidence.items[number] for number in kept]
    return RoutingOutcomes(
        tuple(StrategyQuestion(item.id, item.text, task=item.task) for item in items),
        tuple(map(str, arms)),
        tables["score"][kept],
        tables[unit][kept] if unit in COSTS else np.asarray(shares, float),
        unit,
        evidence.source,
    )


def _mean_per_question(evidence: Evidence, arm: int, value: Floats) -> Floats:
    """Mean of a column over the greedy replies to each question, over the samples where there are none."""
    rows, count = evidence.rows, len(evidence.items)
    found = np.full(count, np.nan)
    for use in (evidence.samples, (rows.role == SOLVER) & evidence.greedy):
        taken = use & (rows.arm == arm)
        total = np.bincount(rows.question[taken], value[taken], count)
        times = np.bincount(rows.question[taken], minlength=count)
        found = np.where(times > 0, total / np.maximum(times, 1), found)
    return found


def choices_by_price(values: Floats, spends: Floats) -> tuple[Floats, Ints]:
    """Prices from high to low, and the model chosen for each question at each: prices x questions.

    values, spends: questions x models; spends may be one row for all.
    """
    spends = np.broadcast_to(spends, values.shape)
    steps = []
    for one, other in permutations(range(values.shape[1]), 2):
        more = spends[:, one] - spends[:, other]
        use = more > 1e-12
        steps.append((values[use, one] - values[use, other]) / more[use])
    turns = np.unique(np.concatenate(steps))
    picked = turns if len(turns) <= KNOTS else np.unique(np.quantile(turns, np.linspace(0, 1, KNOTS)))
    # between the turns, so that no question is at a tie
    between = (picked[1:] + picked[:-1]) / 2
    prices = np.concatenate([[picked[0] - 1.0], between, [picked[-1] + 1.0]])[::-1]
    return prices, np.stack([np.argmax(values - price * spends, axis=1) for price in prices])


@dataclass(frozen=True, slots=True)
class RoutingCurve:
    """Mean spending and score of a router from the highest price to the lowest, and what it amounts to.

    apgr, aiq: NaN where the dearest model is no better than the cheapest, or nothing differs.  low, high: 95 %
    interval of the APGR, questions resampled.
    """

    name: str
    spend: Floats
    score: Floats
    ends: tuple[float, float]
    low: float = nan
    high: float = nan

    @property
    def apgr(self) -> float:
        """Average performance gap recovered: the area under PGR from spending 0 to 1."""
        return area(self.spend, self.score, self.ends)

    @property
    def aiq(self) -> float:
        """Average improvement in quality: the mean height of the hull from spending 0 to 1."""
        x, y = hull(self.spend, self.score)
        inside = np.unique(np.clip(np.concatenate([x, [0.0, 1.0]]), 0, 1))
        return float(np.trapezoid(np.interp(inside, x, y), inside))

    def cpt(self, recovered: float) -> float:
        """The least spending that recovers a share of the gap; NaN if none does."""
        weak, strong = self.ends
        x, y = by_spending(self.spend, self.score)
        at = np.flatnonzero(y >= weak + recovered * (strong - weak))
        if not len(at) or not strong > weak:
            return nan
        if at[0] == 0:
            return float(x[0])
        (x0, x1), (y0, y1) = x[at[0] - 1 : at[0] + 1], y[at[0] - 1 : at[0] + 1]
        return float(x0 + (weak + recovered * (strong - weak) - y0) / (y1 - y0) * (x1 - x0))


def by_spending(spend: Floats, score: Floats) -> tuple[Floats, Floats]:
    """The points in order of spending, those that cost the same joined into the best."""
    order = np.lexsort((score, spend))
    x, y = spend[order], score[order]
    last = np.append(np.diff(x) > 0, True)
    return x[last], y[last]


def area(spend: Floats, score: Floats, ends: tuple[float, float]) -> float:
    """APGR of points of spending and score; ends: score of the cheapest and of the dearest model.

    Ong et al., arXiv 2406.18665, eq. 5, the integral in place of ten thresholds.

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
    """The non-decreasing convex hull of points: what mixing them at random can reach, and no dearer point is worse.

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
    """Routers over all prices, among the same models, beside random choice and the oracle. unit: of the spending."""

    models: tuple[str, ...]
    unit: str
    curves: tuple[RoutingCurve, ...]


def routing_curve(
    name: str, values: Floats, known: RoutingOutcomes, spends: Floats | None = None, seed: int = 0
) -> RoutingCurve:
    """What a router's expectations come to on outcomes.

    values: questions x models.  spends: what it believes each model costs, as a share; the means where none is given.
    """
    believed = known.spend if spends is None else spends
    _, models = choices_by_price(values, believed)
    rows = np.arange(len(values))
    score = np.stack([known.score[rows, each] for each in models])
    spend = np.stack([known.spends[rows, each] for each in models])
    weak, strong = known.score[:, known.ends].T
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=DRAWS) / len(rows)
    ends = np.stack([draws @ weak, draws @ strong], axis=1)
    areas = [area(*each) for each in zip(draws @ spend.T, draws @ score.T, map(tuple, ends), strict=True)]
    low, high = np.quantile(areas, [0.025, 0.975]) if np.isfinite(areas).all() else (nan, nan)
    both = (float(weak.mean()), float(strong.mean()))
    return RoutingCurve(name, spend.mean(axis=1), score.mean(axis=1), both, float(low), float(high))


def references(known: RoutingOutcomes) -> list[RoutingCurve]:
    """What stands beside every router: random choice between the two ends, of more also among all, and the oracle."""
    means = known.score.mean(axis=0)
    weak, strong = known.ends
    ends = (float(means[weak]), float(means[strong]))
    spends = known.spend
    line = RoutingCurve("random", np.array([0.0, 1.0]), np.array(ends), ends)
    single = RoutingCurve("single models, mixed", spends, means, ends)
    return [line, *([single] if len(means) > 2 else []), routing_curve("oracle", known.score, known, known.spends)]

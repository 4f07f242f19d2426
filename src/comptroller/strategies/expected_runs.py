"""Runs of a strategy on all questions at once, as means over what the recorded samples may deal it.

A strategy declares its `closed_form` where it has one; a replay without a budget then takes its figures from arrays
instead of dealing and driving it question by question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
import numpy.typing as npt

from comptroller.quantities import Cost
from comptroller.strategies.protocol import Strategy
from comptroller.strategies.results import ReplayResults
from comptroller.strategies.sample_pools import SamplePool, SampleTable, combined_cost
from comptroller.strategies.spelling import spell

Floats = npt.NDArray[np.float64]
Form = TypeVar("Form", bound="ClosedForm")

CERTAIN = 1e-12
"""Variance of a score below which every deal gives the same; those of scores that differ are above 1e-6 with a thousand
samples. At twice the value the same."""


@dataclass(frozen=True)
class ExpectedRun:
    """Means of one strategy; arrays of shape (questions,).

    score, square: of the score of one deal and of its square.  deals: orders that the score is a mean over, 0 for all
    choices of the samples.  The others as in `ReplayResults`.
    """

    score: Floats
    square: Floats
    cost: Cost
    calls: Floats
    elapsed_s: Floats
    truncated: Floats
    lost: Floats
    unanswered: Floats
    strong_calls: Floats
    deals: int = 0

    @property
    def deviation(self) -> float:
        """Standard deviation of the mean score from one deal to another."""
        variance = np.maximum(self.square - self.score**2, 0.0)
        return float(np.sqrt(variance.sum()) / len(variance))


class ClosedForm(Protocol):
    """Figures of a strategy from the recorded samples as arrays."""

    @classmethod
    def runs(cls: type[Form], forms: Sequence[Form], table: SampleTable) -> list[ExpectedRun | None]:
        """The means of each of several strategies of this form; None where the samples do not allow it, too few of a
        question or of another kind."""
        ...


@runtime_checkable
class FormedStrategy(Strategy, Protocol):
    """A strategy with a closed form."""

    @property
    def closed_form(self) -> ClosedForm | None:
        """The closed form of the strategy with its parameters; None where these have none."""
        ...


def form_of(strategy: object) -> ClosedForm | None:
    """The closed form of a strategy; None where it has none, or where a class below it acts in a way of its own."""
    for kind in type(strategy).__mro__:
        if "closed_form" in vars(kind) and isinstance(strategy, FormedStrategy):
            return strategy.closed_form
        if any(_is_way(name, value) for name, value in vars(kind).items()):
            return None
    return None


def _is_way(name: str, value: object) -> bool:
    """Whether an attribute of a class is how its strategies act: a method or a property, not a field."""
    return not name.startswith("__") and (callable(value) or isinstance(value, (property, classmethod, staticmethod)))


def formed_results(table: SampleTable, strategies: Sequence[Strategy]) -> dict[str, ReplayResults]:
    """Results, by the spelling of the strategy, of those that have a closed form on these samples."""
    groups: dict[type[ClosedForm], list[tuple[Strategy, ClosedForm]]] = {}
    for strategy in strategies:
        form = form_of(strategy)
        if form is not None:
            groups.setdefault(type(form), []).append((strategy, form))
    found = {}
    for kind, members in groups.items():
        for (strategy, _), run in zip(members, kind.runs([form for _, form in members], table), strict=True):
            if run is not None:
                found[spell(strategy)] = _results(spell(strategy), run, table)
    return found


def _results(strategy: str, run: ExpectedRun, table: SampleTable) -> ReplayResults:
    same = run.deals == 0 and not (run.square - run.score**2 > CERTAIN).any()
    return ReplayResults(
        strategy=strategy,
        question=table.questions,
        score=run.score,
        cost=run.cost,
        calls=run.calls,
        elapsed_s=run.elapsed_s,
        truncated=run.truncated,
        lost=run.lost,
        unanswered=run.unanswered,
        expired=np.zeros(len(run.score)),
        strong_calls=run.strong_calls,
        deals=1 if same else run.deals,
        deal_deviation=nan if same else run.deviation,
    )


@dataclass
class PoolMeans:
    """Means over the pools of a table, gathered into arrays of shape (sizes, questions).

    sizes: numbers of samples.  columns: by name of a field of `ExpectedRun`.  costs: of each pool, what one sample
    costs, (questions, 1), and what choosing costs beside, (questions, sizes), if anything.
    """

    questions: int
    sizes: Sequence[int]
    columns: dict[str, Floats] = field(default_factory=dict)
    costs: list[tuple[SamplePool, Cost, Cost | None]] = field(default_factory=list)

    def add(self, pool: SamplePool, each: Cost, beside: Cost | None, **columns: Floats) -> None:
        """Adds the means of one pool: arrays of shape (questions of the pool, sizes)."""
        self.costs.append((pool, each, beside))
        for name, values in columns.items():
            if len(pool.place) == self.questions:  # a pool of all questions is not copied
                self.columns[name] = values.T
                continue
            whole = self.columns.setdefault(name, np.full((len(self.sizes), self.questions), nan))
            whole[:, pool.place] = values.T

    def run(self, at: int, deals: int = 0) -> ExpectedRun:
        """The run of the size at an index."""
        return ExpectedRun(
            **{name: values[at] for name, values in self.columns.items()}, cost=self._cost(at), deals=deals
        )

    def _cost(self, at: int) -> Cost:
        def gathered(parts: Sequence[Floats]) -> Floats:
            if len(parts) == 1:
                return np.broadcast_to(parts[0][:, 0], self.questions)
            whole = np.full(self.questions, nan)
            for (pool, _, _), part in zip(self.costs, parts, strict=True):
                whole[pool.place] = part[:, 0]
            return whole

        sized = [
            each * self.sizes[at]
            if beside is None
            else each * self.sizes[at] + combined_cost([beside], lambda one: one[0][:, at : at + 1])
            for _, each, beside in self.costs
        ]
        return combined_cost(sized, gathered)


def mean_cost(pool: SamplePool) -> Cost:
    """Mean cost of one sample of a pool, a `Cost` of arrays of shape (questions, 1), or (1, 1) where all are alike."""
    return combined_cost([pool.cost], lambda one: np.mean(np.atleast_2d(one[0]), axis=1, keepdims=True))

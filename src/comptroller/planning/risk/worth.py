"""The next measurement: by how much each would make the choice cheaper in expectation, and narrow the plan's intervals.

A plan loses, in a draw, what it costs and what the solved questions that it is short of count for. They count for
what sparing them costs at the plan: what the next dearer plan costs more, over the shortfall that it spares, both means
over draws. At the bare slope of cost over share solved, by which every question counts whether it is short
or not, missing a target would always be cheaper than meeting it, and no plan would be the choice that its target asks
for. Knowing s before choosing saves, in expectation (Raiffa and Schlaifer, Applied Statistical Decision Theory),

    min_k E[loss_k] - E_s[min_k E[loss_k | s]]

over the finite alternatives k, the plan and its rivals. Sources are independent, so that s on one axis of the draws
and everything else on the other condition exactly (nested draws; Strong, Oakley and Brennan, Medical Decision Making
34, 2014, on the estimate).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from comptroller.planning.ground.nouns import Floats
from comptroller.planning.ground.risk_document import NextMeasurement
from comptroller.planning.offer.space import quality_targets
from comptroller.planning.reasons.runners_up import NeighbouringFleets
from comptroller.planning.risk.draws import (
    ContenderOutcome,
    ContenderSet,
    RiskDistributions,
    RiskDraws,
    RiskSimulation,
    outcome,
)
from comptroller.quantities import short

AXIS = 256
"""Draws on either axis of the nest: 65,536 in all, a mean known to 0.4 % of its spread; twice as many take four
times the time."""

NOTHING = 1e-3
"""Share of the cost below which a saving counts as none: nested draws of this number tell no less apart."""


@dataclass(frozen=True)
class ShortfallPrice:
    """What a missed share of solved questions counts for. usd_per_h: by share.  optimism: taken off, by task.

    because: what it rests on.
    """

    usd_per_h: float
    optimism: Mapping[str, float]
    because: str


@dataclass(frozen=True)
class MeasurementStudy:
    """Something that could be measured. draws: nested, with it on the outer axis and everything else on the inner."""

    what: str
    how: str
    draws: RiskDraws


def saving(loss: Floats) -> float:
    """What knowing the outer axis before choosing saves: loss (alternatives, outer, inner). Never below 0.

    >>> saving(np.array([[[1.0], [1.0]], [[0.0], [3.0]]]))
    0.5
    """
    given = loss.mean(axis=2)
    return float(given.mean(axis=1).min() - given.min(axis=0).mean())


def missed_share(contenders: ContenderSet, found: ContenderOutcome, optimism: Mapping[str, float]) -> Floats:
    """Share of all questions by which the target that is missed most is missed; a task's target weighs as the task."""
    plays, weight = contenders.problem.space.plays, contenders.weight
    short_of = np.zeros(found.solved.shape[1:])
    for solved, (task, least) in zip(found.solved, quality_targets(contenders.problem.quality), strict=True):
        of = weight[plays.tasks.index(task)] if task else 1.0
        short_of = np.maximum(short_of, of * (least - solved + optimism.get(task, 0.0)))
    return short_of


def price_of(drawn: RiskSimulation, around: NeighbouringFleets, optimism: Mapping[str, float]) -> ShortfallPrice:
    """What the plan pays for the last share of questions that it is not short of, the mean over draws.

    From the next dearer plan; where nothing solves more, from the next that solves less; else cost over share solved.
    """
    contenders, best = drawn.chances.contenders, drawn.outcomes[0]
    for other, words in (
        (around.dearer, "what half a point more would cost, over the shortfall that it would spare"),
        (around.neighbours[0], "what the next plan that solves less would save, over its shortfall; none solves more"),
    ):
        number = drawn.number(other)
        if number:
            other_outcome = drawn.outcomes[number]
            more = float((other_outcome.usd_per_h - best.usd_per_h).mean())
            spared = float(
                (missed_share(contenders, best, optimism) - missed_share(contenders, other_outcome, optimism)).mean()
            )
            if more * spared > 0:
                return ShortfallPrice(more / spared, optimism, words)
    mean = float(best.usd_per_h.mean() / best.solved[0].mean())
    return ShortfallPrice(
        mean, optimism, "the plan's cost over the share solved: no plan beside it spares questions for dollars"
    )


def lost_usd_per_h(contenders: ContenderSet, found: ContenderOutcome, price: ShortfallPrice) -> Floats:
    """Dollars per hour that a plan loses: its cost, and the questions that it is short of at their price."""
    return found.usd_per_h + price.usd_per_h * found.demand * missed_share(contenders, found, price.optimism)


def losses_of(drawn: RiskSimulation, price: ShortfallPrice) -> Floats:
    """What the plan and each rival loses in joint draws: (plans, draws)."""
    return np.stack([lost_usd_per_h(drawn.chances.contenders, each, price) for each in drawn.outcomes])


def nested_losses(contenders: ContenderSet, draws: RiskDraws, price: ShortfallPrice) -> Floats:
    """What the plan and each rival loses in nested draws: (stands, outer, inner)."""
    losses = (
        lost_usd_per_h(contenders, outcome(contenders, number, draws), price) for number in range(len(contenders.plans))
    )
    return np.stack([np.broadcast_to(each, (AXIS, AXIS)) for each in losses])


def studies(nest: NestedDraws) -> Iterator[MeasurementStudy]:
    """Everything worth measuring: step times, questions of each class, prices, the demand."""
    chances, contenders = nest.chances, nest.chances.contenders
    for number, kind in enumerate(contenders.kinds):
        yield MeasurementStudy(_step_time(contenders, kind), how_to_time(kind), nest.steps(number))
    plays = contenders.problem.space.plays
    counts = np.bincount(plays.task)
    for number, task in enumerate(plays.tasks):
        what = f"{counts[number]:,} more questions{f' of {task}' if task else ''}"
        yield MeasurementStudy(what, _how_questions(contenders), nest.questions(number))
    for number, (quote, deployment) in enumerate(contenders.quotes.items()):
        how = f"ask for a quote that holds, and enter it as dated [[offers]] of site {deployment.site.id}"
        yield MeasurementStudy(f"price of {quote}", how, nest.prices(number))
    if not chances.demand.known:
        how = "record arrivals for longer (`trace`), or bound the demand (`uncertainty.demand`)"
        yield MeasurementStudy("demand", how, nest.demand())


class NestedDraws:
    """Draws with one thing on the outer axis and everything else on the inner one. nothing: with nothing known."""

    def __init__(self, chances: RiskDistributions, seed: int) -> None:
        self.chances, self._point = chances, chances.contenders.point
        self._inner, self._outer = (chances.draw(AXIS, [seed, 7 + side]) for side in (0, 1))
        self._apart, self._learnt = (chances.deviations(AXIS, [seed, 7 + side]) for side in (0, 1))
        inner = self._inner
        self.nothing = RiskDraws(inner.means[None], inner.steps[None], inner.prices[None], inner.demand[None])

    def steps(self, number: int) -> RiskDraws:
        """The error of one accelerator under one engine is known."""
        return replace(self.nothing, steps=_with_outer_column(self._inner.steps, self._outer.steps, number))

    def prices(self, number: int) -> RiskDraws:
        """One offer's price is known."""
        return replace(self.nothing, prices=_with_outer_column(self._inner.prices, self._outer.prices, number))

    def demand(self) -> RiskDraws:
        """The demand is known."""
        return replace(self.nothing, demand=self._outer.demand[:, None])

    def questions(self, task: int) -> RiskDraws:
        """As many questions of a class are recorded again.

        What n questions tell of a mean has variance v / n, that of 2 n half of it: the mean that will be known then
        varies with variance v / 2n about the one that is known now, and the truth as much again about that.
        """
        others = self._apart.sum(axis=0) - self._apart[task]
        known = self._learnt[task][:, None] + self._apart[task][None]
        return replace(self.nothing, means=self._point + others[None] + known / np.sqrt(2.0))


def _with_outer_column(inner: Floats, outer: Floats, number: int) -> Floats:
    """One column from the outer draws, all others from the inner ones: (outer, inner, columns)."""
    found = np.repeat(inner[None], len(outer), axis=0)
    found[:, :, number] = outer[:, number][:, None]
    return found


def measurements(
    drawn: RiskSimulation, price: ShortfallPrice, in_dollars: bool, seed: int
) -> tuple[NextMeasurement, ...]:
    """What could be measured next, best first: what saves most, and where nothing saves, what narrows cost most.

    What neither saves nor narrows anything is left out.
    """
    contenders, nest = drawn.chances.contenders, NestedDraws(drawn.chances, seed)
    usd, solved = drawn.outcomes[0].usd_per_h, drawn.outcomes[0].solved[0]
    point = float(outcome(contenders, 0, drawn.chances.still()).usd_per_h[0])
    before = outcome(contenders, 0, nest.nothing)
    worthwhile = []
    for study in studies(nest):
        after = outcome(contenders, 0, study.draws)
        saves = saving(nested_losses(contenders, study.draws, price)) if in_dollars else None
        if saves is not None and saves < NOTHING * point:
            saves = 0.0
        narrowed = (
            _width_before_and_after(usd, before.usd_per_h, after.usd_per_h),
            _width_before_and_after(solved, before.solved[0], after.solved[0]),
        )
        if saves or any(_narrows(each) for each in narrowed):
            worthwhile.append(_measurement(study, saves, *narrowed))
    return tuple(sorted(worthwhile, key=lambda each: (-(each.saves_usd_per_h or 0.0), each.usd_per_h[1], each.what)))


def _width_before_and_after(values: Floats, before: Floats, after: Floats) -> tuple[float, float]:
    """Width of the interval of values, and what is left of it by the widths in nested draws before and after."""
    now, was = width(values), width(before)
    return now, now * min(width(after) / was, 1.0) if was else now


def _narrows(widths: tuple[float, float]) -> bool:
    return widths[1] < widths[0] * (1 - NOTHING)


def width(values: Floats) -> float:
    """Width of the 80 % interval over the last axis, its mean over the axes before.

    >>> width(np.array([[0.0, 1.0], [0.0, 3.0]]))
    1.6
    """
    low, high = np.quantile(values, (0.1, 0.9), axis=-1)
    return float(np.mean(high - low))


def _measurement(
    study: MeasurementStudy, saves: float | None, usd: tuple[float, float], solved: tuple[float, float]
) -> NextMeasurement:
    narrows = []
    if _narrows(usd):
        narrows.append(f"the interval of cost from ${usd[0]:,.2f} to ${usd[1]:,.2f}/h wide")
    if _narrows(solved):
        narrows.append(f"that of solved questions from {solved[0] * 100:.1f} to {solved[1] * 100:.1f} points")
    wide = f"narrows {', '.join(narrows)}" if narrows else "narrows no interval of the plan"
    worth = f"is expected to save ${saves:,.2f}/h by a better choice" if saves else "does not change the choice"
    sentence = f"{wide[0].upper()}{wide[1:]}" if saves is None else f"Knowing it {worth}, and {wide}"
    return NextMeasurement(
        what=study.what,
        how=study.how,
        saves_usd_per_h=None if saves is None else short(saves),
        usd_per_h=(short(usd[0]), short(usd[1])),
        solved=(short(solved[0]), short(solved[1])),
        sentence=sentence,
    )


def _step_time(contenders: ContenderSet, kind: tuple[str, str]) -> str:
    """What to time: one deployment tells the error of all that share its accelerator and engine."""
    models = dict.fromkeys(
        service.deployment.replica.model.id
        for plan in contenders.plans
        for service in plan.services
        if service.kind == kind
    )
    return f"step time of {' or '.join(models)} on {kind[0]} under {kind[1]}"


def how_to_time(kind: tuple[str, str]) -> str:
    """How the step time on an accelerator under an engine is measured."""
    return (
        f"{kind[1]}'s own benchmark on {kind[0]}, its runs to comptroller fit calibration runs.csv --out DIR; "
        "or, before there is a server: comptroller measure kernels DEVICE --out kernels.toml"
    )


def _how_questions(contenders: ContenderSet) -> str:
    source = contenders.problem.space.plays.source
    return f"record the same models on them, add the rows to {source}; comptroller show evidence FILE shows the gaps"

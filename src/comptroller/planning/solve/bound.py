"""Exact bounds on the program of one hour, before it is solved: what stands in no fleet as cheap as one that is known.

The linear relaxation without limits has a dual solution in closed form: a call of bucket b of model m is worth
pi_mb = min_j (p_j l_bj + e_bj) over the deployments j, the dearer of a deployment's loads taken for l. What is left of
the relaxation is a small program over the options. Any fleet then costs at least

    z + sum_j u_j (p_j - mu_j) + sum_co x_co r_co

z the optimum of the small program, r its reduced costs, and mu_j <= p_j the most of the calls' worth that one unit of j
can take over: its time filled with the calls that are worth most per unit, of each no more than there can be. For the
models of a set S the worths may all be lowered by one factor t, as long as no r falls below zero, which leaves z as it
is and gives S's units the bound p_j - t mu_j (weak duality; reduced-cost fixing as in Nemhauser and Wolsey, Integer
and Combinatorial Optimization, 1988, II.5).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array

from comptroller.highs import EXACT, MixedIntegerProgram, solve
from comptroller.planning.ground.nouns import Floats, Ints, Market
from comptroller.planning.solve.case import CaseSubset, ProgramCase

MARGIN = 1e-6
"""Relative room that a bound leaves above a known fleet: a thousand times the tolerance of the solver, so that its
rounding drops nothing; a hundred times more keeps a few columns more and changes no optimum."""

SEED_OPTIONS, SEED_UNITS = 40, 60
"""Options of each class, and units of all models, of the first, small program, whose optimum bounds the whole: twice
as many take twice its time and drop little more, half as many leave more to the second program."""


@dataclass(frozen=True)
class CallWorth:
    """Of a model's calls. call: (buckets,), pi, what one call per second is worth, objective per hour.

    held: (j,), mu, what a unit can take over of their worth.  share: (classes, options), what the calls of an option
    are worth, for the whole of a class.
    """

    call: Floats
    held: Floats
    share: Floats

    @classmethod
    def of(cls, market: Market, objective: str, asked: Floats) -> CallWorth:
        """asked: (classes, options, buckets), calls per second for the whole of a class, as sized."""
        dearer = np.einsum("b,lbj->lj", asked.sum(axis=(0, 1)), market.finite).argmax(axis=0)
        fits, load = market.fits, np.take_along_axis(market.finite, dearer[None, None, :], axis=0)[0]
        price, energy = market.unit(objective)[0], market.added(objective)[0]
        least = np.where(fits, price * load + energy, np.inf).min(axis=1)
        worth = np.where(fits.any(axis=1), least, 0.0)
        most = asked.max(axis=1).sum(axis=0)
        gained = np.where(fits, worth[:, None] - energy, 0.0)
        held = most_worth_per_unit(load * most[:, None], gained * most[:, None])
        return cls(worth, np.minimum(held, price), asked @ worth)


def most_worth_per_unit(load: Floats, worth: Floats) -> Floats:
    """For each column the most worth that one unit can carry: loads by worth per load, the last in part.

    load, worth: (loads, j), of each load all there is.

    >>> most_worth_per_unit(np.array([[0.5], [1.0]]), np.array([[3.0], [2.0]])).tolist()
    [4.0]
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(load > 0, worth / load, 0.0)
    order = np.argsort(-ratio, axis=0, kind="stable")
    size = np.take_along_axis(load, order, axis=0)
    value = np.maximum(np.take_along_axis(worth, order, axis=0), 0.0)
    filled = np.cumsum(size, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        taken = np.where(size > 0, np.clip((1.0 - (filled - size)) / size, 0.0, 1.0), 1.0)
    return np.asarray((taken * value).sum(axis=0))


class DualBound:
    """The dual solution of a case of one hour. least: z, no fleet costs less.  reduced: r, (classes, options)."""

    def __init__(self, case: ProgramCase) -> None:
        self.case = case
        goal, demand, options = case.goal, case.demand, case.options
        per_s = demand.weight[:, None, None] * demand.rate_per_s * goal.demand
        self.worth = {
            model: CallWorth.of(market, goal.objective, options.calls[model] * per_s)
            for model, market in case.markets.items()
        }
        bought = case.usd_per_h * (goal.objective == "usd")
        cost = sum((worth.share for worth in self.worth.values()), start=bought)
        self.least, self.reduced = _options_alone(case, cost)
        users = [options.calls[model].any(axis=2).ravel() for model in case.markets]
        self._uses = np.array(users, bool).reshape(len(users), cost.size)

    def seeds(self) -> CaseSubset:
        """Options of the least reduced cost, and the units that cost least more than what they carry is worth."""
        options = np.unique(np.argsort(self.reduced, axis=1, kind="stable")[:, :SEED_OPTIONS])
        gaps = {model: self._price(model) - self.worth[model].held for model in self.case.markets}
        every = np.sort(np.concatenate([*gaps.values(), np.zeros(1)]))
        most = every[min(SEED_UNITS, len(every)) - 1]
        columns = {model: np.flatnonzero(gap <= max(most, gap.min())) for model, gap in gaps.items()}
        return CaseSubset.of(self.case, options, columns)

    def kept(self, most: float) -> CaseSubset:
        """What may stand in a fleet that costs no more than `most`."""
        top = most * (1 + MARGIN) - self.least
        columns = {model: np.flatnonzero(self._gaps(model, (model,)) <= top) for model in self.case.markets}
        models = np.array(list(self.case.markets))
        sets, of = np.unique(self._uses, axis=1, return_inverse=True)
        possible = np.array([self._together(models[used].tolist(), columns) <= top for used in sets.T], bool)
        opened = possible[of.ravel()]
        shut, used = ~opened.reshape(self.reduced.shape), self._uses[:, opened].any(axis=1)
        columns = {model: columns[model] for model in models[used].tolist()}
        return CaseSubset.of(self.case, np.flatnonzero(~shut.all(axis=0)), columns, shut)

    def _price(self, model: int) -> Floats:
        return np.asarray(self.case.markets[model].unit(self.case.goal.objective)[0])

    def _together(self, models: Sequence[int], columns: dict[int, Ints]) -> float:
        """The least that a unit of each of the models adds."""
        if any(not len(columns[model]) for model in models):
            return np.inf
        return sum(float(self._gaps(model, models)[columns[model]].min()) for model in models)

    def _gaps(self, model: int, models: Collection[int]) -> Floats:
        """p_j - t mu_j of a model's deployments, with the worths of some models lowered as far as they may be."""
        share = sum(self.worth[other].share for other in models)
        with np.errstate(divide="ignore", invalid="ignore"):
            lowered = np.where(share > 0, self.reduced / share, np.inf).min()
        return self._price(model) - (1.0 - min(float(lowered), 1.0)) * self.worth[model].held


def _options_alone(case: ProgramCase, cost: Floats) -> tuple[float, Floats]:
    """The relaxation with the worth of calls in place of units: its optimum and the reduced costs of the shares."""
    classes, options = cost.shape
    if options == 1:
        return float(cost.sum()), np.zeros(cost.shape)
    rows = np.zeros((classes + len(case.quality), cost.size))
    for number, columns in enumerate(np.arange(cost.size).reshape(cost.shape)):
        rows[number, columns] = 1.0
    weighted = case.demand.weight[:, None] * case.options.score
    for place, (of_class, _) in enumerate(case.quality, start=classes):
        rows[place] = (weighted if of_class is None else _only(case.options.score, of_class)).ravel()
    least = [share for _, share in case.quality]
    program = MixedIntegerProgram(
        cost.ravel(),
        csc_array(rows),
        np.array([*np.ones(classes), *least]),
        np.array([*np.ones(classes), *np.full(len(least), np.inf)]),
        np.full(cost.size, np.inf),
        np.zeros(cost.size, bool),
    )
    found = solve(program, EXACT)
    return found.objective, np.maximum(found.reduced_cost.reshape(cost.shape), 0.0)


def _only(score: Floats, number: int) -> Floats:
    alone = np.zeros(score.shape)
    alone[number] = score[number]
    return alone

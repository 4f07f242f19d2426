"""Given units of a fleet, loaded so that the busiest is as little busy as can be, whether or not they carry it all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from scipy.sparse import csc_array

from comptroller.highs import EXACT, MixedIntegerProgram, solve
from comptroller.planning.ground.limit_names import OBJECTIVES
from comptroller.planning.ground.nouns import Bools, Fleet, Floats, Goal, Ints, Market
from comptroller.planning.solve.search import PlanSearch

LEAST_CALLS_PER_S = 1e-12
"""Buckets with fewer calls than this are empty."""


class FleetLoader:
    """Loads units of all deployments of a space, those that a market drops among them.

    markets: by model, one column for every deployment, at the goal's batch caps.
    """

    def __init__(self, search: PlanSearch, goal: Goal) -> None:
        self.goal = goal
        self.markets: Mapping[int, Market] = {m: offers.market(goal) for m, offers in search.space.offers.items()}

    def fleet(self, like: Fleet, units: Mapping[int, Ints]) -> Fleet | None:
        """A fleet that answers as another does, with other units, (1, deployments) by model.

        `None` where some size of call runs on none of a model's units.
        """
        calls = {}
        for model, before in like.calls_per_s.items():
            shared = balanced_calls(self.markets[model], before[0].sum(axis=1), units[model][0])
            if shared is None:
                return None
            calls[model] = shared[None]
        used = {model: np.flatnonzero(count[0]) for model, count in units.items()}
        rented = [
            (self.markets[model].only(columns), units[model][:, columns], calls[model][..., columns])
            for model, columns in used.items()
        ]
        total = {name: self._total(name, like, rented) for name in OBJECTIVES}
        objective = float(total[self.goal.objective].sum())
        return replace(like, units=dict(units), calls_per_s=calls, total=total, objective=objective)

    def _total(self, name: str, like: Fleet, rented: Iterable[tuple[Market, Ints, Floats]]) -> Floats:
        """An objective by hour. rented: markets of what is in use alone, its units and calls."""
        total = like.bought.copy() if name == "usd" else np.zeros(1)
        for market, units, calls in rented:
            added = market.added(name)[:, : market.buckets] * calls / self.goal.sizing
            total = total + (market.unit(name) * units).sum(axis=1) + added.sum(axis=(1, 2))
        return np.asarray(total)

    def beside(self, like: Fleet, model: int) -> Floats:
        """(j,): what a fleet costs beside a model's units, when one kind of them takes all of the model's calls."""
        others = {number: units for number, units in like.units.items() if number != model}
        rest = replace(like, calls_per_s={number: like.calls_per_s[number] for number in others})
        fixed = self.fleet(rest, others)
        assert fixed is not None
        market, calls = self.markets[model], like.calls_per_s[model][0].sum(axis=1) / self.goal.sizing
        added = market.added(self.goal.objective)[0, : market.buckets]
        return np.asarray(fixed.objective + calls @ added)

    def headroom(self, fleet: Fleet) -> float:
        """How many times its calls a fleet carries in the steady state, loaded as it is; inf if it gets none."""
        busy = 0.0
        for model, calls in fleet.calls_per_s.items():
            units, market = fleet.units[model][0], self.markets[model]
            used = units > 0
            load = np.einsum("lbj,bj->lj", market.finite[:, :, used], calls[0][:, used]).max(axis=0)
            busy = max(busy, float((load / units[used]).max(initial=0.0)))
        return 1.0 / busy if busy > 0 else float("inf")

    def taken(self, name: str, units: Mapping[int, Ints]) -> float:
        """What units take of a limit, what is bought left out."""
        return sum(float(self.markets[model].takes[name] @ count[0]) for model, count in units.items())


def balanced_calls(market: Market, calls: Floats, units: Ints) -> Floats | None:
    """(buckets, j): calls of every bucket on the units, so that the busiest unit is as little busy as can be.

    minimise t  within  sum_b l_kbj y_bj <= t u_j for every matrix k,  sum_j y_bj = c_b  over buckets b, kinds j in use.
    """
    rows, used = np.flatnonzero(calls > LEAST_CALLS_PER_S), np.flatnonzero(units)
    shared = np.zeros((len(calls), len(units)))
    fits = market.fits[np.ix_(rows, used)]
    if not fits.any(axis=1).all():
        return None
    if len(used) == 1:
        shared[rows, used[0]] = calls[rows]
        return shared
    values = solve(_balance_program(market.finite[:, rows][:, :, used], fits, calls[rows], units[used]), EXACT).values
    if values is None:
        return None
    shared[np.ix_(rows, used)] = np.maximum(values[:-1].reshape(len(rows), len(used)), 0.0)
    return shared


def _balance_program(load: Floats, fits: Bools, calls: Floats, units: Ints) -> MixedIntegerProgram:
    """Columns: calls per second by bucket, kind by kind, then t."""
    matrices, buckets, kinds = load.shape
    matrix = np.zeros((buckets + matrices * kinds, buckets * kinds + 1))
    for bucket in range(buckets):
        matrix[bucket, bucket * kinds : (bucket + 1) * kinds] = 1.0
    for place, (number, kind) in enumerate(np.ndindex(matrices, kinds), start=buckets):
        matrix[place, kind:-1:kinds] = load[number, :, kind]
        matrix[place, -1] = -units[kind]
    cost = np.zeros(buckets * kinds + 1)
    cost[-1] = 1.0
    rest = matrices * kinds
    return MixedIntegerProgram(
        cost,
        csc_array(matrix),
        np.concatenate([calls, np.full(rest, -np.inf)]),
        np.concatenate([calls, np.zeros(rest)]),
        np.append(np.where(fits, np.inf, 0.0).ravel(), np.inf),
        np.zeros(len(cost), bool),
    )

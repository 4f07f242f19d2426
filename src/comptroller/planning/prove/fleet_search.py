"""The cheapest fleet that holds in simulation: least counts of every kind, mixes by exchange, a pool of what was tried.

For each kind of deployment that carries all sizes the least count that holds is bisected: on common draws a larger
count of the same kind is late no more often. A kind is left out where its throughput without any latency objective
would need more than the best fleet costs. Mixes are then tried by the capacity that was seen: a unit of kind j carries
less than 1 / f_j of the demand, f_j the largest count that failed, so that only mixes with sum_j a_j / f_j > 1 may
hold.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cached_property

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Bools, Fleet, Floats, Goal, Ints, Trial
from comptroller.planning.offer.market import undominated_columns
from comptroller.planning.prove.kind_table import EQUAL, LEAST_NEED, PAIRED, KindTable, likely_mixes, most_units
from comptroller.planning.prove.proven_fleet import ProvenFleet, is_slow, relaxed_limit_s, without_spending_limits
from comptroller.planning.prove.shape_search import (
    ServiceFocus,
    grow_until_held,
    share_anew,
    take_out_units,
    try_caps,
    try_named_fleets,
)
from comptroller.planning.prove.stage import FleetStage
from comptroller.planning.solve.loading import FleetLoader
from comptroller.planning.solve.search import KeepChoice, keep_everything

KINDS, MIXES, SERVICE_KINDS = 48, 12, 12
"""Kinds without levers and as many with, mixes of them, and kinds of each service of questions, whose draws take
several times as long, that one search simulates before it stops and says how far below the steady state lies. Twice as
many only lengthen those that stop."""

GROWTH, BETTER = 4.0, 0.98
"""A kind that holds nothing known is tried up to so many times what the steady state says, as long as more units lower
its excess at least to this share. A service that needs four times the steady state is another service; a share nearer
to 1 tries counts that change nothing."""


class FleetSearch:
    """Answers what `PlanSearch.solve` answers, by fleets that held in simulation."""

    def __init__(self, stage: FleetStage) -> None:
        self.stage = stage
        self._known: dict[tuple[Goal, bytes], ProvenFleet] = {}

    def solve(self, goal: Goal, keep: KeepChoice = keep_everything) -> Fleet:
        """The cheapest fleet that holds.

        Raises:
            InfeasibleError: as `proven_fleet`.
        """
        return self.proven_fleet(goal, keep).fleet

    def proven_fleet(self, goal: Goal, keep: KeepChoice = keep_everything) -> ProvenFleet:
        """The cheapest fleet that holds, with how it was found.

        Raises:
            InfeasibleError: nothing holds in the steady state, or nothing that was tried does in simulation.
        """
        goal, (allowed, options) = goal.asked, self._kept(keep)
        key = (goal, b"".join(part.tobytes() for part in (*allowed.values(), options)))
        if key not in self._known:
            self._known[key] = _GoalSearch(self.stage, goal, keep, allowed, options).run()
        return self._known[key]

    def _kept(self, keep: KeepChoice) -> tuple[dict[int, Bools], Bools]:
        """By model the deployments that may be used, and the options that may."""
        space = self.stage.problem.space
        allowed = {model: np.array([keep(axes) for axes in values], bool) for model, values in space.axes.items()}
        return allowed, np.array([keep(option.axes) for option in space.options], bool)

    def judged_again(self, goal: Goal) -> ProvenFleet:
        """The same where fleets were simulated meanwhile, for whatever else: no plan is dearer than one of them."""
        self._known = {key: proof for key, proof in self._known.items() if key[0] != goal.asked}
        return self.proven_fleet(goal)

    def bound_s(self, goal: Goal, number: int) -> float:
        """What the cheapest fleet that holds a goal was shown to keep of one of its objectives."""
        return self.proven_fleet(goal).trial.seen[number].upper_s

    def relaxed_s(self, goal: Goal, number: int, reach: float) -> float | None:
        """The smallest limit of an objective, up to `reach` times as long, that a cheaper fleet of the pool keeps."""
        return relaxed_limit_s(self.proven_fleet(goal), self.stage, (goal, number), reach)

    def cheapest_known(self, goal: Goal, keep: KeepChoice = keep_everything) -> Fleet | None:
        """The cheapest fleet of the pool that holds a goal; nothing is sized for it, and no other fleet simulated."""
        return _GoalSearch(self.stage, goal, keep, *self._kept(keep)).known()


class _GoalSearch:
    """One search. allowed: by model, the deployments that may be used.  options: those that may.

    best: of the fleets that hold the cheapest, of equally cheap ones that of fewest kinds, then of most slack.
    """

    def __init__(
        self, stage: FleetStage, goal: Goal, keep: KeepChoice, allowed: dict[int, Bools], options: Bools
    ) -> None:
        self.stage, self.goal, self.keep = stage, goal, keep
        self.allowed, self.options = allowed, options
        self.tried: list[Trial] = []
        self.best: Trial | None = None
        self._best_rank: tuple[float, int, float] = (np.inf, 0, 0.0)
        self.cut = False
        self._loaded: dict[tuple[object, ...], Fleet | None] = {}
        self.failed: dict[int, int] = {}
        self._focus: ServiceFocus | None = None
        self._tables: dict[int, KindTable] = {}

    @cached_property
    def loader(self) -> FleetLoader:
        """What loads units."""
        return self.stage.loader(self.goal)

    @cached_property
    def steady(self) -> Fleet:
        """The optimum of the steady state."""
        return self.sized(self.goal)

    def sized(self, goal: Goal) -> Fleet:
        """The optimum of the steady state for a goal."""
        return self.stage.problem.search.solve(goal, self.keep)

    def trial(self, fleet: Fleet, goal: Goal) -> Trial:
        """What simulating a fleet showed; it is remembered."""
        found = self.stage.trial(fleet, goal)
        self.tried.append(found)
        if found.holds and self._within_limits(fleet) and (rank := self._rank(found)) < self._best_rank:
            self.best, self._best_rank = found, rank
        return found

    def loaded(self, units: dict[int, Ints], like: Fleet) -> Fleet | None:
        """See `FleetLoader`: units that get the calls of a fleet."""
        key = (like.key, *((model, count.tobytes()) for model, count in sorted(units.items())))
        if key not in self._loaded:
            self._loaded[key] = self.loader.fleet(like, units)
        return self._loaded[key]

    def cost(self, fleet: Fleet) -> float:
        """What a fleet counts for: the objective, and the price of its further kinds."""
        return fleet.objective + self.goal.price_of_kinds(fleet.kinds)

    def _rank(self, trial: Trial) -> tuple[float, int, float]:
        return float(f"{self.cost(trial.fleet):.9g}"), trial.kinds, trial.excess

    @property
    def _most(self) -> float:
        return np.inf if self.best is None else self.cost(self.best.fleet)

    def _within_limits(self, fleet: Fleet) -> bool:
        goal = self.goal
        bought = float(fleet.bought.sum())
        taken = ((name, self.loader.taken(name, fleet.units) + bought * (name == "budget")) for name, _ in goal.limits)
        few = goal.most_kinds is None or fleet.kinds <= goal.most_kinds
        return few and all(
            amount <= most * (1 + EQUAL) for (_, amount), (_, most) in zip(taken, goal.limits, strict=True)
        )

    def is_cheaper(self, fleet: Fleet) -> bool:
        """Whether a fleet within all limits is cheaper than the best."""
        return self._within_limits(fleet) and self.cost(fleet) < self._most * (1 - EQUAL)

    def run(self) -> ProvenFleet:
        """The search; raises InfeasibleError as `FleetSearch.proven_fleet` does."""
        self.trial(self.steady, self.goal)
        self._try_known(self.is_kept)
        plain = self.stage.problem.quality is None
        if plain:
            self._count_kinds(KINDS)
        if self.best is None:
            grow_until_held(self)
        if self.best is None and (free := without_spending_limits(self.goal)) != self.goal:
            _GoalSearch(self.stage, free, self.keep, self.allowed, self.options).run()
            self._try_known(self.is_kept)
        if self.best is None:
            raise InfeasibleError("what holds in simulation is beyond the limits or the most kinds of the workload")
        try_named_fleets(self)
        if plain:
            self._try_mixes()
        else:
            share_anew(self)
            self._count_kinds_of_services()
            take_out_units(self)
            # Shares of questions are not counted through: only the steady state's price is known to be least.
            self.cut = self.best.fleet.objective > self.steady.objective * (1 + EQUAL)
        return self._proven(self.best)

    def _proven(self, best: Trial) -> ProvenFleet:
        share = self.goal.demand / best.goal.demand
        calls = {model: of_model * share for model, of_model in best.fleet.calls_per_s.items()}
        steady = self.steady
        fleet = replace(best.fleet, calls_per_s=calls, bound=steady.bound, considered=steady.considered)
        return ProvenFleet(
            best, fleet, replace(best.goal, demand=self.goal.demand), steady, tuple(self.tried), self.cut
        )

    def known(self) -> Fleet | None:
        """The cheapest of what the pool knows to hold."""
        self._try_known(self.is_kept)
        return None if self.best is None else self.best.fleet

    def _try_known(self, is_kept: Callable[[Fleet], bool]) -> None:
        """What the pool knows already, the cheapest first, until one holds: no plan is dearer than that."""
        known = [(self.cost(fleet), fleet, goal) for fleet, goal in self.stage.known(self.goal) if is_kept(fleet)]
        for cost, fleet, goal in sorted(known, key=lambda one: one[0]):
            if cost > self._most * (1 + EQUAL):
                return
            self.trial(fleet, goal)

    def is_kept(self, fleet: Fleet) -> bool:
        """Whether all that a fleet uses may be used."""
        rented = all(self.allowed[model][count.any(axis=0)].all() for model, count in fleet.units.items())
        return rented and bool(self.options[fleet.share[0].any(axis=0)].all())

    @property
    def _service(self) -> ServiceFocus:
        """The service whose kinds are tried: that of plain requests, or one of several."""
        return self._focus or ServiceFocus(next(iter(self.loader.markets)), self.steady)

    @property
    def _kinds(self) -> KindTable:
        """The deployments that carry all sizes of the service's calls."""
        model = self._service.model
        if model not in self._tables:
            self._tables[model] = self._kind_table(model)
        return self._tables[model]

    def _kind_table(self, model: int) -> KindTable:
        market, like = self.loader.markets[model], self._service.like.calls_per_s[model][0].sum(axis=1)
        fits = market.fits[like > 0].all(axis=0) & self.allowed[model]
        bare = self.stage.loader(replace(self.goal, targets=())).markets[model]
        load, least = ((one.finite * like[None, :, None]).sum(axis=1).max(axis=0) for one in (market, bare))
        rows = np.flatnonzero(fits)
        kept = np.isin(np.arange(len(fits)), rows[undominated_columns(market.only(rows), self.goal)])
        need = least * (1.0 if self.goal.sizing > 1.0 else LEAST_NEED)
        price, most = market.unit(self.goal.objective)[0], most_units(market, self.goal)
        beside = self.loader.beside(self._service.like, model)
        return KindTable(model, rows, price, beside, load, need, kept, most)

    def _count_kinds_of_services(self) -> None:
        """The least count of every kind of one service after the other, the others as they are in the best."""
        for model in sorted(self.steady.units):
            best = self.best
            if best is not None and model in best.fleet.units:
                self._focus = ServiceFocus(model, best.fleet)
                self._tables, self.failed = {}, {}
                self._count_kinds(SERVICE_KINDS)

    def _count_kinds(self, most_kinds: int) -> None:
        """The least count of every kind that holds, as far as it may be cheapest."""
        kinds, explored = self._kinds, Counter[bool]()
        for row in kinds.by_price(self.goal.spare).tolist():
            least, most = kinds.least_count(row), self._affordable(row)
            plain = self.stage.problem.space.offers[kinds.model].deployments[row].levers.is_plain
            if most is not None and most < least:
                continue
            if explored[plain] >= most_kinds:
                self.cut = True
                continue
            explored[plain] += 1
            if most is None:
                self._grow(row, max(kinds.steady_count(row), least))
            else:
                self._try_kind(row, least, most)

    def _try_kind(self, row: int, least: int, most: int) -> None:
        """The least count of a kind that holds, up to the largest that may be best. One that costs as much as the best
        is worth trying only where none that costs less holds, and its bound may leave more slack."""
        best, dearest = self.best, self._alone(row, most)
        assert best is not None
        if dearest is not None and self.cost(dearest) >= self.cost(best.fleet) * (1 - EQUAL):
            if most > least and self._holds(row, most - 1):
                self._bisect(row, least, most - 1)
            elif best.kinds > 1 or not self.stage.is_beyond(dearest, self._widest(row), best.excess):
                self._holds(row, most)
        elif self._holds(row, most):
            self._bisect(row, least, most)

    def _widest(self, row: int) -> Goal:
        """The goal with the largest batch cap of a kind."""
        return self.goal.aimed(float(self._aims(row)[-1]))

    def _affordable(self, row: int) -> int | None:
        """The largest count of a kind within the limits that is no dearer than the best that holds, or, where another
        replaces it, cheaper. `None` while nothing holds."""
        kinds, best = self._kinds, self.best
        if best is None:
            return None
        dearest = self.cost(best.fleet) * (1 + EQUAL * (1 if kinds.kept[row] else -1))
        room = (dearest - float(kinds.beside[row])) / float(kinds.price[row])
        return int(min(np.floor(room), kinds.most[row])) - self.goal.spare

    def _alone(self, row: int, count: int) -> Fleet | None:
        kinds = self._kinds
        units = np.zeros((1, len(kinds.price)), np.int64)
        units[0, row] = count + self.goal.spare
        like = self._service.like
        return self.loaded({**like.units, kinds.model: units}, like)

    def _holds(self, row: int, count: int) -> bool:
        """Whether so many units of a kind hold; of limits alone it may be too many."""
        fleet = self._alone(row, count)
        if fleet is None or not self._within_limits(fleet):
            return False
        holds = self._holds_at_some_cap(row, fleet, count)
        if not holds:
            self.failed[row] = max(self.failed.get(row, 0), count)
        return holds

    def _holds_at_some_cap(self, row: int, fleet: Fleet, count: int) -> bool:
        """Whether a fleet of one kind holds with the largest batch cap; or, where decoding alone is too slow at it and
        the steady state nearly carries the demand at less, with the largest that keeps the objectives there, or with
        one between. What runs does not depend on the limits, so that others are judged by it too."""
        aims = self._aims(row)
        high, low = len(aims) - 1, max(int(np.searchsorted(aims, 1.0 + 2 * EQUAL)) - 1, 0)
        first = self.trial(fleet, self.goal.aimed(float(aims[high])))
        if not is_slow(first) or low == high or count < LEAST_NEED * self._kinds.load[row]:
            return first.holds
        second = self.trial(fleet, self.goal.aimed(float(aims[low])))
        if second.holds or is_slow(second) or high - low < 2:
            return second.holds
        return self.trial(fleet, self.goal.aimed(float(aims[(low + high) // 2]))).holds

    def _aims(self, row: int) -> Floats:
        """The least share of all objectives that each batch cap of a kind keeps in the steady state, ascending. Where
        caps change what is minimised, that of the objectives themselves."""
        table = self.stage.problem.space.offers[self._kinds.model].table
        shares = [table.latency_s[t.quantity, t.quantile][row] / t.most_s for t in self.goal.targets]
        if self.goal.objective != "usd" or not shares:
            return np.ones(1)
        least = np.max(shares, axis=0)[table.cap[row] > 0]
        return np.unique(np.maximum.accumulate(least[np.isfinite(least)])) * (1 + EQUAL)

    def _grow(self, row: int, count: int) -> None:
        """Counts from the steady state's on until one holds, then the least between."""
        failed, step, before = self._kinds.least_count(row) - 1, 1, np.inf
        most = GROWTH * count + 1
        while count <= most:
            if self._holds(row, count):
                self._bisect(row, failed + 1, count)
                return
            excess = self.tried[-1].excess
            if step > 2 and excess > BETTER * before:
                return
            failed, before, step, count = count, excess, 2 * step, count + step

    def _bisect(self, row: int, least: int, held: int) -> None:
        """The least count from `least` on, of which `held` is known to hold."""
        while least < held:
            middle = (least + held) // 2
            if self._holds(row, middle):
                held = middle
            else:
                least = middle + 1

    def named(self, goal: Goal) -> Fleet | None:
        """What the program names for a goal, if it is cheaper than the best."""
        fleet = self.stage.problem.search.cheaper(goal, self._most * (1 - EQUAL), self.keep)
        return None if fleet is None or self.cost(fleet) >= self._most * (1 - EQUAL) else fleet

    def _try_mixes(self) -> None:
        """Mixes of two kinds, those that most probably hold first, while one is cheaper than the best."""
        tried = 0
        while mix := next(self._mixes(), None):
            if tried == MIXES:
                self.cut = True
                return
            tried += 1
            fleet = self.loaded(mix, self.steady)
            if fleet is None:
                return
            try_caps(self, fleet)

    def _mixes(self) -> Iterator[dict[int, Ints]]:
        """Mixes that were not tried, cheaper than the best, and may carry the demand by what was seen."""
        kinds, most = self._kinds, self._most
        seen = {trial.fleet.key for trial in self.tried}
        carries, alike = kinds.most_carried(self.failed), dict[tuple[str, str, str], int]()
        for row in sorted(carries, key=lambda row: float(kinds.price[row]) / carries[row]):
            alike.setdefault(self._device(row), row)
        carries = {row: carries[row] for row in list(alike.values())[:PAIRED]}
        for count in likely_mixes(kinds, carries, most - self.goal.price_of_kinds(2), self.goal.spare):
            fleet = self.loaded({kinds.model: count}, self.steady)
            if fleet and fleet.key not in seen and self.is_cheaper(fleet):
                yield {kinds.model: count}

    def _device(self, row: int) -> tuple[str, str, str]:
        """What a kind is made of: others of the same add little to a mix with it, unless there are few of the one."""
        kind = self.stage.problem.space.offers[self._kinds.model].deployments[row]
        return kind.axes["accelerator"], kind.axes["layout"], kind.capacity if kind.offer.available else ""

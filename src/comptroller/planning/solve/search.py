"""A choice space made ready to be solved again and again for changing goals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import AxisValues, Bools, Demand, Fleet, Floats, Goal, Ints
from comptroller.planning.offer.choices import ChoiceSpace
from comptroller.planning.solve.bound import DualBound
from comptroller.planning.solve.case import OptionTable, ProgramCase
from comptroller.planning.solve.cheapest import SLACK, fleet_of_units, optimum, within
from comptroller.planning.solve.infeasible import require_latency, why_infeasible
from comptroller.planning.solve.option_dominance import undominated_options
from comptroller.planning.solve.program import pose
from comptroller.planning.solve.shrinkage import shrunk

KeepChoice = Callable[[AxisValues], bool]
"""Whether a choice, given by its values on every axis, may be made."""


def keep_everything(axes: AxisValues) -> bool:
    """Keep every choice."""
    return True


class PlanSearch:
    """The program of one hour over a choice space; what is asked again is not solved again.

    counts: how often each question counts, in a half or a resample of them; as often as in the space, if not given.
    mean: (classes, questions), weights of the questions in the mean of each class.  table: all options, their scores
    shrunk as the space says.
    """

    def __init__(self, space: ChoiceSpace, counts: Floats | None = None) -> None:
        self.space = space
        tasks, task = space.plays.tasks, space.plays.task
        of_class = np.stack([task == number for number in range(len(tasks))]).astype(float)
        for factor in (space.frequency, counts):
            of_class = of_class if factor is None else of_class * factor
        self.mean = of_class / of_class.sum(axis=1, keepdims=True)
        score = shrunk(self.mean @ space.score, space.weight, space.own_weight)
        calls = {m: (self.mean @ calls).reshape(*score.shape, -1) for m, calls in space.calls.items()}
        self.table = OptionTable(score, self.mean @ space.usd, calls)
        self._fleets: dict[tuple[Any, ...], Fleet | None] = {}
        self._undominated: dict[tuple[bytes, bool], Ints] = {}

    def solve(self, goal: Goal, keep: KeepChoice = keep_everything) -> Fleet:
        """The cheapest fleet (`solve.program` states the program).

        Raises:
            InfeasibleError: names the target that is out of reach and the best that is supported, or what binds.
        """
        fleet = self._optimum(goal, keep)
        if fleet is None:
            case, _ = self.case(goal, keep)
            raise InfeasibleError(why_infeasible(case, pose(case)))
        return fleet

    def cheaper(self, goal: Goal, most: float, keep: KeepChoice = keep_everything) -> Fleet | None:
        """The cheapest fleet if it costs less than `most`; `None` where none does, which a bound mostly shows."""
        try:
            return self._optimum(goal, keep, most)
        except InfeasibleError:
            return None

    def _optimum(self, goal: Goal, keep: KeepChoice, below: float = np.inf) -> Fleet | None:
        """The optimum, `None` where the limits leave no room, or nothing costs less than `below`."""
        case, options = self.case(goal, keep)
        markets = ((model, market.digest) for model, market in case.markets.items())
        key = (replace(goal, targets=()), below, options.tobytes(), *markets)
        if key not in self._fleets:
            best = optimum(case, below)
            self._fleets[key] = None if best is None else self._over_everything(best, case, options)
        return self._fleets[key]

    def within(self, goal: Goal, most: float) -> bool:
        """Whether any fleet holds a goal for no more than so much per hour."""
        try:
            return within(self.case(goal)[0], most)
        except InfeasibleError:
            return False

    def beyond(self, goal: Goal, most: float) -> tuple[Ints, dict[int, Ints]]:
        """Options, and by model deployments, of which a bound shows that no fleet with them costs as little as
        `most`."""
        case, options = self.case(goal)
        kept = DualBound(case).kept(most)
        gone = {}
        for model, market in case.markets.items():
            left = market.rows[kept.columns.get(model, np.zeros(0, np.int64))]
            gone[model] = np.setdiff1d(market.rows, left)
        return np.setdiff1d(options, options[kept.options]), gone

    def held(self, fleet: Fleet, goal: Goal) -> Fleet | None:
        """The same units at another goal, the questions shared anew; `None` where they do not hold it."""
        try:
            case, options = self.case(goal)
        except InfeasibleError:
            return None
        units = {
            model: fleet.units[model][:, market.rows]
            if model in fleet.units
            else np.zeros((1, len(market.rows)), np.int64)
            for model, market in case.markets.items()
        }
        rented = sum(int(count.sum()) for count in fleet.units.values())
        if sum(int(count.sum()) for count in units.values()) < rented:
            return None
        same = fleet_of_units(case, units)
        return None if same is None else self._over_everything(same, case, options)

    def case(self, goal: Goal, keep: KeepChoice = keep_everything) -> tuple[ProgramCase, Ints]:
        """The program of a goal among what may be kept, and the numbers of the options that are left in it.

        Raises:
            InfeasibleError: nothing meets the latency objectives, or a share to solve is out of reach.
        """
        options = np.array([keep(option.axes) for option in self.space.options])
        self._require_quality(goal, options)
        allowed = {model: self._allowed(model, keep) for model in self.space.offers}
        markets = {model: self.space.market(model, goal, allowed[model], self.used(model)) for model in allowed}
        served = options & self._served({model for model, market in markets.items() if market is not None})
        if options.any() and not served.any():
            require_latency(list(self.space.offers.values()), goal, list(allowed.values()))
        self._require_quality(goal, served)
        left = self.undominated(served, goal.ways.same)
        asked = frozenset[int]().union(*(self.space.own[option] for option in left.tolist()))
        kept = {model: market for model, market in markets.items() if market is not None and model in asked}
        calls = {model: self.table.calls[model][:, left][:, :, self.used(model)] for model in kept}
        table = OptionTable(self.table.score[:, left], self.table.usd[:, left], calls)
        demand = Demand(self.space.rate_per_s * goal.demand, self.space.plays.tasks, self.space.weight)
        return ProgramCase(demand, table, kept, replace(goal, demand=1.0 / goal.most_use)), left

    def used(self, model: int) -> Ints:
        """The buckets of a model that any option asks for."""
        return np.flatnonzero(self.table.calls[model].any(axis=(0, 1)))

    def tried(self, goal: Goal) -> tuple[Ints, Ints]:
        """The options whose own models can be served, and those of them that no other replaces."""
        everything = {model: self._allowed(model, keep_everything) for model in self.space.offers}
        some = {m for m, allowed in everything.items() if self.space.market(m, goal, allowed, self.used(m))}
        options = self._served(some)
        return np.flatnonzero(options), self.undominated(options, goal.ways.same)

    def undominated(self, options: Bools, same: bool = False) -> Ints:
        """The options of a mask that no other of them replaces. same: where classes are answered alike."""
        key = options.tobytes(), same
        if key not in self._undominated:
            left = np.flatnonzero(options)
            self._undominated[key] = undominated_options(self.space.own, self.table, left, same)
        return self._undominated[key]

    def replaces(self, option: int, other: int, number: int) -> bool:
        """Whether an option solves as much of a class as another, for no more dollars and calls of no model."""
        own, table = self.space.own, self.table
        if not own[option] <= own[other]:
            return False
        calls = (table.calls[model][number] for model in own[other])
        fewer = all(bool((of[option] <= of[other]).all()) for of in calls)
        cheaper = bool(table.usd[number, option] <= table.usd[number, other])
        return fewer and cheaper and bool(table.score[number, option] >= table.score[number, other])

    def _allowed(self, model: int, keep: KeepChoice) -> Bools:
        if keep is keep_everything:
            return np.ones(len(self.space.offers[model].deployments), bool)
        return np.array([keep(axes) for axes in self.space.axes[model]], bool)

    def _served(self, models: set[int]) -> Bools:
        """The options whose own devices are those of some models alone."""
        return np.array([own <= models for own in self.space.own], bool)

    def _over_everything(self, fleet: Fleet, case: ProgramCase, options: Ints) -> Fleet:
        """A fleet over what was left, told over everything there is."""
        share = np.zeros((1, *self.table.score.shape))
        share[:, :, options] = fleet.share
        units, calls = {}, {}
        for model, market in case.markets.items():
            if fleet.units[model].any():
                count = len(self.space.offers[model].deployments)
                units[model] = np.zeros((1, count), np.int64)
                units[model][:, market.rows] = fleet.units[model]
                calls[model] = np.zeros((1, self.space.buckets[model].count, count))
                calls[model][0][np.ix_(self.used(model), market.rows)] = fleet.calls_per_s[model][0]
        return replace(fleet, share=share, units=units, calls_per_s=calls)

    def _require_quality(self, goal: Goal, options: Bools) -> None:
        if not options.any():
            raise InfeasibleError("no way to answer is left")
        for name, least in goal.quality:
            reached = self.most_solved(name, goal, options)
            if reached < least - SLACK:
                of = f" of {name}" if name else ""
                raise InfeasibleError(
                    f"solving {least:.1%}{of} is not supported by the evidence; the best supported is "
                    f"{reached:.1%}, {self._best_options(name, options)}; measure other models or more samples"
                )

    def most_solved(self, name: str, goal: Goal, options: Bools | None = None) -> float:
        """The largest share of a class, or of all (the empty name), that the evidence supports, by some options."""
        some = np.ones(len(self.space.options), bool) if options is None else options
        if name:
            return float(self.table.score[self.space.plays.tasks.index(name), some].max())
        weight, score = self.space.weight, self.table.score[:, some]
        return float((weight @ score).max() if goal.ways.same else weight @ score.max(axis=1))

    def _best_options(self, name: str, options: Bools) -> str:
        lines = []
        for number, task in enumerate(self.space.plays.tasks):
            if name in ("", task):
                best = int(np.where(options, self.table.score[number], -np.inf).argmax())
                lines.append(f"{task + ': ' if task else ''}{describe_option(self.space, best)}")
        return "; ".join(lines[:4])


def describe_option(space: ChoiceSpace, number: int) -> str:
    """An option in one line: strategy, who plays, by which route."""
    option, models = space.options[number], space.plays.models
    who = " > ".join(f"{models[model]} ({option.routes[model]})" for model in option.play.models)
    return f"{option.play.strategy} by {who}"

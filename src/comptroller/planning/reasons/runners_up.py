"""The runner-up of every kind, the frontier, what the next dollar buys: the problem solved again beside its optimum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.nouns import AxisValues, Fleet, Goal
from comptroller.planning.ground.plan_document import FrontierPoint, RunnerUp
from comptroller.planning.ground.strategy_plays import StrategyPlay
from comptroller.planning.reasons.proof_reader import ChoiceSolver, ProofReader
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.planning.solve.description import LEAST_SHARE, describe_fleet, usd_per_h
from comptroller.planning.solve.infeasible import target_name
from comptroller.planning.solve.search import KeepChoice, PlanSearch, describe_option
from comptroller.quantities import short

LEVER_AXES = (
    "pools",
    "drafts",
    "adapters",
    "chunk_tokens",
    "clock",
    "offload",
    "steps",
    "poll_steps",
    "stream_interval",
)
REQUEST_AXES = ("accelerator", "layout", *LEVER_AXES, "format", "model", "engine", "site", "term")
QUESTION_AXES = ("strategy", "model", "route", "accelerator", "format", "engine", "site")
"""Axes on which a plan is held against its runners-up; of a plan for questions those that change what is answered come
first, and layout and term, which change nothing else, are left to `--explain`."""

LATENCY_FACTORS = (0.25, 0.35, 0.5, 0.7, 0.85, 1.0, 1.25, 1.6, 2.0, 3.0, 4.0)
"""Of an objective, where the frontier is solved: a factor of four on either side, as far as shadow prices look."""

SHARES = 12
"""Points of the frontier over shares solved."""

STEP = 0.005
"""Share of questions more, to see what the next dollar buys: one question of two hundred, so that a small benchmark
still sees a change."""

EQUAL = 1e-9
"""Relative difference in cost that counts as none: the gap of the optimum."""


@dataclass(frozen=True)
class NeighbouringFleets:
    """What was solved beside an optimum. dearer: what solves `STEP` more, if anything does."""

    best: Fleet
    runners_up: tuple[tuple[RunnerUp, Fleet | None], ...]
    frontier: tuple[tuple[FrontierPoint, Fleet], ...]
    dearer: Fleet | None

    @classmethod
    def of(cls, search: PlanSearch, goal: Goal, best: Fleet, proofs: ProofReader | None = None) -> NeighbouringFleets:
        """Solved once, for the reasons and for the rivals of the plan.

        proofs: what was simulated, where the best was. Rivals are then proven as it was; the frontier of shares solved,
        and what solves more, are the steady state's. Of plain requests the frontier is left to `frontier_of`: no reason
        rests on it.
        """
        rivals = tuple(runners_up(search, proofs or search, goal, best))
        if proofs is not None and not goal.quality:
            return cls(best, rivals, (), None)
        points = tuple(frontier(search, goal, best)) if goal.quality else ()
        return cls(best, rivals, points, dearer(search, goal, best) if goal.quality else None)

    @property
    def neighbours(self) -> tuple[Fleet | None, Fleet | None]:
        """The nearest of the frontier that solve less and more than the optimum, by `STEP` at least."""
        fleets = [fleet for _, fleet in self.frontier]
        less = [fleet for fleet in fleets if fleet.solved < self.best.solved - STEP]
        more = [fleet for fleet in fleets if fleet.solved > self.best.solved + STEP]
        return (
            max(less, key=lambda fleet: fleet.solved, default=None),
            min(more, key=lambda fleet: fleet.solved, default=None),
        )

    @property
    def rivals(self) -> tuple[Fleet, ...]:
        """Other plans that were found: runners-up, the neighbours on the frontier, and what solves a little more."""
        distinct = {self.best.key: self.best}
        for fleet in (*(fleet for _, fleet in self.runners_up), *self.neighbours, self.dearer):
            if fleet is not None:
                distinct.setdefault(fleet.key, fleet)
        return tuple(distinct.values())[1:]


def runners_up(
    search: PlanSearch, solver: ChoiceSolver, goal: Goal, best: Fleet
) -> list[tuple[RunnerUp, Fleet | None]]:
    """For every value that the plan uses on an axis: the best without it, if there is one, and why it lost.

    solver: what found the optimum. Proofs come one after the other, for they share what was simulated.
    """
    values = _values_in_use(search, best, QUESTION_AXES if goal.quality else REQUEST_AXES)
    solved = (partial(rival, search, solver, goal, best, what) for what in values)
    return side_by_side(solved) if solver is search else [each() for each in solved]


def keep_without(axis: str, value: str) -> KeepChoice:
    """Keep what does not have this value on the axis."""

    def keep(axes: AxisValues) -> bool:
        return value not in axes.get(axis, frozenset())

    return keep


def rival(
    search: PlanSearch, solver: ChoiceSolver, goal: Goal, best: Fleet, what: tuple[str, str]
) -> tuple[RunnerUp, Fleet | None]:
    """The best without a value of an axis, beside the optimum."""
    axis, value = what
    try:
        fleet = solver.solve(goal, keep_without(axis, value))
    except InfeasibleError as error:
        nothing = RunnerUp(
            axis=axis, without=value, choice="none", objective_per_h=None, excess=None, reason=str(error)
        )
        return nothing, None
    document = RunnerUp(
        axis=axis,
        without=value,
        choice=describe_fleet(search, fleet),
        objective_per_h=short(fleet.objective),
        excess=float(f"{_cost_in_choice(goal, fleet) / _cost_in_choice(goal, best) - 1:.4g}"),
        reason=_reason(search, goal, best, fleet),
    )
    return document, fleet


def _cost_in_choice(goal: Goal, fleet: Fleet) -> float:
    """What a fleet counts for in the choice."""
    return fleet.objective + goal.price_of_kinds(fleet.kinds)


def _reason(search: PlanSearch, goal: Goal, best: Fleet, fleet: Fleet) -> str:
    """Why it lost: what it solves for its cost, or price of a device hour and what a device carries."""
    more = amount(fleet.objective - best.objective, goal.objective)
    if goal.quality:
        return f"{more}/h more for {fleet.solved:.1%} solved"
    if fleet.objective < best.objective * (1 - EQUAL):
        return f"{amount(best.objective - fleet.objective, goal.objective)}/h less, for {fleet.kinds} kinds to run"
    if fleet.objective <= best.objective * (1 + EQUAL):
        return "equal cost; the chosen one has fewer kinds, more slack, or comes first in the order of the choices"
    price, carried, devices = zip(*(_per_device(search, one) for one in (best, fleet)), strict=True)
    return (
        f"{more}/h more: {devices[1]:g} devices instead of {devices[0]:g}; "
        f"a device costs {price[1] / price[0]:.2f}x and carries {carried[1] / carried[0]:.2f}x the requests"
    )


def _per_device(search: PlanSearch, fleet: Fleet) -> tuple[float, float, float]:
    """Dollars per device hour, requests per second and device, and devices."""
    units = {model: (search.space.offers[model].unit, count[0]) for model, count in fleet.units.items()}
    devices = sum(float((unit.devices * count).sum()) for unit, count in units.values())
    usd = sum(float((unit.usd_per_h * count).sum()) for unit, count in units.values())
    return usd / devices, search.space.rate_per_s / devices, devices


def _values_in_use(search: PlanSearch, best: Fleet, axes: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Values in use on axes that offer another."""
    space = search.space
    used = [space.options[number].axes for number in np.flatnonzero(best.share[0].sum(axis=0) > LEAST_SHARE)]
    offered = [option.axes for option in space.options]
    for model, values in space.axes.items():
        offered += values
        if model in best.units:
            used += [values[row] for row in np.flatnonzero(best.units[model][0])]
    for axis in axes:
        others = {value for values in offered for value in values.get(axis, ())}
        for value in dict.fromkeys(v for values in used for v in sorted(values.get(axis, ()))):
            if len(others) > 1:
                yield axis, value


def frontier_of(
    search: PlanSearch, goal: Goal, around: NeighbouringFleets, proofs: ProofReader | None = None
) -> Iterator[FrontierPoint]:
    """The points of the frontier: of questions those that reasons rest on, of plain requests those of the fleets that
    were simulated, or of the steady state where none were."""
    points = around.frontier
    if not goal.quality:
        points = tuple(frontier(search, goal, around.best) if proofs is None else known_frontier(search, proofs, goal))
    return (point for point, _ in points)


def frontier(search: PlanSearch, goal: Goal, best: Fleet) -> list[tuple[FrontierPoint, Fleet]]:
    """The cheapest at every share solved that the evidence supports, or at tighter and looser latency objectives.

    All other targets are as asked; what is infeasible is left out.
    """
    goals: list[tuple[Goal, LatencyTarget | None]] = []
    if goal.quality:
        top = search.most_solved("", goal)
        shares = np.linspace(min(0.5 * best.solved, top), top - 1e-9, SHARES).tolist()
        goals = [(replace(goal, quality=(("", least), *goal.quality[1:])), None) for least in shares]
    else:
        pairs = [(target, factor) for target in goal.targets for factor in LATENCY_FACTORS]
        goals = [_with_latency(goal, target, factor) for target, factor in pairs]
    points = side_by_side(partial(_point, search, other, moved) for other, moved in goals)
    return [point for point in points if point is not None]


def known_frontier(search: PlanSearch, proofs: ProofReader, goal: Goal) -> Iterator[tuple[FrontierPoint, Fleet]]:
    """The cheapest of the fleets that were simulated that holds, at tighter and looser latency objectives."""
    for target in goal.targets:
        for factor in LATENCY_FACTORS:
            other, moved = _with_latency(goal, target, factor)
            fleet = proofs.cheapest_known(other)
            if fleet is not None:
                yield _frontier_point(search, moved, fleet), fleet


def _with_latency(goal: Goal, target: LatencyTarget, factor: float) -> tuple[Goal, LatencyTarget]:
    moved = replace(target, most_s=target.most_s * factor)
    return replace(goal, targets=tuple(moved if one is target else one for one in goal.targets)), moved


def _point(search: PlanSearch, goal: Goal, moved: LatencyTarget | None) -> tuple[FrontierPoint, Fleet] | None:
    try:
        fleet = search.solve(goal)
    except InfeasibleError:
        return None
    return _frontier_point(search, moved, fleet), fleet


def _frontier_point(search: PlanSearch, moved: LatencyTarget | None, fleet: Fleet) -> FrontierPoint:
    return FrontierPoint(
        constraint="solved" if moved is None else target_name(moved),
        value=short(fleet.solved if moved is None else moved.most_s),
        usd_per_h=short(usd_per_h(search, fleet)),
        fleet=describe_fleet(search, fleet),
    )


def dearer(search: PlanSearch, goal: Goal, best: Fleet) -> Fleet | None:
    """The optimum that solves `STEP` more; `None` where nothing does."""
    try:
        return search.solve(replace(goal, quality=(("", best.solved + STEP), *goal.quality[1:])))
    except InfeasibleError:
        return None


def next_dollar(search: PlanSearch, best: Fleet, fleet: Fleet | None) -> str:
    """What one dollar per hour more buys at the optimum, on which class, and by which change; empty if nothing.

    fleet: what solves a little more.
    """
    if fleet is None:
        return "no money solves more of these questions: the evidence supports nothing better"
    paid = usd_per_h(search, fleet) - usd_per_h(search, best)
    if paid <= 0:
        return ""
    space = search.space
    moved = space.weight[:, None] * (fleet.share[0] - best.share[0])
    task, to = np.unravel_index(moved.argmax(), moved.shape)
    name, gone = space.plays.tasks[task], int(moved[task].argmin())
    how = _change(space.options[gone].play, space.options[to].play)
    where = f" on {name}" if name else ""
    points = (fleet.solved - best.solved) / paid * 100
    return (
        f"The next dollar per hour buys {points:.2g} points of solved questions: by {how}{where}, "
        f"{describe_option(space, int(to))} in place of {describe_option(space, gone)}"
    )


def _change(before: StrategyPlay, after: StrategyPlay) -> str:
    """What kind of change leads from one play to another."""
    if before.strategy == after.strategy and before.models == after.models:
        return "another way to serve the same calls"
    if set(after.models) == set(before.models):
        longer = len(after.calls.question) > len(before.calls.question)
        return "longer thinking" if longer else "another strategy"
    return "asking a further model" if set(before.models) < set(after.models) else "another model"


def greedy(search: PlanSearch) -> dict[str, tuple[float, float | None]]:
    """Share solved by one answer of each model, and the dollars per hour that it would be bought for."""
    space = search.space
    by_model: dict[str, tuple[float, float | None]] = {}
    for number, option in enumerate(space.options):
        if option.play.name == "once" and len(option.play.models) == 1:
            who = str(space.plays.models[option.play.models[0]])
            usd = None
            if "api" in option.routes.values():
                usd = short(float(space.weight @ search.table.usd[:, number]) * space.rate_per_s * 3600.0)
            if who not in by_model or usd is not None:
                by_model[who] = (short(float(space.weight @ search.table.score[:, number])), usd)
    return by_model

"""Why a joint plan is what it is: what it solves with which certainty, its rivals, and the frontier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.plan_document import FrontierPoint, PredictedFigure, RunnerUp
from comptroller.planning.offer.call_buckets import Kinds, kinds_of
from comptroller.planning.offer.options import Option
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.planning.risk.draws import ends
from comptroller.planning.risk.question_draws import LEAST
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.search import JointSearch, JointSolution, Keep, describe_way
from comptroller.planning.write.plan import describe
from comptroller.quantities import short

Floats = npt.NDArray[np.float64]

AXES = ("strategy", "model", "route", "accelerator", "format", "engine", "site")

SHOWN = 2
"""Ways named in a line; the rest are counted."""


def describe_solution(joint: JointSearch, found: JointSolution) -> str:
    """A solution in one line: what each strategy gets of the traffic, and the fleets."""
    gets = joint.ground.weight @ found.share
    order = [int(number) for number in np.argsort(-gets, kind="stable") if gets[number] > LEAST]
    ways = [f"{gets[number]:.0%} {describe_way(joint, number)}" for number in order[:SHOWN]]
    more = [f"{len(order) - SHOWN} more"] if len(order) > SHOWN else []
    fleets = []
    for arm, held in found.fleets.items():
        search = joint.ground.searches[arm]
        fleets.append(describe(search, held.units))
    return "; ".join([" + ".join([*ways, *more]), *fleets])


def figure(value: float, drawn: Floats) -> PredictedFigure:
    """A value with the 80 % interval of its draws, which holds it."""
    low, high = ends(drawn, value)
    return PredictedFigure(value=short(value), low=short(low), high=short(high))


def usd_per_h(joint: JointSearch, best: JointSolution) -> float:
    """Dollars per hour of rent and of what is bought."""
    ground = joint.ground
    bought = float(ground.weight @ np.nan_to_num(joint.usd * best.share).sum(axis=1)) * ground.rate_per_s * 3600.0
    rent = sum(float(ground.searches[a].unit.usd_per_h @ f.units) for a, f in best.fleets.items())
    return bought + rent


def greedy(joint: JointSearch) -> dict[str, tuple[float, float | None]]:
    """Share solved by one answer of each model, and the dollars per hour that it would be bought for."""
    ground = joint.ground
    found: dict[str, tuple[float, float | None]] = {}
    for number, way in enumerate(ground.ways):
        if way.option.name == "once" and len(way.option.arms) == 1:
            who = str(ground.choices.evidence.arms[way.option.arms[0]])
            usd = None
            if "api" in way.routes.values():
                usd = short(float(ground.weight @ joint.usd[:, number]) * ground.rate_per_s * 3600.0)
            if who not in found or usd is not None:
                found[who] = (short(float(ground.weight @ joint.score[:, number])), usd)
    return found


STEP = 0.005
"""Share of questions more, to see what the next dollar buys."""


def dearer(joint: JointSearch, goal: Goal, best: JointSolution) -> JointSolution | None:
    """The optimum that solves `STEP` more; `None` where nothing does."""
    try:
        return joint.solve(replace(goal, quality=(("", best.solved + STEP), *goal.quality[1:])))
    except InfeasibleError:
        return None


def next_dollar(joint: JointSearch, best: JointSolution, found: JointSolution | None) -> str:
    """What one dollar per hour more buys at the optimum, on which class, and by which change; empty if nothing.

    found: what solves a little more.
    """
    if found is None:
        return "no money solves more of these questions: the evidence supports nothing better"
    paid = usd_per_h(joint, found) - usd_per_h(joint, best)
    if paid <= 0:
        return ""
    moved = joint.ground.weight[:, None] * (found.share - best.share)
    task, to = np.unravel_index(moved.argmax(), moved.shape)
    name, gone = joint.ground.choices.tasks[task], int(moved[task].argmin())
    how = _how(joint.ground.ways[gone].option, joint.ground.ways[to].option)
    where = f" on {name}" if name else ""
    points = (found.solved - best.solved) / paid * 100
    return (
        f"The next dollar per hour buys {points:.2g} points of solved questions: by {how}{where}, "
        f"{describe_way(joint, int(to))} in place of {describe_way(joint, gone)}"
    )


def _how(before: Option, after: Option) -> str:
    """What kind of change leads from one option to another."""
    if before.strategy == after.strategy and before.arms == after.arms:
        return "another way to serve the same calls"
    if set(after.arms) == set(before.arms):
        return "longer thinking" if len(after.asked.question) > len(before.asked.question) else "another strategy"
    return "asking a further model" if set(before.arms) < set(after.arms) else "another model"


def runners_up(joint: JointSearch, goal: Goal, best: JointSolution) -> list[tuple[RunnerUp, JointSolution | None]]:
    """For every value that the plan uses on an axis: the best without it, if there is one, and why it lost."""
    return side_by_side(partial(rival, joint, goal, best, what, _without(*what)) for what in _values(joint, best))


def _without(axis: str, value: str) -> Keep:
    def keep(kinds: Kinds) -> bool:
        return value not in kinds.get(axis, frozenset())

    return keep


def rival(
    joint: JointSearch, goal: Goal, best: JointSolution, what: tuple[str, str], keep: Keep
) -> tuple[RunnerUp, JointSolution | None]:
    """The best among what may be kept, beside the optimum."""
    axis, value = what
    try:
        found = joint.solve(goal, keep)
    except InfeasibleError as error:
        nothing = RunnerUp(
            axis=axis, without=value, choice="none", objective_per_h=None, excess=None, reason=str(error)
        )
        return nothing, None
    more = amount(found.objective - best.objective, goal.objective)
    told = RunnerUp(
        axis=axis,
        without=value,
        choice=describe_solution(joint, found),
        objective_per_h=short(found.objective),
        excess=float(f"{found.objective / best.objective - 1:.4g}"),
        reason=f"{more}/h more for {found.solved:.1%} solved",
    )
    return told, found


def _values(joint: JointSearch, best: JointSolution) -> Iterator[tuple[str, str]]:
    """Values in use on axes that offer another."""
    ground = joint.ground
    used: list[Kinds] = [ground.ways[n].kinds for n in np.flatnonzero(best.share.sum(axis=0) > LEAST)]
    known: list[Kinds] = [way.kinds for way in ground.ways]
    for arm, search in ground.searches.items():
        known += [kinds_of(search, row) for row in range(len(search.table.candidates))]
        if arm in best.fleets:
            used += [kinds_of(search, int(row)) for row in np.flatnonzero(best.fleets[arm].units)]
    for axis in AXES:
        others = {value for kinds in known for value in kinds.get(axis, ())}
        for value in dict.fromkeys(v for kinds in used for v in sorted(kinds.get(axis, ()))):
            if len(others) > 1:
                yield axis, value


def frontier(joint: JointSearch, goal: Goal, best: JointSolution) -> list[tuple[FrontierPoint, JointSolution]]:
    """The cheapest at every share of questions solved that the evidence supports, the other targets as asked."""
    top = float(joint.ground.weight @ joint.score.max(axis=1))
    shares = np.linspace(min(0.5 * best.solved, top), top - 1e-9, 12).tolist()
    found = side_by_side(partial(_point, joint, goal, least) for least in shares)
    return [each for each in found if each is not None]


def _point(joint: JointSearch, goal: Goal, least: float) -> tuple[FrontierPoint, JointSolution] | None:
    try:
        found = joint.solve(replace(goal, quality=(("", least), *goal.quality[1:])))
    except InfeasibleError:
        return None
    point = FrontierPoint(
        constraint="solved",
        value=short(found.solved),
        usd_per_h=short(usd_per_h(joint, found)),
        fleet=describe_solution(joint, found),
    )
    return point, found


@dataclass(frozen=True)
class NeighbouringSolutions:
    """What was solved beside an optimum. dearer: what solves a little more, if anything does."""

    best: JointSolution
    runners_up: tuple[tuple[RunnerUp, JointSolution | None], ...]
    frontier: tuple[tuple[FrontierPoint, JointSolution], ...]
    dearer: JointSolution | None

    @classmethod
    def of(cls, joint: JointSearch, goal: Goal, best: JointSolution) -> NeighbouringSolutions:
        """Solved once, for the reasons and for the rivals of the plan."""
        rivals, points = tuple(runners_up(joint, goal, best)), tuple(frontier(joint, goal, best))
        return cls(best, rivals, points, dearer(joint, goal, best))

    @property
    def neighbours(self) -> tuple[JointSolution | None, JointSolution | None]:
        """The nearest of the frontier that solve less and more than the optimum, by `STEP` at least."""
        found = [each for _, each in self.frontier]
        less = [each for each in found if each.solved < self.best.solved - STEP]
        more = [each for each in found if each.solved > self.best.solved + STEP]
        return (
            max(less, key=lambda each: each.solved, default=None),
            min(more, key=lambda each: each.solved, default=None),
        )

    @property
    def rivals(self) -> tuple[JointSolution, ...]:
        """Other plans that were found: runners-up, the neighbours on the frontier, and what solves a little more."""
        found = [each for _, each in self.runners_up]
        distinct = {self.best.key: self.best}
        for each in (*found, *self.neighbours, self.dearer):
            if each is not None:
                distinct.setdefault(each.key, each)
        return tuple(distinct.values())[1:]

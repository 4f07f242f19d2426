"""Why a joint plan is what it is: what it solves with which certainty, its rivals, and the frontier."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from comptroller.errors import Infeasible
from comptroller.planning.document import describe
from comptroller.planning.joint import Joint, Keep, Kinds, Solution, describe_way, kinds_of
from comptroller.planning.joint_planner import JointProblem, targets_of
from comptroller.planning.joint_program import SLACK
from comptroller.planning.options import Option
from comptroller.planning.plan import Figure, Frontier, RunnerUp, Solving
from comptroller.planning.search import Goal
from comptroller.planning.shadow import amount
from comptroller.quantities import short

Floats = npt.NDArray[np.float64]

RESAMPLES = 2_000
"""Resamples of the questions behind an interval."""

AXES = ("strategy", "model", "route", "accelerator", "format", "engine", "site")

LEAST = 1e-6
"""Shares below this are left out of the document."""


SHOWN = 2
"""Ways named in a line; the rest are counted."""


def describe_solution(joint: Joint, found: Solution) -> str:
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


def figure(value: float, drawn: Floats) -> Figure:
    """A value with the 80 % interval of its draws."""
    low, high = np.quantile(drawn, (0.1, 0.9))
    return Figure(value=short(value), low=short(low), high=short(high))


@dataclass(frozen=True)
class Resampled:
    """Shares solved and API dollars per question, one entry per resample of the questions."""

    solved: Floats
    usd: Floats
    by_task: Floats


def resampled(joint: Joint, best: Solution, seed: int) -> Resampled:
    """The mixture on resamples of the questions, drawn within every class; by_task: (resamples, classes)."""
    ground = joint.ground
    rng = np.random.default_rng([seed, 1])
    questions = len(ground.choices.task)
    score, usd = np.zeros(questions), np.zeros(questions)
    for number in np.flatnonzero(best.share.sum(axis=0) > LEAST):
        share = best.share[ground.choices.task, number]
        score += share * ground.ways[number].option.score
        usd += share * np.nan_to_num(ground.ways[number].usd(questions))
    solved, spent = (np.zeros((RESAMPLES, len(ground.choices.tasks))) for _ in range(2))
    for task in range(len(ground.choices.tasks)):
        mine = np.flatnonzero(ground.choices.task == task)
        rows = mine[rng.integers(0, len(mine), (RESAMPLES, len(mine)))]
        solved[:, task], spent[:, task] = score[rows].mean(axis=1), usd[rows].mean(axis=1)
    return Resampled(solved @ ground.weight, spent @ ground.weight, solved)


def solving(problem: JointProblem, best: Solution) -> Solving:
    """What a solution solves beside its targets, with the evidence's uncertainty and what one answer would solve."""
    joint = problem.joint
    ground = joint.ground
    drawn = resampled(joint, best, problem.workload.seed)
    spent = usd_per_h(joint, best)
    own = spent - float(ground.weight @ (joint.usd * best.share).sum(axis=1)) * ground.rate_per_s * 3600.0
    per_solved = (own / 3600.0 / ground.rate_per_s + drawn.usd) / drawn.solved
    return Solving(
        target=problem.quality.solve.least,
        each=dict(targets_of(problem.quality)[1:]),
        confidence=problem.quality.confidence,
        predicted=figure(best.solved, drawn.solved),
        chance_met=short(chance_met(problem, drawn)),
        held_out=held_out(problem),
        next_dollar=next_dollar(joint, problem.goal, best),
        usd_per_solved=figure(spent / 3600.0 / ground.rate_per_s / best.solved, per_solved),
        questions=len(ground.choices.task),
        evidence=ground.choices.evidence.source,
        greedy=_greedy(joint),
    )


def chance_met(problem: JointProblem, drawn: Resampled) -> float:
    """Share of the resamples in which every target that was asked for holds."""
    tasks, met = problem.joint.ground.choices.tasks, np.ones(RESAMPLES, bool)
    for task, least in targets_of(problem.quality):
        met &= (drawn.by_task[:, tasks.index(task)] if task else drawn.solved) >= least - SLACK
    return float(met.mean())


HALVINGS = 8
"""Bisections of the margin that a confidence takes."""


def confident(problem: JointProblem) -> JointProblem:
    """The problem with its targets raised by the least margin at which they hold with the confidence asked for.

    Raises:
        Infeasible: no margin does; says what confidence the evidence supports at most.
    """
    wanted = problem.quality.confidence
    if wanted is None or _chance(problem, 0.0) >= wanted:
        return problem
    low, high = 0.0, _room(problem)
    if (most := _chance(problem, high)) < wanted:
        raise Infeasible(
            f"the targets do not hold with {wanted:.0%} confidence: {len(problem.joint.ground.choices.task):,} "
            f"questions support {most:.0%} at most; measure more questions or other models"
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _chance(problem, middle) >= wanted else (middle, high)
    return _raised(problem, high)


def _raised(problem: JointProblem, margin: float) -> JointProblem:
    quality = tuple((task, least + margin) for task, least in targets_of(problem.quality))
    return replace(problem, goal=replace(problem.goal, quality=quality))


def _chance(problem: JointProblem, margin: float) -> float:
    best = problem.joint.solve(_raised(problem, margin).goal)
    return chance_met(problem, resampled(problem.joint, best, problem.workload.seed))


def _room(problem: JointProblem) -> float:
    """The largest margin at which all targets can still be reached."""
    ground, best = problem.joint.ground, problem.joint.score.max(axis=1)
    reached = [
        float(best[ground.choices.tasks.index(task)] if task else ground.weight @ best) - least
        for task, least in targets_of(problem.quality)
    ]
    return max(min(reached) - SLACK, 0.0)


def usd_per_h(joint: Joint, best: Solution) -> float:
    """Dollars per hour of rent and of what is bought."""
    ground = joint.ground
    bought = (
        float(ground.weight @ np.nan_to_num(joint.usd * best.share).sum(axis=1)) * ground.rate_per_s * 3600.0
    )
    rent = sum(float(ground.searches[a].unit.usd_per_h @ f.units) for a, f in best.fleets.items())
    return bought + rent


def held_out(problem: JointProblem) -> float | None:
    """What a choice made on one half of the questions solves on the other half, mean of both ways round.

    `None` where a half does not support the target, or lacks a class.
    """
    joint = problem.joint
    found = joint.ground.choices
    order = np.random.default_rng([problem.workload.seed, 2]).permutation(len(found.task))
    ranked = order[np.argsort(found.task[order], kind="stable")]
    half = np.zeros(len(found.task))
    half[ranked[::2]] = 1.0
    values = []
    for told in (half, 1 - half):
        if len(np.unique(found.task[told > 0])) < len(found.tasks):
            return None
        try:
            chosen = Joint(joint.ground, told).solve(problem.goal)
        except Infeasible:
            return None
        judged = Joint(joint.ground, 1 - told)
        values.append(float(joint.ground.weight @ (judged.score * chosen.share).sum(axis=1)))
    return short(float(np.mean(values)))


def _greedy(joint: Joint) -> dict[str, tuple[float, float | None]]:
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


def next_dollar(joint: Joint, goal: Goal, best: Solution) -> str:
    """What one dollar per hour more buys at the optimum, on which class, and by which change; empty if nothing."""
    more = best.solved + STEP
    tried = replace(goal, quality=(("", more), *goal.quality[1:]))
    try:
        found = joint.solve(tried)
    except Infeasible:
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
        return (
            "longer thinking"
            if len(after.asked.question) > len(before.asked.question)
            else "another strategy"
        )
    return "asking a further model" if set(before.arms) < set(after.arms) else "another model"


def runners_up(joint: Joint, goal: Goal, best: Solution) -> Iterator[RunnerUp]:
    """For every value that the plan uses on an axis: the best without it, and why it lost."""
    for axis, value in _values(joint, best):
        yield rival(joint, goal, best, (axis, value), _without(axis, value))


def _without(axis: str, value: str) -> Keep:
    def keep(kinds: Kinds) -> bool:
        return value not in kinds.get(axis, frozenset())

    return keep


def rival(joint: Joint, goal: Goal, best: Solution, what: tuple[str, str], keep: Keep) -> RunnerUp:
    """The best among what may be kept, beside the optimum."""
    axis, value = what
    try:
        found = joint.solve(goal, keep)
    except Infeasible as error:
        return RunnerUp(
            axis=axis, without=value, choice="none", objective_per_h=None, excess=None, reason=str(error)
        )
    more = amount(found.objective - best.objective, goal.objective)
    return RunnerUp(
        axis=axis,
        without=value,
        choice=describe_solution(joint, found),
        objective_per_h=short(found.objective),
        excess=float(f"{found.objective / best.objective - 1:.4g}"),
        reason=f"{more}/h more for {found.solved:.1%} solved",
    )


def _values(joint: Joint, best: Solution) -> Iterator[tuple[str, str]]:
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


def frontier(joint: Joint, goal: Goal, best: Solution) -> Iterator[Frontier]:
    """The cheapest at every share of questions solved that the evidence supports, the other targets as asked."""
    top = float(joint.ground.weight @ joint.score.max(axis=1))
    low = min(0.5 * best.solved, top)
    for least in np.linspace(low, top - 1e-9, 12):
        tried = replace(goal, quality=(("", float(least)), *goal.quality[1:]))
        try:
            found = joint.solve(tried)
        except Infeasible:
            continue
        yield Frontier(
            constraint="solved",
            value=short(found.solved),
            usd_per_h=short(usd_per_h(joint, found)),
            fleet=describe_solution(joint, found),
        )

"""Constraints one by one: a goal without each of them, and the smallest set that cannot hold together."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.planning.search import LIMITS, Goal
from comptroller.planning.shadow import GoalSolver, S

Drop = Callable[[Goal], Goal]
"""The goal without one constraint."""

SHORT = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E"}


def constraints_of(goal: Goal) -> Iterator[tuple[str, Drop]]:
    """Every constraint of a goal in words, and how to drop it: latency targets, shares solved, limits, spares."""
    for target in goal.targets:
        label = f"{SHORT[target.quantity]} p{target.quantile * 100:g} <= {target.most_s * 1e3:g} ms"
        yield label, _without_target(target)
    for share in goal.quality:
        yield " ".join(filter(None, ("solved", share[0], f">= {share[1]:.1%}"))), _without_share(share)
    for limit in goal.limits:
        yield f"{limit[0]} <= {limit[1]:g} {LIMITS.get(limit[0], 'devices')}", _without_limit(limit)
    if goal.spare:
        yield f"{goal.spare} spare replicas", lambda goal: replace(goal, spare=0)


def _without_target(target: LatencyTarget) -> Drop:
    return lambda goal: replace(goal, targets=tuple(one for one in goal.targets if one != target))


def _without_share(share: tuple[str, float]) -> Drop:
    return lambda goal: replace(goal, quality=tuple(one for one in goal.quality if one != share))


def _without_limit(limit: tuple[str, float]) -> Drop:
    return lambda goal: replace(goal, limits=tuple(one for one in goal.limits if one != limit))


def solve_or_explain(solver: GoalSolver[S], goal: Goal) -> S:
    """The optimum of a goal.

    Raises:
        InfeasibleError: as the solver says, with the minimal set of constraints that cannot hold together.
    """
    try:
        return solver.solve(goal)
    except InfeasibleError as error:
        named = minimal_conflict(solver, goal)
        if len(named) > 1:
            raise InfeasibleError(
                f"{error}; these cannot hold together, any of them less could: {', '.join(named)}"
            ) from error
        raise


def minimal_conflict(solver: GoalSolver[S], goal: Goal) -> tuple[str, ...]:
    """A smallest set of constraints of an infeasible goal that is still infeasible, by deletion.

    Each constraint is dropped if the rest stays infeasible without it; what is left is irreducible (Chinneck and
    Dravnieks, ORSA Journal on Computing 3, 1991, the deletion filter). Empty where nothing is feasible at all.
    """
    kept = []
    for label, drop in constraints_of(goal):
        bare = drop(goal)
        if _feasible(solver, bare):
            kept.append(label)
        else:
            goal = bare
    return tuple(kept)


def _feasible(solver: GoalSolver[S], goal: Goal) -> bool:
    try:
        solver.solve(goal)
    except InfeasibleError:
        return False
    return True

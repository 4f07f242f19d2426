"""Why nothing fits: the row, load or latency that cannot be met, and the smallest set that cannot hold together."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.highs import EXACT, MixedIntegerProgram, solve
from comptroller.planning.ground.limit_names import LIMITS
from comptroller.planning.ground.nouns import Bools, Fleet, Goal
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.solve.case import ProgramCase
from comptroller.planning.solve.program import PosedProgram

GoalChange = Callable[[Goal], Goal]
"""The goal without one constraint."""

OVER_DAY = {"usd": "budget", "j": "energy", "gco2e": "carbon"}
"""What the most of an objective over the day is called."""

SHORT = {"ttft_s": "TTFT", "tpot_s": "TPOT", "e2e_s": "E2E"}


class GoalSolver(Protocol):
    """What can be solved for a goal; raises InfeasibleError where it cannot."""

    def solve(self, goal: Goal) -> Fleet:
        """The optimum of a goal."""
        ...


def why_infeasible(case: ProgramCase, posed: PosedProgram) -> str:
    """What leaves no fleet: targets out of reach, loads that nothing carries, or limits."""
    if beyond := "; ".join(_out_of_reach(case)):
        return beyond
    if stranded := list(_loads_without_deployment(case)):
        return f"nothing that is allowed, and outlasts an interruption, carries {', '.join(stranded)}"
    when = "day" if case.demand.hours > 1 or case.goal.over_day else "room"
    return f"the limits leave no {when}: " + _binding_limits(posed.program, case.goal)


def _out_of_reach(case: ProgramCase) -> Iterator[str]:
    score, weight = case.options.score, case.demand.weight
    best = score.max(axis=1)
    most = (weight @ score).max() if case.goal.ways.same else weight @ best
    for number, least in case.quality:
        reached = float(most if number is None else best[number])
        if reached < least - 1e-9:
            yield f"solving {least:.1%} in every hour is out of reach; the best supported is {reached:.1%}"


def _loads_without_deployment(case: ProgramCase) -> Iterator[str]:
    """Loads that no deployment carries: the interactive one where no option can do without it, and works."""
    closed = np.zeros(case.options.count, bool)
    for model, market in case.markets.items():
        interactive = market.fits[: market.buckets].all(axis=0) & (market.lost < 1)
        if not interactive.any():
            closed |= case.options.calls[model].any(axis=(0, 2))
        yield from (work for work in market.works if not market.fits[market.row(work)].any())
    if closed.all() and len(closed):
        yield "the interactive load"


def _binding_limits(program: MixedIntegerProgram, goal: Goal) -> str:
    """Limits without which there is a fleet, each with the least that would do; or that they conflict."""
    binding, names = [], []
    for row_name, rows in {**program.rows_of("day "), **program.rows_of("limit ")}.items():
        name, most, unit = _limit_of(row_name, goal)
        names.append(name)
        free = program.without_rows(rows)
        if len(rows) == 1:
            free = replace(free, cost=program.matrix[[rows[0]], :].toarray()[0])
        result = solve(free, EXACT)
        if result.values is not None:
            needs = f", needs {result.objective:.6g}" if len(rows) == 1 else ""
            binding.append(f"{name} (at most {most:.6g}{unit}{needs})")
    for rows in program.rows_of("kinds").values():
        names.append("most_kinds")
        if solve(program.without_rows(rows), EXACT).values is not None:
            binding.append(f"most_kinds (at most {goal.most_kinds})")
    return "; or ".join(binding) or f"{', '.join(names)} conflict with each other"


def _limit_of(row_name: str, goal: Goal) -> tuple[str, float, str]:
    """Name, most and unit of a limit."""
    span, _, name = row_name.partition(" ")
    if span == "day":
        return f"{OVER_DAY[name]} of the day", dict(goal.over_day)[name], ""
    return name, dict(goal.limits)[name], f" {LIMITS.get(name, 'devices')}"


def require_latency(offers: Sequence[DeploymentOffers], goal: Goal, keep: Sequence[Bools | None]) -> None:
    """Raise if no deployment at all meets the latency objectives.

    Raises:
        InfeasibleError: which objective binds, and the closest value that can be held.
    """
    if any(_meets(of_model, goal, kept) for of_model, kept in zip(offers, keep, strict=True)):
        return
    parts = []
    for target in goal.targets:
        others = [t for t in goal.targets if t is not target]
        pairs = zip(offers, keep, strict=True)
        least = min((of_model.table.least_latency_s(target, others, kept) for of_model, kept in pairs), default=np.inf)
        if np.isfinite(least):
            parts.append(
                f"{target_name(target)} <= {target.most_s * 1e3:g} ms binds; "
                f"the closest feasible value is {least / target.aim * 1e3:.4g} ms"
            )
    raise InfeasibleError("no candidate meets the objectives: " + ("; ".join(parts) or _jointly(goal)))


def _meets(offers: DeploymentOffers, goal: Goal, keep: Bools | None) -> bool:
    rate, _ = offers.table.best(goal.targets)
    if keep is not None:
        rate = np.where(keep[:, None], rate, 0.0)
    return bool((rate > 0).all(axis=1).any())


def _jointly(goal: Goal) -> str:
    if not goal.targets:
        return "nothing that is allowed fits its memory"
    wanted = ", ".join(f"{target_name(t)} {t.most_s * 1e3:g} ms" for t in goal.targets)
    return f"{wanted} conflict with each other, or nothing that is allowed fits its memory"


def target_name(target: LatencyTarget) -> str:
    """A latency objective's quantity and quantile, as `TTFT p95`."""
    return f"{SHORT[target.quantity]} p{target.quantile * 100:g}"


def constraints_of(goal: Goal) -> Iterator[tuple[str, GoalChange]]:
    """Every constraint of a goal in words, and how to drop it: latency targets, shares solved, limits, spares."""
    for target in goal.targets:
        yield f"{target_name(target)} <= {target.most_s * 1e3:g} ms", _without_target(target)
    for share in goal.quality:
        yield " ".join(filter(None, ("solved", share[0], f">= {share[1]:.1%}"))), _without_share(share)
    for limit in goal.limits:
        yield f"{limit[0]} <= {limit[1]:g} {LIMITS.get(limit[0], 'devices')}", _without_limit(limit)
    if goal.spare:
        yield f"{goal.spare} spare replicas", lambda goal: replace(goal, spare=0)


def _without_target(target: LatencyTarget) -> GoalChange:
    return lambda goal: replace(goal, targets=tuple(one for one in goal.targets if one != target))


def _without_share(share: tuple[str, float]) -> GoalChange:
    return lambda goal: replace(goal, quality=tuple(one for one in goal.quality if one != share))


def _without_limit(limit: tuple[str, float]) -> GoalChange:
    return lambda goal: replace(goal, limits=tuple(one for one in goal.limits if one != limit))


def solve_or_explain(solver: GoalSolver, goal: Goal) -> Fleet:
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


def minimal_conflict(solver: GoalSolver, goal: Goal) -> tuple[str, ...]:
    """A smallest set of constraints of an infeasible goal that is still infeasible, by deletion.

    Each constraint is dropped if the rest stays infeasible without it; what is left is irreducible (Chinneck and
    Dravnieks, ORSA Journal on Computing 3, 1991, the deletion filter). Empty where nothing is feasible at all.
    """
    kept = []
    for label, drop in constraints_of(goal):
        bare = drop(goal)
        if _is_feasible(solver, bare):
            kept.append(label)
        else:
            goal = bare
    return tuple(kept)


def _is_feasible(solver: GoalSolver, goal: Goal) -> bool:
    try:
        solver.solve(goal)
    except InfeasibleError:
        return False
    return True

"""Why not? The best plan that is held to one choice, what it costs more, and which constraint it loses on."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from comptroller.errors import InfeasibleError, InputError, UnknownIdError
from comptroller.planning.ground.nouns import AxisValues, Fleet, Goal
from comptroller.planning.reasons.proof_reader import STEADY, ChoiceSolver
from comptroller.planning.reasons.shadow_prices import amount
from comptroller.planning.solve.description import describe_fleet
from comptroller.planning.solve.infeasible import constraints_of
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import KeepChoice, keep_everything

MATTERS = 0.01
"""Share of the loss that a constraint has to explain to be named: less is rounding up to whole units."""

EQUAL = 1e-9
"""Relative difference in cost that counts as none: the gap of the optimum."""


@dataclass(frozen=True, slots=True)
class WhyNotExplanation:
    """The best with a choice, beside the best of all. excess: relative; loses_on: in words, empty if it is chosen."""

    axis: str
    value: str
    objective: str
    best_per_h: float
    with_per_h: float | None
    excess: float | None
    choice: str
    loses_on: str


def explain(
    problem: PlanningProblem, wanted: Iterable[str], solver: ChoiceSolver | None = None
) -> tuple[WhyNotExplanation, ...]:
    """What each choice, written axis=value, costs at its best.

    solver: what finds the best of all and with each choice, as the plan was found; the steady state where not given.

    Raises:
        InputError, UnknownIdError: a choice is not axis=value, or there is no such axis or value; lists what there is.
        InfeasibleError: there is no plan at all.
    """
    values = known_values(problem)
    choices = [_choice(values, text) for text in wanted]
    solver = solver or problem.search
    best = solver.solve(problem.goal)
    return tuple(_explanation(problem, solver, values, best, choice) for choice in choices)


def known_values(problem: PlanningProblem) -> dict[str, tuple[str, ...]]:
    """What may be chosen, by axis, in order."""
    every: list[AxisValues] = [option.axes for option in problem.space.options]
    for values in problem.space.axes.values():
        every += values
    axes = dict.fromkeys(axis for values in every for axis in values)
    return {axis: tuple(dict.fromkeys(v for each in every for v in sorted(each.get(axis, ())))) for axis in axes}


def _choice(known: dict[str, tuple[str, ...]], text: str) -> tuple[str, str]:
    axis, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value:
        raise InputError(f"--explain {text!r}: write axis=value, with an axis of {', '.join(known)}")
    if axis not in known:
        raise UnknownIdError("axis", axis, known)
    return axis, value


def _explanation(
    problem: PlanningProblem,
    solver: ChoiceSolver,
    known: dict[str, tuple[str, ...]],
    best: Fleet,
    choice: tuple[str, str],
) -> WhyNotExplanation:
    axis, value = choice
    if not any(is_meant(value, other) for other in known[axis]):
        return _document(problem, best, choice, None, _fell_out(problem, known, choice))
    keep = keep_only(axis, value)
    try:
        fleet = solver.solve(problem.goal, keep)
    except InfeasibleError as error:
        return _document(problem, best, choice, None, str(error))
    chosen = fleet.objective <= best.objective * (1 + EQUAL)
    lost = "" if chosen else _loses_on(problem, keep)
    return _document(
        problem, best, choice, fleet, lost if not lost or solver is problem.search else f"{lost} ({STEADY})"
    )


def _document(
    problem: PlanningProblem, best: Fleet, choice: tuple[str, str], fleet: Fleet | None, loses_on: str
) -> WhyNotExplanation:
    return WhyNotExplanation(
        *choice,
        problem.goal.objective,
        float(f"{best.objective:.6g}"),
        None if fleet is None else float(f"{fleet.objective:.6g}"),
        None if fleet is None else float(f"{fleet.objective / best.objective - 1:.4g}"),
        "none" if fleet is None else describe_fleet(problem.search, fleet),
        loses_on,
    )


def keep_only(axis: str, value: str) -> KeepChoice:
    """Keep what has this value on the axis, and what has no value there."""

    def keep(axes: AxisValues) -> bool:
        return axis not in axes or any(is_meant(value, other) for other in axes[axis])

    return keep


def is_meant(value: str, known: str) -> bool:
    """Whether a value is meant: as it is written, or by the format of its weights.

    >>> is_meant("fp8_e4m3", "w:fp8_e4m3 a:fp8_e4m3 kv:bf16"), is_meant("fp8", "w:fp8_e4m3 a:bf16 kv:bf16")
    (True, False)
    """
    return value == known or f"w:{value} " in f"{known} "


def _fell_out(problem: PlanningProblem, known: dict[str, tuple[str, ...]], choice: tuple[str, str]) -> str:
    """Why nothing has a value: what fell out before the search and names it."""
    axis, value = choice
    named = re.compile(rf"\b{re.escape(value)}\b")
    examples = problem.rejected.example.items()
    reasons = [f"{reason}: {text}" for reason, text in examples if named.search(text)]
    return "; ".join(reasons) or f"nothing that is allowed has it; there is {', '.join(known[axis])}"


def _loses_on(problem: PlanningProblem, keep: KeepChoice) -> str:
    """The constraint without which the choice would lose least in the steady state, or the price where none matters."""
    goal = problem.goal
    lost = _cost(problem, goal, keep) - _cost(problem, goal, keep_everything)
    freed = []
    for name, drop in constraints_of(goal):
        free = drop(goal)
        gap = _cost(problem, free, keep) - _cost(problem, free, keep_everything)
        freed.append((lost - gap, name))
    gained, name = max(freed, default=(0.0, ""))
    if gained > MATTERS * lost:
        return f"{name}: without it the choice would lose {amount(max(lost - gained, 0.0), goal.objective)}/h"
    return "price: it costs more for what it carries whatever the constraints"


def _cost(problem: PlanningProblem, goal: Goal, keep: KeepChoice) -> float:
    try:
        return problem.search.solve(goal, keep).objective
    except InfeasibleError:
        return np.inf

"""Why not? The best plan that is held to one choice, what it costs more, and which constraint it loses on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic

import numpy as np

from comptroller.errors import InfeasibleError, InputError, UnknownIdError
from comptroller.planning.offer.call_buckets import Kinds, kinds_of
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.question_offer import JointProblem
from comptroller.planning.reasons.runners_up import describe_solution
from comptroller.planning.reasons.shadow_prices import S, amount
from comptroller.planning.solve.fleet_search import Fleet, Goal
from comptroller.planning.solve.infeasible import constraints_of
from comptroller.planning.solve.search import JointSolution, Keep, keep_everything
from comptroller.planning.write.plan import PlanningProblem, describe


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


@dataclass(frozen=True)
class WhyNotQuestion(Generic[S]):
    """A problem to ask about: solved for a goal among what is kept. known: every choice, by axis."""

    goal: Goal
    solve: Callable[[Goal, Keep], S]
    line: Callable[[S], str]
    known: Sequence[Kinds]
    rejected: RejectionTally

    def values(self, axis: str) -> tuple[str, ...]:
        """What may be chosen on an axis, in order."""
        return tuple(dict.fromkeys(v for kinds in self.known for v in sorted(kinds.get(axis, ()))))

    @property
    def axes(self) -> tuple[str, ...]:
        """Axes that there are."""
        return tuple(dict.fromkeys(axis for kinds in self.known for axis in kinds))


def of_problem(problem: PlanningProblem) -> WhyNotQuestion[Fleet]:
    """The question of a plan for requests."""
    search = problem.search
    kinds: list[Kinds] = [
        {axis: frozenset((value,)) for axis, value in each.kinds.items()} for each in search.table.candidates
    ]

    def solve(goal: Goal, keep: Keep) -> Fleet:
        return search.solve(goal, np.array([keep(each) for each in kinds]))

    return WhyNotQuestion(problem.goal, solve, lambda fleet: describe(search, fleet.units), kinds, problem.rejected)


def of_joint(problem: JointProblem) -> WhyNotQuestion[JointSolution]:
    """The question of a plan with a quality target."""
    joint = problem.joint
    kinds: list[Kinds] = [way.kinds for way in joint.ground.ways]
    for search in joint.ground.searches.values():
        kinds += [kinds_of(search, row) for row in range(len(search.table.candidates))]
    return WhyNotQuestion(problem.goal, joint.solve, lambda x: describe_solution(joint, x), kinds, problem.rejected)


def explain(question: WhyNotQuestion[S], wanted: Iterable[str]) -> tuple[WhyNotExplanation, ...]:
    """What each choice, written axis=value, costs at its best.

    Raises:
        InputError, UnknownIdError: a choice is not axis=value, or there is no such axis or value; lists what there is.
        InfeasibleError: there is no plan at all.
    """
    choices = [_choice(question, text) for text in wanted]
    best = question.solve(question.goal, keep_everything)
    return tuple(_explanation_of(question, best, axis, value) for axis, value in choices)


def _choice(question: WhyNotQuestion[S], text: str) -> tuple[str, str]:
    axis, equals, value = (part.strip() for part in text.partition("="))
    if not equals or not value:
        raise InputError(f"--explain {text!r}: write axis=value, with an axis of {', '.join(question.axes)}")
    if axis not in question.axes:
        raise UnknownIdError("axis", axis, question.axes)
    return axis, value


def _explanation_of(question: WhyNotQuestion[S], best: S, axis: str, value: str) -> WhyNotExplanation:
    def told(found: S | None, loses_on: str) -> WhyNotExplanation:
        cost = None if found is None else float(f"{found.objective:.6g}")
        return WhyNotExplanation(
            axis,
            value,
            question.goal.objective,
            float(f"{best.objective:.6g}"),
            cost,
            None if found is None else float(f"{found.objective / best.objective - 1:.4g}"),
            "none" if found is None else question.line(found),
            loses_on,
        )

    if not any(_names(value, known) for known in question.values(axis)):
        return told(None, _fell_out(question, axis, value))
    keep = keep_only(axis, value)
    try:
        found = question.solve(question.goal, keep)
    except InfeasibleError as error:
        return told(None, str(error))
    if found.objective <= best.objective * (1 + 1e-9):
        return told(found, "")
    return told(found, _loses_on(question, keep, best, found))


def keep_only(axis: str, value: str) -> Keep:
    """Keep what has this value on the axis, and what has no value there."""

    def keep(kinds: Kinds) -> bool:
        return axis not in kinds or any(_names(value, known) for known in kinds[axis])

    return keep


def _names(value: str, known: str) -> bool:
    """Whether a value is meant: as it is written, or by the format of its weights.

    >>> _names("fp8_e4m3", "w:fp8_e4m3 a:fp8_e4m3 kv:bf16"), _names("fp8", "w:fp8_e4m3 a:bf16 kv:bf16")
    (True, False)
    """
    return value == known or f"w:{value} " in f"{known} "


def _fell_out(question: WhyNotQuestion[S], axis: str, value: str) -> str:
    """Why no candidate has a value: what fell out before the search and names it."""
    named = re.compile(rf"\b{re.escape(value)}\b")
    reasons = [f"{reason}: {text}" for reason, text in question.rejected.example.items() if named.search(text)]
    return "; ".join(reasons) or f"nothing that is allowed has it; there is {', '.join(question.values(axis))}"


def _loses_on(question: WhyNotQuestion[S], keep: Keep, best: S, found: S) -> str:
    """The constraint without which the choice would lose least, or the price where none matters."""
    goal, lost = question.goal, found.objective - best.objective
    freed = []
    for name, drop in constraints_of(goal):
        free = drop(goal)
        gap = _cost(question, free, keep) - _cost(question, free, keep_everything)
        freed.append((lost - gap, name))
    gained, name = max(freed, default=(0.0, ""))
    if gained > 0.01 * lost:
        return f"{name}: without it the choice would lose {amount(max(lost - gained, 0.0), goal.objective)}/h"
    return "price: it costs more for what it carries whatever the constraints"


def _cost(question: WhyNotQuestion[S], goal: Goal, keep: Keep) -> float:
    try:
        return question.solve(goal, keep).objective
    except InfeasibleError:
        return np.inf

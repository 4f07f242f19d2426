"""How far a share solved can be trusted: questions resampled, the choice's optimism, and halves held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.nouns import Bools, Fleet, Floats, Goal
from comptroller.planning.ground.risk_document import SelectionOptimism
from comptroller.planning.offer.space import quality_targets
from comptroller.planning.risk.question_draws import QuestionResamples, counts_of, resample_fleet
from comptroller.planning.solve.cheapest import SLACK
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.planning.solve.search import PlanSearch
from comptroller.quantities import short

CHOSEN_ON = 20
"""Resamples of the questions that a choice is made on to see its optimism: each is a plan of its own, and the mean of
20 is known to a fifth of their spread; 80 would make it a tenth at four times the time."""

HALVINGS = 8
"""Bisections of the margin that a confidence takes: to a 256th of the room, a few hundredths of a point."""


def draws_meeting_targets(problem: PlanningProblem, solved: Iterable[Floats], optimism: Mapping[str, float]) -> Bools:
    """In which draws every target that was asked for holds: the shares solved of each, less the optimism."""
    pairs = zip(solved, quality_targets(problem.quality), strict=True)
    held = [share - optimism[task] >= least - SLACK for share, (task, least) in pairs]
    return np.asarray(np.all(held, axis=0))


def chance_met(problem: PlanningProblem, drawn: QuestionResamples, optimism: Mapping[str, float]) -> float:
    """Share of the resamples in which every target holds."""
    tasks = problem.space.plays.tasks
    names = (task for task, _ in quality_targets(problem.quality))
    solved = (drawn.by_task[:, tasks.index(task)] if task else drawn.solved for task in names)
    return float(draws_meeting_targets(problem, solved, optimism).mean())


def with_confidence(problem: PlanningProblem) -> PlanningProblem:
    """The problem with its targets raised by the least margin at which they hold with the confidence asked for.

    The optimism is that at the targets themselves, and where it is larger there, that at the margin.

    Raises:
        InfeasibleError: no margin does; says what confidence the evidence supports at most.
    """
    if problem.quality is None or problem.quality.confidence is None:
        return problem
    selection = SelectionBootstrap(problem)
    first = selection.optimism(problem.goal)
    margin = margin_of(problem, first.solved)
    there = selection.optimism(with_raised_targets(problem, margin).goal)
    most = {task: max(value, there.solved[task]) for task, value in first.solved.items()}
    optimism = there.model_copy(update={"solved": most})
    return replace(with_raised_targets(problem, margin_of(problem, most)), optimism=optimism)


def margin_of(problem: PlanningProblem, optimism: Mapping[str, float]) -> float:
    """The least margin at which the targets hold with the confidence asked for, less an optimism by task.

    Raises:
        InfeasibleError: as `with_confidence`.
    """
    assert problem.quality is not None
    wanted = problem.quality.confidence or 0.0
    if _chance(problem, 0.0, optimism) >= wanted:
        return 0.0
    low, high = 0.0, _room(problem)
    if (most := _chance(problem, high, optimism)) < wanted:
        raise InfeasibleError(
            f"the targets do not hold with {wanted:.0%} confidence: {len(problem.space.plays.task):,} "
            f"questions support {most:.0%} at most, {optimism['']:.1%} taken off for choosing on them; "
            "measure more questions or other models"
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _chance(problem, middle, optimism) >= wanted else (middle, high)
    return high


def with_raised_targets(problem: PlanningProblem, margin: float) -> PlanningProblem:
    """The problem with all its targets higher by a margin."""
    quality = tuple((task, least + margin) for task, least in quality_targets(problem.quality))
    return replace(problem, goal=replace(problem.goal, quality=quality))


def _chance(problem: PlanningProblem, margin: float, optimism: Mapping[str, float]) -> float:
    best = problem.search.solve(with_raised_targets(problem, margin).goal)
    return chance_met(problem, resample_fleet(problem.search, best, problem.workload.seed), optimism)


def _room(problem: PlanningProblem) -> float:
    """The largest margin at which all targets can still be reached."""
    most = supported_shares(problem.search)
    return max(min(most[task] - least for task, least in quality_targets(problem.quality)) - SLACK, 0.0)


def supported_shares(search: PlanSearch) -> dict[str, float]:
    """The largest share solved that a search's questions support, by task and over all (the empty name)."""
    best = search.table.score.max(axis=1)
    by_task = dict(zip(search.space.plays.tasks, best.tolist(), strict=True))
    return {**by_task, "": float(search.space.weight @ best)}


class SelectionBootstrap:
    """A choice made again on resamples of the questions, the same ones for every goal."""

    def __init__(self, problem: PlanningProblem) -> None:
        self._search, rng = problem.search, np.random.default_rng([problem.workload.seed, 3])
        self._drawn = [PlanSearch(self._search.space, counts_of(self._search, rng)) for _ in range(CHOSEN_ON)]

    def optimism(self, goal: Goal) -> SelectionOptimism:
        """The mean over resamples of what a choice solves on the resample less what it solves on all questions.

        The bootstrap estimate (Efron, JASA 78, 1983; Harrell, Lee and Mark, Statistics in Medicine 15, 1996). What
        the choice on all questions happens to solve more on the same resample, which is 0 in the mean, is taken off:
        the luck of the resample, not of choosing. An estimate below 0 counts as 0.
        """
        best = self._search.solve(goal)
        gained = side_by_side(partial(self._gained, drawn, goal, best) for drawn in self._drawn)
        return self._document([by_class for by_class in gained if by_class is not None], goal)

    def _gained(self, drawn: PlanSearch, goal: Goal, best: Fleet) -> Floats | None:
        """On one resample: by class; `None` where nothing holds the goal there."""
        try:
            chosen = drawn.solve(reachable(drawn, goal))
        except InfeasibleError:
            return None
        return _more(drawn, self._search, chosen) - _more(drawn, self._search, best)

    def _document(self, gained: Sequence[Floats], goal: Goal) -> SelectionOptimism:
        search = self._search
        mean = np.mean(gained, axis=0) if gained else np.zeros(len(search.space.plays.tasks))
        solved = {"": float(search.space.weight @ mean)}
        solved |= {task: float(mean[search.space.plays.tasks.index(task)]) for task, _ in goal.quality if task}
        return SelectionOptimism(
            solved={task: short(max(value, 0.0)) for task, value in solved.items()},
            resamples=CHOSEN_ON,
            short=sum(reachable(drawn, goal) != goal for drawn in self._drawn),
            closed=CHOSEN_ON - len(gained),
        )


def reachable(search: PlanSearch, goal: Goal) -> Goal:
    """The goal, with targets that a search's questions do not support lowered to what they support at most."""
    most = supported_shares(search)
    quality = tuple((task, min(least, most[task] - SLACK)) for task, least in goal.quality)
    return replace(goal, quality=quality)


def _more(drawn: PlanSearch, search: PlanSearch, chosen: Fleet) -> Floats:
    """What a choice solves of each class on a resample less what it solves on all questions."""
    return np.asarray(((drawn.table.score - search.table.score) * chosen.share[0]).sum(axis=1))


def optimism_of(problem: PlanningProblem) -> SelectionOptimism:
    """That of the problem's choice: as it was found with its confidence, or at its goal."""
    return problem.optimism or SelectionBootstrap(problem).optimism(problem.goal)


def halves(problem: PlanningProblem) -> Iterator[Floats]:
    """Each question in one half of the questions or in the other, every class cut in two: 1 or 0, both ways round."""
    plays = problem.space.plays
    order = np.random.default_rng([problem.workload.seed, 2]).permutation(len(plays.task))
    ranked = order[np.argsort(plays.task[order], kind="stable")]
    half = np.zeros(len(plays.task))
    half[ranked[::2]] = 1.0
    yield half
    yield 1.0 - half


def held_out(problem: PlanningProblem) -> float | None:
    """What a choice made on one half of the questions solves on the other half, mean of both ways round.

    `None` where a half does not support the target, or lacks a class.
    """
    search, values = problem.search, []
    found = search.space.plays
    for half in halves(problem):
        if len(np.unique(found.task[half > 0])) < len(found.tasks):
            return None
        try:
            chosen = PlanSearch(search.space, half).solve(problem.goal)
        except InfeasibleError:
            return None
        judged = PlanSearch(search.space, 1 - half)
        values.append(float(search.space.weight @ (judged.table.score * chosen.share[0]).sum(axis=1)))
    return short(float(np.mean(values)))

"""How far a share solved can be trusted: questions resampled, the choice's optimism, and halves held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import numpy.typing as npt

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.executor import side_by_side
from comptroller.planning.ground.risk_document import SelectionOptimism
from comptroller.planning.offer.question_offer import JointProblem, targets_of
from comptroller.planning.risk.question_draws import QuestionResamples, counts_of, resample_solution
from comptroller.planning.solve.fleet_search import Goal
from comptroller.planning.solve.joint_program import SLACK
from comptroller.planning.solve.search import JointSearch, JointSolution
from comptroller.quantities import short

Floats = npt.NDArray[np.float64]

CHOSEN_ON = 20
"""Resamples of the questions that a choice is made on to see its optimism."""

HALVINGS = 8
"""Bisections of the margin that a confidence takes."""


def draws_meeting_targets(
    problem: JointProblem, solved: Iterable[Floats], optimism: Mapping[str, float]
) -> npt.NDArray[np.bool_]:
    """In which draws every target that was asked for holds: the shares solved of each, less the optimism."""
    pairs = zip(solved, targets_of(problem.quality), strict=True)
    held = [share - optimism[task] >= least - SLACK for share, (task, least) in pairs]
    return np.asarray(np.all(held, axis=0))


def chance_met(problem: JointProblem, drawn: QuestionResamples, optimism: Mapping[str, float]) -> float:
    """Share of the resamples in which every target holds."""
    tasks = problem.joint.ground.choices.tasks
    names = (task for task, _ in targets_of(problem.quality))
    solved = (drawn.by_task[:, tasks.index(task)] if task else drawn.solved for task in names)
    return float(draws_meeting_targets(problem, solved, optimism).mean())


def with_confidence(problem: JointProblem) -> JointProblem:
    """The problem with its targets raised by the least margin at which they hold with the confidence asked for.

    The optimism is that at the targets themselves, and where it is larger there, that at the margin.

    Raises:
        InfeasibleError: no margin does; says what confidence the evidence supports at most.
    """
    if problem.quality.confidence is None:
        return problem
    selection = SelectionBootstrap(problem)
    first = selection.optimism(problem.goal)
    margin = margin_of(problem, first.solved)
    there = selection.optimism(with_raised_targets(problem, margin).goal)
    most = {task: max(value, there.solved[task]) for task, value in first.solved.items()}
    told = there.model_copy(update={"solved": most})
    return replace(with_raised_targets(problem, margin_of(problem, most)), optimism=told)


def margin_of(problem: JointProblem, optimism: Mapping[str, float]) -> float:
    """The least margin at which the targets hold with the confidence asked for, less an optimism by task.

    Raises:
        InfeasibleError: as `with_confidence`.
    """
    wanted = problem.quality.confidence or 0.0
    if _chance(problem, 0.0, optimism) >= wanted:
        return 0.0
    low, high = 0.0, _room(problem)
    if (most := _chance(problem, high, optimism)) < wanted:
        raise InfeasibleError(
            f"the targets do not hold with {wanted:.0%} confidence: {len(problem.joint.ground.choices.task):,} "
            f"questions support {most:.0%} at most, {optimism['']:.1%} taken off for choosing on them; "
            "measure more questions or other models"
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if _chance(problem, middle, optimism) >= wanted else (middle, high)
    return high


def with_raised_targets(problem: JointProblem, margin: float) -> JointProblem:
    """The problem with all its targets higher by a margin."""
    quality = tuple((task, least + margin) for task, least in targets_of(problem.quality))
    return replace(problem, goal=replace(problem.goal, quality=quality))


def _chance(problem: JointProblem, margin: float, optimism: Mapping[str, float]) -> float:
    best = problem.joint.solve(with_raised_targets(problem, margin).goal)
    return chance_met(problem, resample_solution(problem.joint, best, problem.workload.seed), optimism)


def _room(problem: JointProblem) -> float:
    """The largest margin at which all targets can still be reached."""
    most = supported_shares(problem.joint)
    return max(min(most[task] - least for task, least in targets_of(problem.quality)) - SLACK, 0.0)


def supported_shares(joint: JointSearch) -> dict[str, float]:
    """The largest share solved that a search's questions support, by task and over all (the empty name)."""
    best = joint.score.max(axis=1)
    by_task = dict(zip(joint.ground.choices.tasks, best.tolist(), strict=True))
    return {**by_task, "": float(joint.ground.weight @ best)}


class SelectionBootstrap:
    """A choice made again on resamples of the questions, the same ones for every goal."""

    def __init__(self, problem: JointProblem) -> None:
        self._joint, rng = problem.joint, np.random.default_rng([problem.workload.seed, 3])
        self._drawn = [JointSearch(self._joint.ground, counts_of(self._joint, rng)) for _ in range(CHOSEN_ON)]

    def optimism(self, goal: Goal) -> SelectionOptimism:
        """The mean over resamples of what a choice solves on the resample less what it solves on all questions.

        The bootstrap estimate (Efron, JASA 78, 1983; Harrell, Lee and Mark, Statistics in Medicine 15, 1996). What
        the choice on all questions happens to solve more on the same resample, which is 0 in the mean, is taken off:
        the luck of the resample, not of choosing. An estimate below 0 counts as 0.
        """
        best = self._joint.solve(goal)
        gained = side_by_side(partial(self._gained, drawn, goal, best) for drawn in self._drawn)
        return self._told([each for each in gained if each is not None], goal)

    def _gained(self, drawn: JointSearch, goal: Goal, best: JointSolution) -> Floats | None:
        """On one resample: by class; `None` where nothing holds the goal there."""
        try:
            chosen = drawn.solve(reachable(drawn, goal))
        except InfeasibleError:
            return None
        return _more(drawn, self._joint, chosen) - _more(drawn, self._joint, best)

    def _told(self, gained: Sequence[Floats], goal: Goal) -> SelectionOptimism:
        joint = self._joint
        mean = np.mean(gained, axis=0) if gained else np.zeros(len(joint.ground.choices.tasks))
        solved = {"": float(joint.ground.weight @ mean)}
        solved |= {task: float(mean[joint.ground.choices.tasks.index(task)]) for task, _ in goal.quality if task}
        return SelectionOptimism(
            solved={task: short(max(value, 0.0)) for task, value in solved.items()},
            resamples=CHOSEN_ON,
            short=sum(reachable(drawn, goal) != goal for drawn in self._drawn),
            closed=CHOSEN_ON - len(gained),
        )


def reachable(joint: JointSearch, goal: Goal) -> Goal:
    """The goal, with targets that a search's questions do not support lowered to what they support at most."""
    most = supported_shares(joint)
    quality = tuple((task, min(least, most[task] - SLACK)) for task, least in goal.quality)
    return replace(goal, quality=quality)


def _more(drawn: JointSearch, joint: JointSearch, chosen: JointSolution) -> Floats:
    """What a choice solves of each class on a resample less what it solves on all questions."""
    return np.asarray(((drawn.score - joint.score) * chosen.share).sum(axis=1))


def optimism_of(problem: JointProblem) -> SelectionOptimism:
    """That of the problem's choice: as it was found with its confidence, or at its goal."""
    return problem.optimism or SelectionBootstrap(problem).optimism(problem.goal)


def halves(problem: JointProblem) -> Iterator[Floats]:
    """Each question in one half of the questions or in the other, every class cut in two: 1 or 0, both ways round."""
    found = problem.joint.ground.choices
    order = np.random.default_rng([problem.workload.seed, 2]).permutation(len(found.task))
    ranked = order[np.argsort(found.task[order], kind="stable")]
    half = np.zeros(len(found.task))
    half[ranked[::2]] = 1.0
    yield half
    yield 1.0 - half


def held_out(problem: JointProblem) -> float | None:
    """What a choice made on one half of the questions solves on the other half, mean of both ways round.

    `None` where a half does not support the target, or lacks a class.
    """
    joint, values = problem.joint, []
    found = joint.ground.choices
    for told in halves(problem):
        if len(np.unique(found.task[told > 0])) < len(found.tasks):
            return None
        try:
            chosen = JointSearch(joint.ground, told).solve(problem.goal)
        except InfeasibleError:
            return None
        judged = JointSearch(joint.ground, 1 - told)
        values.append(float(joint.ground.weight @ (judged.score * chosen.share).sum(axis=1)))
    return short(float(np.mean(values)))

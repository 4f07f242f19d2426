"""More of the same until it holds: fleets sized for more demand than asked, then for lower aims, simulated in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Protocol, TypeVar

import numpy as np

from comptroller.errors import InfeasibleError
from comptroller.planning.ground.nouns import Fleet, Goal, Trial
from comptroller.planning.solve.infeasible import target_name

ROUNDS = 24
"""Fleets that are simulated before giving up: demand may then have been raised 1.03 to the 24th, twofold, at the least
step. Twice as many cost twice the time before a workload that no fleet holds is refused."""

RAISE = (1.03, 1.5)
"""Least and most factor on the demand, or on what is aimed at, from one fleet to the next: smaller steps often end with
the same whole units, larger ones pass the cheapest fleet that holds, and bisections must find it again."""

PATIENCE = 4
"""Trials in a row that may end with the same fleet before the steps become longer: four least steps are 13 %, more than
what rounding up to whole units hides of a fleet of eight."""

STALL = 8
"""Fleets in a row that more demand made no better than one before them: more of the same does not help. Half as many
can be one bad draw after another; twice as many only delay the climb by lower aims, which `ROUNDS` ends in any case."""

HALVINGS = 3
"""How often the step towards lower aims is halved where no fleet keeps it: an eighth of it is one least step or
less."""

REFINEMENTS = 4
"""Bisections between the first fleet and one that holds: they leave a sixteenth of the way, less than one least step
for a fleet that had to be sized for half as much again. Each is one more fleet to simulate."""


class RehearsalStage(Protocol):
    """What is tried: fleets that can be sized for a goal, and simulated at the demand itself."""

    goal: Goal

    def sized(self, goal: Goal) -> Fleet:
        """The cheapest fleet for a goal."""
        ...

    def trial(self, fleet: Fleet, goal: Goal) -> Trial:
        """What simulating it showed of every objective."""
        ...


class HeldTrial(Protocol):
    """Something that was simulated: one fleet, or the hours of a day."""

    @property
    def holds(self) -> bool:
        """Whether every objective held."""
        ...


T = TypeVar("T", bound=HeldTrial)


def climb(first: T, following: Callable[[Sequence[T]], T | None], rounds: int) -> list[T]:
    """Trials from the first on, each sized by those before it, until one holds, none follows, or so many were made.

    following: the next trial, sized for more than the last; `None` where more of the same does not help.
    """
    trials = [first]
    while not trials[-1].holds and len(trials) < rounds:
        trial = following(trials)
        if trial is None:
            break
        trials.append(trial)
    return trials


def rehearse_until_held(stage: RehearsalStage, best: Fleet) -> list[Trial]:
    """Trials of the best and of what is sized for more, the last of which holds, and of some between.

    Demand for sizing climbs faster the further the bound is off, and faster still while it changes nothing. Where that
    helps no more, the climb begins anew with what failed aimed lower, which only faster choices keep. Once a choice
    holds, a few bisections look for a cheaper one between it and the first: whether fleets hold does not rise evenly
    with what they are sized for, since other kinds come and go on the way. What comes of it is where a search begins,
    and no optimum.

    Raises:
        InfeasibleError: nothing held within `ROUNDS` trials; says by how much the last one missed.
    """

    def with_more_demand(trials: Sequence[Trial]) -> Trial | None:
        return None if _has_stalled(trials) else _sized_trial(stage, _goal_with_more_demand(trials))

    larger = climb(stage.trial(best, stage.goal), with_more_demand, ROUNDS)
    lower = [] if larger[-1].holds else _trials_with_lower_aims(stage, larger)
    if lower and not lower[-1].holds:
        raise InfeasibleError(_nothing_held(larger[-1], lower[-1]))
    trials = [*larger, *lower[1:]]
    failed, held = trials[0], trials[-1]
    for _ in range(REFINEMENTS if failed is not held else 0):
        trial = _sized_trial(stage, _between(failed.goal, held.goal))
        trials.append(trial)
        if not trial.holds:
            failed = trial
        elif trial.usd_per_h <= held.usd_per_h:
            held = trial
    return trials


def _has_stalled(trials: Sequence[Trial]) -> bool:
    """Whether the last `STALL` fleets that were simulated are no better than one before them."""
    each = [trial.excess for trial in {trial.shown: trial for trial in trials}.values()]
    return len(each) > STALL and min(each[-STALL:]) >= min(each[:-STALL])


def _goal_with_more_demand(trials: Sequence[Trial]) -> Goal:
    """The goal of the last trial for more demand."""
    goal = trials[-1].goal
    return replace(goal, demand=goal.demand * _step(trials, trials[-1].excess ** 0.25))


def _goal_with_lower_aims(trials: Sequence[Trial], share: float) -> Goal:
    """The goal of the last trial with what failed aimed lower, by a share of what its bound is off."""
    goal = trials[-1].goal
    each = zip(goal.targets, trials[-1].seen, strict=False)
    lower = (t if x.holds else replace(t, aim=t.aim / _step(trials, x.excess) ** share) for t, x in each)
    return replace(goal, targets=tuple(lower))


def _trials_with_lower_aims(stage: RehearsalStage, larger: Sequence[Trial]) -> list[Trial]:
    """From the first trial on, what failed aimed lower, by smaller steps where nothing keeps that, at last with more
    demand; up to one that holds, if `ROUNDS` fleets were not simulated before."""
    halvings = 0

    def with_lower_aims(path: Sequence[Trial]) -> Trial | None:
        nonlocal halvings
        while halvings <= HALVINGS + 1:
            aims = halvings <= HALVINGS
            goal = _goal_with_lower_aims(path, 0.5**halvings) if aims else _goal_with_more_demand(path)
            try:
                return _sized_trial(stage, goal)
            except InfeasibleError:
                halvings += 1
        return None

    simulated = len({trial.shown for trial in larger})
    return climb(larger[0], with_lower_aims, ROUNDS - simulated + 1)


def _step(trials: Sequence[Trial], off: float) -> float:
    """A factor by how far the bound is off, squared with every further trial that changed nothing."""
    step = float(np.clip(off, *RAISE))
    same = sum(1 for _ in takewhile(lambda trial: trial.line == trials[-1].line, reversed(trials)))
    longer = 2.0 ** max(same - PATIENCE, 0)
    return float(min(step**longer, RAISE[1]))


def _between(failed: Goal, held: Goal) -> Goal:
    """A goal half-way from one to another in demand and in what is aimed at."""
    both = zip(failed.targets, held.targets, strict=True)
    targets = tuple(replace(mine, aim=(other.aim + mine.aim) / 2) for other, mine in both)
    return replace(held, demand=(failed.demand + held.demand) / 2, targets=targets)


def _sized_trial(stage: RehearsalStage, goal: Goal) -> Trial:
    return stage.trial(stage.sized(goal), goal)


def _nothing_held(larger: Trial, lower: Trial) -> str:
    """That nothing held: by how much the last trials missed."""
    text = f"no fleet held its percentiles in simulation, sized for {larger.goal.demand:.2f}x: {_miss_text(larger)}"
    aims = ", ".join(f"{target_name(t)} {t.sized_s * 1e3:.4g} ms" for t in lower.goal.targets if t.aim < 1)
    return f"{text}; sized for {aims}: {_miss_text(lower)}" if aims else text


def _miss_text(trial: Trial) -> str:
    return ", ".join(f"{target_name(x.target)} {x.upper_s * 1e3:.4g} ms" for x in trial.seen if not x.holds)

"""Is it really enough? What was chosen is simulated, and sized for more until its percentiles hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from math import prod
from typing import Generic, Protocol, TypeVar

import numpy as np

from comptroller.costs.capacity import LatencyTarget
from comptroller.errors import InfeasibleError
from comptroller.planning.plan import RehearsalRound, VerificationDocument
from comptroller.planning.search import Goal
from comptroller.planning.verify import RehearsalSettings, SimulatedQuantile
from comptroller.quantities import short

ROUNDS = 24
"""Fleets that are simulated before giving up."""

RAISE = (1.03, 1.5)
"""Least and most factor on the demand, or on what is aimed at, from one fleet to the next."""

PATIENCE = 4
"""Trials in a row that may end with the same fleet before the steps become longer."""

STALL = 8
"""Fleets in a row that more demand made no better than one before them: more of the same does not help."""

REFINEMENTS = 3
"""Bisections below the first fleet that holds."""

F = TypeVar("F")


class RehearsalStage(Protocol[F]):
    """What is tried: choices that can be sized for a demand, told, priced, and simulated at the demand itself."""

    goal: Goal
    requests: int

    def sized(self, goal: Goal) -> F:
        """The cheapest choice for a goal."""
        ...

    def line(self, fleet: F) -> str:
        """It in one line; equal lines are equal choices."""
        ...

    def usd_per_h(self, fleet: F) -> float:
        """Its price."""
        ...

    def seen(self, fleet: F, goal: Goal) -> tuple[SimulatedQuantile, ...]:
        """What simulating it showed of every objective."""
        ...


@dataclass(frozen=True, slots=True)
class Trial(Generic[F]):
    """A choice sized for a goal, with more demand or lower aims than asked, and what simulating the demand showed."""

    goal: Goal
    fleet: F
    line: str
    usd_per_h: float
    seen: tuple[SimulatedQuantile, ...]

    @property
    def holds(self) -> bool:
        """Whether every objective held."""
        return all(item.holds for item in self.seen)

    @property
    def excess(self) -> float:
        """The largest ratio of a bound to its objective."""
        return max((item.excess for item in self.seen), default=0.0)

    @property
    def shown(self) -> tuple[str, ...]:
        """The choice and its bounds to three digits: equal ones are told once."""
        return self.line, *(f"{item.upper_s:.3g}" for item in self.seen)

    @property
    def reach(self) -> tuple[float, float]:
        """How far the climb is: by what is aimed at, then by demand."""
        return 1.0 / prod(target.aim for target in self.goal.targets), self.goal.demand


@dataclass(frozen=True, slots=True)
class RehearsalProof(Generic[F]):
    """The choice that held, the goal it was sized for, what was seen of it, and the rounds that led there."""

    goal: Goal
    fleet: F
    seen: tuple[SimulatedQuantile, ...]
    document: VerificationDocument


def raise_until_proven(stage: RehearsalStage[F], best: F, rehearsal: RehearsalSettings) -> RehearsalProof[F]:
    """Simulate the best; while a percentile of a further draw may fail, size it for more demand.

    Demand for sizing climbs faster the further the bound is off, and faster still while it changes nothing. Where that
    helps no more, the climb begins anew with what failed aimed lower, which only faster choices keep. Once a choice
    holds, a few bisections look for a cheaper one below it.

    Raises:
        InfeasibleError: nothing held within `ROUNDS` trials; says by how much the last one missed.
    """
    raised = [_trial(stage, stage.goal, best)]
    while not raised[-1].holds and len(raised) < ROUNDS and not _has_stalled(raised):
        raised.append(_sized_trial(stage, raised, _goal_with_more_demand(raised)))
    aimed = [] if raised[-1].holds else _aimed_lower(stage, raised)
    if aimed and not aimed[-1].holds:
        raise InfeasibleError(_none(raised[-1], aimed[-1]))
    *failing, held = aimed or raised
    trials = [*raised, *aimed[1:]]
    for _ in range(REFINEMENTS if failing else 0):
        tried = _sized_trial(stage, trials, _between(failing[-1].goal, held.goal))
        trials.append(tried)
        if not tried.holds:
            failing.append(tried)
        elif tried.usd_per_h <= held.usd_per_h:
            held = tried
    document = _verification(stage, trials, held, rehearsal)
    return RehearsalProof(held.goal, held.fleet, held.seen, document)


def _has_stalled(trials: Sequence[Trial[F]]) -> bool:
    """Whether the last `STALL` fleets that were simulated are no better than one before them."""
    each = [trial.excess for trial in {trial.shown: trial for trial in trials}.values()]
    return len(each) > STALL and min(each[-STALL:]) >= min(each[:-STALL])


def _goal_with_more_demand(trials: Sequence[Trial[F]]) -> Goal:
    """The goal of the last trial for more demand."""
    goal = trials[-1].goal
    return replace(goal, demand=goal.demand * _step(trials, trials[-1].excess ** 0.25))


def _goal_with_lower_aims(trials: Sequence[Trial[F]], share: float) -> Goal:
    """The goal of the last trial with what failed aimed lower, by a share of what its bound is off."""
    goal = trials[-1].goal
    each = zip(goal.targets, trials[-1].seen, strict=True)
    lower = (t if x.holds else replace(t, aim=t.aim / _step(trials, x.excess) ** share) for t, x in each)
    return replace(goal, targets=tuple(lower))


def _aimed_lower(stage: RehearsalStage[F], raised: Sequence[Trial[F]]) -> list[Trial[F]]:
    """From the first trial on, what failed aimed lower, by smaller steps where nothing keeps that, at last with more
    demand; up to one that holds, if `ROUNDS` fleets were not simulated before."""
    path, far = [raised[0]], 0
    room = ROUNDS - len({trial.shown for trial in raised})
    while not path[-1].holds and len(path) <= room and far <= REFINEMENTS + 1:
        goal = _goal_with_more_demand(path) if far > REFINEMENTS else _goal_with_lower_aims(path, 0.5**far)
        try:
            path.append(_sized_trial(stage, [*raised, *path], goal))
        except InfeasibleError:
            far += 1
    return path


def _step(trials: Sequence[Trial[F]], off: float) -> float:
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


def _sized_trial(stage: RehearsalStage[F], trials: Sequence[Trial[F]], goal: Goal) -> Trial[F]:
    """A trial of the choice for a goal; one that was tried before is not simulated again."""
    fleet = stage.sized(goal)
    line = stage.line(fleet)
    known = next((t for t in trials if t.line == line and t.goal.targets == goal.targets), None)
    return replace(known, goal=goal, fleet=fleet) if known else _trial(stage, goal, fleet)


def _trial(stage: RehearsalStage[F], goal: Goal, fleet: F) -> Trial[F]:
    return Trial(goal, fleet, stage.line(fleet), stage.usd_per_h(fleet), stage.seen(fleet, goal))


def _none(raised: Trial[F], aimed: Trial[F]) -> str:
    """That nothing held: by how much the last trials missed."""
    said = f"no fleet held its percentiles in simulation, sized for {raised.goal.demand:.2f}x: {_miss_text(raised)}"
    lower = ", ".join(f"{_label(t)} {t.sized_s * 1e3:.4g} ms" for t in aimed.goal.targets if t.aim < 1)
    return f"{said}; sized for {lower}: {_miss_text(aimed)}" if lower else said


def _miss_text(trial: Trial[F]) -> str:
    return ", ".join(f"{_label(x.target)} {x.upper_s * 1e3:.4g} ms" for x in trial.seen if not x.holds)


def _verification(
    stage: RehearsalStage[F], trials: Sequence[Trial[F]], held: Trial[F], rehearsal: RehearsalSettings
) -> VerificationDocument:
    climb = sorted((t for t in trials if t.reach <= held.reach), key=lambda t: t.reach, reverse=True)
    distinct = {trial.shown: trial for trial in climb}
    return VerificationDocument(
        draws=rehearsal.draws,
        requests_per_draw=stage.requests,
        confidence=rehearsal.confidence,
        steady_usd_per_h=short(trials[0].usd_per_h),
        added_usd_per_h=short(held.usd_per_h - trials[0].usd_per_h),
        rounds=tuple(
            RehearsalRound(
                sized_for=short(trial.goal.demand),
                usd_per_h=short(trial.usd_per_h),
                fleet=trial.line,
                upper_s=tuple(short(item.upper_s) for item in trial.seen),
                holds=trial.holds,
            )
            for trial in reversed(distinct.values())
        ),
    )


def _label(target: LatencyTarget) -> str:
    return f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"

"""Is it really enough? What was chosen is simulated, and sized for more demand until its percentiles hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Generic, Protocol, TypeVar

import numpy as np

from comptroller.errors import Infeasible
from comptroller.planning.capacity import Target
from comptroller.planning.plan import Round, Verification
from comptroller.planning.search import Goal
from comptroller.planning.verify import Rehearsal, Seen
from comptroller.quantities import short

ROUNDS = 24
"""Fleets that are simulated before giving up."""

RAISE = (1.03, 1.5)
"""Least and most factor on the demand from one fleet to the next."""

PATIENCE = 4
"""Trials in a row that may end with the same fleet before the steps become longer."""

REFINEMENTS = 3
"""Bisections below the first fleet that holds."""

F = TypeVar("F")


class Stage(Protocol[F]):
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

    def seen(self, fleet: F, goal: Goal) -> tuple[Seen, ...]:
        """What simulating it showed of every objective."""
        ...


@dataclass(frozen=True, slots=True)
class Trial(Generic[F]):
    """A choice sized for `goal.demand` times the demand, and what simulating the demand itself showed."""

    goal: Goal
    fleet: F
    line: str
    usd_per_h: float
    seen: tuple[Seen, ...]

    @property
    def holds(self) -> bool:
        """Whether every objective held."""
        return all(item.holds for item in self.seen)

    @property
    def excess(self) -> float:
        """The largest ratio of a bound to its objective."""
        return max((item.upper_s / item.target.most_s for item in self.seen), default=0.0)


@dataclass(frozen=True, slots=True)
class Proof(Generic[F]):
    """The choice that held, the goal it was sized for, what was seen of it, and the rounds that led there."""

    goal: Goal
    fleet: F
    seen: tuple[Seen, ...]
    document: Verification


def proven(stage: Stage[F], best: F, rehearsal: Rehearsal) -> Proof[F]:
    """Simulate the best; while a percentile of a further draw may fail, size it for more demand.

    Demand for sizing climbs faster the further the bound is off, and faster still while it changes nothing; once a
    choice holds, a few bisections look for a cheaper one below it.

    Raises:
        Infeasible: nothing held within `ROUNDS` trials; says by how much the last one missed.
    """
    trials = [_trial(stage, stage.goal, best)]
    while not trials[-1].holds and len(trials) < ROUNDS:
        trials.append(_sized(stage, trials, trials[-1].goal.demand * _step(trials)))
    if not trials[-1].holds:
        missed = ", ".join(
            f"{_label(x.target)} {x.upper_s * 1e3:.4g} ms" for x in trials[-1].seen if not x.holds
        )
        demand = trials[-1].goal.demand
        raise Infeasible(f"no fleet held its percentiles in simulation, sized for {demand:.2f}x: {missed}")
    held = trials[-1]
    for _ in range(REFINEMENTS if len(trials) > 1 else 0):
        failed = max(t.goal.demand for t in trials if not t.holds and t.goal.demand < held.goal.demand)
        trials.append(_sized(stage, trials, (failed + held.goal.demand) / 2))
        if trials[-1].holds and trials[-1].usd_per_h <= held.usd_per_h:
            held = trials[-1]
    document = _verification(stage, trials, held, rehearsal)
    return Proof(held.goal, held.fleet, held.seen, document)


def _step(trials: Sequence[Trial[F]]) -> float:
    """The factor on the demand: by how far the bound is off, squared with every further trial that changed nothing."""
    step = float(np.clip(trials[-1].excess ** 0.25, *RAISE))
    same = sum(1 for _ in takewhile(lambda trial: trial.line == trials[-1].line, reversed(trials)))
    longer = 2.0 ** max(same - PATIENCE, 0)
    return float(min(step**longer, RAISE[1]))


def _sized(stage: Stage[F], trials: Sequence[Trial[F]], demand: float) -> Trial[F]:
    """A trial of the choice for a demand; one that was tried before is not simulated again."""
    goal = replace(stage.goal, demand=demand)
    fleet = stage.sized(goal)
    known = next((t for t in trials if t.line == stage.line(fleet)), None)
    return replace(known, goal=goal, fleet=fleet) if known else _trial(stage, goal, fleet)


def _trial(stage: Stage[F], goal: Goal, fleet: F) -> Trial[F]:
    return Trial(goal, fleet, stage.line(fleet), stage.usd_per_h(fleet), stage.seen(fleet, goal))


def _verification(
    stage: Stage[F], trials: Sequence[Trial[F]], held: Trial[F], rehearsal: Rehearsal
) -> Verification:
    climb = sorted((t for t in trials if t.goal.demand <= held.goal.demand), key=lambda t: -t.goal.demand)
    distinct = {trial.line: trial for trial in climb}
    return Verification(
        draws=rehearsal.draws,
        requests_per_draw=stage.requests,
        confidence=rehearsal.confidence,
        steady_usd_per_h=short(trials[0].usd_per_h),
        added_usd_per_h=short(held.usd_per_h - trials[0].usd_per_h),
        rounds=tuple(
            Round(
                sized_for=short(trial.goal.demand),
                usd_per_h=short(trial.usd_per_h),
                fleet=trial.line,
                upper_s=tuple(short(item.upper_s) for item in trial.seen),
                holds=trial.holds,
            )
            for trial in reversed(distinct.values())
        ),
    )


def _label(target: Target) -> str:
    return f"{target.quantity[:-2].upper()} p{target.quantile * 100:g}"

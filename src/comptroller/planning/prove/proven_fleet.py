"""What a search for fleets found, and what its fleets tell about limits that were not asked."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from comptroller.planning.ground.limit_names import LIMITS
from comptroller.planning.ground.nouns import Fleet, Goal, Trial
from comptroller.planning.prove.arrivals import FAR, judge_draws, surely_beyond
from comptroller.planning.prove.kind_table import EQUAL
from comptroller.planning.prove.stage import FleetStage


@dataclass(frozen=True, slots=True)
class ProvenFleet:
    """The cheapest fleet that held, the steady-state optimum it began from, and all that was tried for it.

    goal: as asked, with the aims of the fleet.  cut: the search stopped before all that might be cheaper was tried.
    """

    trial: Trial
    fleet: Fleet
    goal: Goal
    steady: Fleet
    tried: tuple[Trial, ...]
    cut: bool


def relaxed_limit_s(proof: ProvenFleet, stage: FleetStage, limit: tuple[Goal, int], reach: float) -> float | None:
    """The smallest limit of an objective, up to `reach` times as long, that a cheaper fleet of a search keeps.

    limit: the goal, and the number of the objective. What cannot keep less than was found is not simulated to the end.
    """
    goal, number = limit
    targets, least_s = list(goal.targets), np.inf
    farthest = replace(targets[number], most_s=reach * targets[number].most_s)
    cheaper = [trial for trial in proof.tried if trial.fleet.objective < proof.fleet.objective * (1 - EQUAL)]
    for trial in sorted(cheaper, key=lambda trial: trial.seen[number].upper_s):
        record = stage.record(trial.fleet, trial.goal)
        targets[number] = replace(farthest, most_s=min(farthest.most_s, least_s / FAR))
        if surely_beyond(record, targets, stage.settings, FAR):
            continue
        targets[number] = farthest
        seen = judge_draws(record, targets, stage.settings)
        if all(item.holds for item in seen):
            least_s = min(least_s, seen[number].upper_s)
    return least_s if np.isfinite(least_s) else None


def is_slow(trial: Trial) -> bool:
    """Whether a fleet fails, and by its time per output token alone."""
    return not trial.holds and all(item.holds or item.target.quantity == "tpot_s" for item in trial.seen)


def without_spending_limits(goal: Goal) -> Goal:
    """A goal with no limit of money, power or carbon: what holds without one may keep it, though steps on the way to it
    need not."""
    return replace(goal, limits=tuple(limit for limit in goal.limits if limit[0] not in LIMITS))

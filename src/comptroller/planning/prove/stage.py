"""The stage of a proof: the fleets of a problem, simulated on draws of what arrives, and the pool of what they did."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.executor import SILENT, PlanProgress
from comptroller.planning.ground.nouns import Fleet, Goal, Trial
from comptroller.planning.prove.arrivals import DrawnOutcome, DrawRecord, RehearsalSettings, judge_draws, surely_beyond
from comptroller.planning.prove.question_draws import QuestionDraws
from comptroller.planning.prove.request_draws import RequestDraws
from comptroller.planning.solve.description import describe_fleet, usd_per_h
from comptroller.planning.solve.loading import FleetLoader
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.serving.jobs import require_columns
from comptroller.serving.policies import module
from comptroller.work.demand import recorded_trace
from comptroller.work.workload import Workload


def require_policies(workload: Workload) -> None:
    """Checks that the policies of a workload exist, and that its trace has the columns that they read.

    Raises:
        UnknownIdError: there is no such policy.
        InputError: a column is missing; names it.
    """
    chosen = workload.policies.by_decision
    for decision, name in chosen.items():
        module(decision, name)
    if scheduling := chosen.get("scheduling"):
        trace = recorded_trace(workload) if workload.trace and not workload.quality else None
        source = trace.source if trace else f"{workload.name}, a workload of questions or without a trace,"
        require_columns(scheduling, source, trace)


class ArrivalDraws(Protocol):
    """Independent draws of what arrives, to be simulated on a fleet. requests: of a draw."""

    requests: int

    def record(self, fleet: Fleet, goal: Goal) -> DrawRecord:
        """The objectives' quantiles, in seconds, draw by draw as each is simulated."""
        ...

    def first(self, fleet: Fleet, goal: Goal) -> DrawnOutcome:
        """The first draw on a fleet, request by request."""
        ...


@dataclass(frozen=True, slots=True)
class PooledFleet:
    """A fleet that was simulated, what its batch caps were sized for, and the record of its draws."""

    fleet: Fleet
    goal: Goal
    record: DrawRecord


class FleetStage:
    """Fleets of a problem, simulated at the demand itself; what ran once does not run again, whatever is asked of it.

    pool: every fleet that was simulated, by what ran: units, calls and batch caps.
    """

    def __init__(
        self,
        problem: PlanningProblem,
        best: Fleet,
        calibration: TimingCalibration,
        settings: RehearsalSettings,
        progress: PlanProgress = SILENT,
    ) -> None:
        self.problem, self.settings, self._progress = problem, settings, progress
        self.draws: ArrivalDraws = (
            RequestDraws(problem, calibration, settings)
            if problem.quality is None
            else QuestionDraws(problem, best, calibration, settings)
        )
        self.requests = self.draws.requests
        self.pool: dict[tuple[object, ...], PooledFleet] = {}
        self._loaders: dict[Goal, FleetLoader] = {}

    def line(self, fleet: Fleet) -> str:
        """A fleet in one line."""
        return describe_fleet(self.problem.search, fleet)

    def loader(self, goal: Goal) -> FleetLoader:
        """What loads units at the batch caps of a goal."""
        if goal not in self._loaders:
            self._loaders[goal] = FleetLoader(self.problem.search, goal)
        return self._loaders[goal]

    def trial(self, fleet: Fleet, goal: Goal) -> Trial:
        """What simulating a fleet, less its units in reserve, showed of every objective of a goal."""
        seen = judge_draws(self.record(fleet, goal), goal.targets, self.settings)
        return Trial(goal, fleet, self.line(fleet), usd_per_h(self.problem.search, fleet), seen)

    def first_draw(self, fleet: Fleet, goal: Goal) -> DrawnOutcome:
        """The first draw of a fleet, less its units in reserve, request by request."""
        return self.draws.first(_without_reserve(fleet, goal.spare), goal)

    def is_beyond(self, fleet: Fleet, goal: Goal, share: float) -> bool:
        """Whether few draws show that the bound of a fleet lies beyond a share of an objective of a goal."""
        return bool(goal.targets) and surely_beyond(self.record(fleet, goal), goal.targets, self.settings, share) > 0

    def record(self, fleet: Fleet, goal: Goal) -> DrawRecord:
        """The draws of a fleet, less its units in reserve, at the batch caps of a goal."""
        key = self._key(fleet, goal)
        if key not in self.pool:
            self._progress.phase(f"simulating fleets: {len(self.pool) + 1}, now {self.line(fleet)}")
            record = self.draws.record(_without_reserve(fleet, goal.spare), goal)
            self.pool[key] = PooledFleet(fleet, goal, record)
        return self.pool[key].record

    def headroom(self, trial: Trial) -> float:
        """How many times its demand a fleet carries in the steady state; once, where it rents nothing."""
        bare = replace(trial.goal.asked, demand=1.0, quality=())
        found = trial.goal.sizing * self.loader(bare).headroom(trial.fleet)
        return found if np.isfinite(found) else 1.0

    def known(self, goal: Goal) -> Iterator[tuple[Fleet, Goal]]:
        """Fleets of the pool that were simulated for the same objectives, with the goal that has their batch caps."""
        for pooled in list(self.pool.values()):
            if pooled.goal.spare == goal.spare and _names(pooled.goal) == _names(goal):
                pairs = zip(goal.targets, pooled.goal.targets, strict=True)
                targets = tuple(replace(asked, aim=sized.sized_s / asked.most_s) for asked, sized in pairs)
                yield pooled.fleet, replace(goal, targets=targets, demand=pooled.goal.demand)

    def _key(self, fleet: Fleet, goal: Goal) -> tuple[object, ...]:
        parts: list[object] = [*fleet.key, goal.spare, *_names(goal)]
        for model, calls in sorted(fleet.calls_per_s.items()):
            used = np.flatnonzero(fleet.units[model][0])
            table = self.problem.space.offers[model].table
            caps = table.cap[used, table.best(goal.targets)[1][used]]
            parts += [model, caps.tobytes(), np.round(calls[0][:, used] / goal.sizing, 6).tobytes()]
        return tuple(parts)


def _names(goal: Goal) -> list[tuple[str, float]]:
    """Quantities and quantiles of the objectives."""
    return [(target.quantity, target.quantile) for target in goal.targets]


def _without_reserve(fleet: Fleet, spare: int) -> Fleet:
    """The units that are left to serve when so many of each kind in use are lost."""
    if not spare:
        return fleet
    units = {model: np.maximum(count - spare * (count > 0), 0) for model, count in fleet.units.items()}
    return replace(fleet, units=units)

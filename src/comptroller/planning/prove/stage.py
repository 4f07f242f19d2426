"""The stage of a rehearsal: the fleets of a problem, simulated on draws of what arrives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Protocol

from comptroller.costs.timing import TimingCalibration
from comptroller.planning.ground.nouns import Fleet, Floats, Goal, SimulatedQuantile
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.prove.arrivals import RehearsalSettings, judge_draws, simulated_quantiles, traces
from comptroller.planning.prove.question_draws import QuestionDraws
from comptroller.planning.prove.services import services_of
from comptroller.planning.solve.description import describe_fleet, usd_per_h
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

    def quantiles(self, fleet: Fleet, goal: Goal) -> Iterator[Floats]:
        """The objectives' quantiles, in seconds, draw by draw as each is simulated."""
        ...


class RequestDraws:
    """Draws of plain requests: each goes to the service that the plan names for its size."""

    def __init__(self, problem: PlanningProblem, calibration: TimingCalibration, settings: RehearsalSettings) -> None:
        self._problem, self._calibration, self._seed = problem, calibration, settings.seed
        self.traces = traces(problem.workload, traffic_of(problem.workload), settings)
        self.requests = len(self.traces[0])

    def quantiles(self, fleet: Fleet, goal: Goal) -> Iterator[Floats]:
        """See `ArrivalDraws`."""
        services = [s for own in services_of(replace(self._problem, goal=goal), fleet).values() for s in own.services]
        library = self._problem.workload.library
        return simulated_quantiles(services, self._calibration, self.traces, goal.targets, self._seed, library)


class FleetStage:
    """Fleets of a problem: sized by its program, simulated at the demand itself."""

    def __init__(
        self, problem: PlanningProblem, best: Fleet, calibration: TimingCalibration, settings: RehearsalSettings
    ) -> None:
        self.goal, self._search, self._settings = problem.goal, problem.search, settings
        self.draws: ArrivalDraws = (
            RequestDraws(problem, calibration, settings)
            if problem.quality is None
            else QuestionDraws(problem, best, calibration, settings)
        )
        self.requests = self.draws.requests

    def sized(self, goal: Goal) -> Fleet:
        """The cheapest fleet for a goal."""
        return self._search.solve(goal)

    def line(self, fleet: Fleet) -> str:
        """A fleet in one line."""
        return describe_fleet(self._search, fleet)

    def usd_per_h(self, fleet: Fleet) -> float:
        """Its price at the demand itself."""
        return usd_per_h(self._search, fleet)

    def seen(self, fleet: Fleet, goal: Goal) -> tuple[SimulatedQuantile, ...]:
        """What simulating it showed of every objective."""
        return judge_draws(self.draws.quantiles(fleet, goal), goal.targets, self._settings)

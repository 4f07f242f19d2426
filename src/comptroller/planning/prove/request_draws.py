"""Draws of plain requests: each arrives by itself and goes to the service that the plan names for its size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from comptroller.costs.timing import TimingCalibration
from comptroller.planning.ground.nouns import Fleet, Floats, Goal
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.prove.arrivals import (
    DrawnOutcome,
    RehearsalSettings,
    draw_outcome,
    draw_quantiles,
    reader_of,
    traces,
)
from comptroller.planning.prove.services import services_of
from comptroller.planning.prove.simulated_fleet import StepTableCache, fleet_for_prefixes
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.jobs import fleet_for_trace


class RequestDraws:
    """Draws of plain requests: each goes to the service that the plan names for its size."""

    def __init__(self, problem: PlanningProblem, calibration: TimingCalibration, settings: RehearsalSettings) -> None:
        self._problem, self._seed = problem, settings.seed
        self._tables = StepTableCache(calibration, problem.workload.library)
        self.traces = traces(problem.workload, traffic_of(problem.workload), settings)
        self.requests = len(self.traces[0])

    def quantiles(self, fleet: Fleet, goal: Goal) -> Iterator[Floats]:
        """See `ArrivalDraws`."""
        services, ready = self._ready(fleet, goal)
        return draw_quantiles(ready, services, self.traces, goal.targets, self._seed)

    def first(self, fleet: Fleet, goal: Goal) -> DrawnOutcome:
        """See `ArrivalDraws`."""
        services, ready = self._ready(fleet, goal)
        draw = self.traces[0]
        outcome = draw_outcome(fleet_for_trace(ready, draw), services, draw, [self._seed, 0, 1])
        return DrawnOutcome(draw.arrival_s, reader_of(outcome), outcome)

    def _ready(self, fleet: Fleet, goal: Goal) -> tuple[list[ServiceDocument], SimulatedFleet]:
        """A fleet's services, and as they are simulated."""
        services = [s for own in services_of(replace(self._problem, goal=goal), fleet).values() for s in own.services]
        return services, fleet_for_prefixes(services, self._tables, self.traces[0])

"""Draws of plain requests, simulated once for all fleets that run alike."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.nouns import Fleet, Goal
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.offer.requests import traffic_of
from comptroller.planning.prove.arrivals import (
    DrawnOutcome,
    DrawRecord,
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
        self._records: dict[Hashable, DrawRecord] = {}

    def record(self, fleet: Fleet, goal: Goal) -> DrawRecord:
        """See `ArrivalDraws`. The same services, wherever they are rented, keep the same times and run once."""
        services = self._services(fleet, goal)
        key = (*((t.quantity, t.quantile) for t in goal.targets), *map(_what_runs, services))
        if key not in self._records:
            ready = self._ready(services)
            self._records[key] = DrawRecord(draw_quantiles(ready, services, self.traces, goal.targets, self._seed))
        return self._records[key]

    def first(self, fleet: Fleet, goal: Goal) -> DrawnOutcome:
        """See `ArrivalDraws`."""
        services, draw = self._services(fleet, goal), self.traces[0]
        outcome = draw_outcome(fleet_for_trace(self._ready(services), draw), services, draw, [self._seed, 0, 1])
        return DrawnOutcome(draw.arrival_s, reader_of(outcome), outcome)

    def _services(self, fleet: Fleet, goal: Goal) -> list[ServiceDocument]:
        return [s for own in services_of(replace(self._problem, goal=goal), fleet).values() for s in own.services]

    def _ready(self, services: list[ServiceDocument]) -> SimulatedFleet:
        return fleet_for_prefixes(services, self._tables, self.traces[0])


def _what_runs(service: ServiceDocument) -> Hashable:
    """Equal for services whose calls take the same times: a site gives one pool its prices and its grid alone, while
    caches between pools go over its network."""
    deployment = service.deployment
    if len(deployment.pools) == 1:
        deployment = deployment.model_copy(update={"site": ""})
    parts = tuple((part.input_tokens, part.output_tokens, part.share) for part in service.slices)
    return deployment.model_dump_json(), service.price.instance * (len(deployment.pools) > 1), service.batch, parts

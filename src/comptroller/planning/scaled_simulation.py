"""A plan's service under a trace while a policy starts and drains its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.start_up import StartUpTime, start_up
from comptroller.errors import InputError, UnsupportedError
from comptroller.planning.ground.plan_calibration import calibration_of_plan, replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.planning.service_simulation import ServedCalls, ServiceSimulation, replayed_trace
from comptroller.serving.elastic import ElasticOutcome, ReplicaPhase
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.scaling import ScalingSettings, scale
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace

MORE = 2
"""Times the plan's replicas that a policy may have where nothing else is said: a plan is sized for its own demand, and
twice it is what a policy can be wrong by."""


@dataclass(frozen=True, slots=True)
class ScalingConditions:
    """How a plan's service is scaled. start_up_s: until a replica takes calls; where not given, `start_up` of its
    weights from `weights_from`, the image pulled first or on the machine.  most: replicas, 0 for `MORE` times the
    plan's.  scale: times as fast as the trace was.  fill: share of what a replica can take that a policy fills.
    shifts: how often the trace is played, begun at another moment each time.  first: replicas at the start, 0 for the
    plan's.  share: of the calls that ours are to hold within the objectives."""

    start_up_s: float | None = None
    most: int = 0
    scale: float = 1.0
    weights_from: str = "object_store"
    image_pulled: bool = False
    fill: float = 1.0
    shifts: int = 1
    first: int = 0
    share: float = 0.95

    def __post_init__(self) -> None:
        if not (0 < self.fill < float("inf") and self.shifts >= 1 and self.first >= 0):
            raise InputError(
                f"scaling: fill {self.fill:g}, {self.shifts} shifts, {self.first} replicas at the start; allowed: "
                "above 0, from 1, from 0"
            )


@dataclass(frozen=True, eq=False)
class ScaledSimulation(ServiceSimulation):
    """What came of a trace on replicas that a policy starts and drains. start_up: its parts, where none was stated.

    again: the same of the trace begun at other moments.
    """

    plan: Plan
    trace: RequestTrace
    settings: ScalingSettings
    outcome: ElasticOutcome
    start_up: StartUpTime | None = None
    again: tuple[ScaledSimulation, ...] = ()

    @property
    def served(self) -> ServedCalls:
        """What came of the calls."""
        return self.outcome

    @property
    def starts(self) -> int:
        """How often a replica was started."""
        return sum(event.phase == ReplicaPhase.STARTING for event in self.outcome.events)

    @property
    def most_paid(self) -> int:
        """Most replicas paid for at once."""
        paid = most = self.settings.first
        for event in self.outcome.events:
            change = {ReplicaPhase.STARTING: 1, ReplicaPhase.OFF: -1}.get(event.phase, 0)
            paid += change
            most = max(most, paid)
        return most


def replica_targets(service: ServiceDocument) -> tuple[float, float]:
    """Calls a second that a replica takes within the objectives, by the plan's mix of sizes, and how many are then in
    flight (Little's law at the predicted times)."""
    rate = sum(part.rate_per_s * part.share for part in service.slices)
    busy = sum(part.rate_per_s * part.share / part.capacity_per_replica_per_s for part in service.slices)
    if not (rate > 0 and busy > 0):
        raise InputError(f"{service.id} carries no calls, so that nothing says what a replica of it is to take")
    tokens = sum(part.rate_per_s * part.share * part.output_tokens for part in service.slices) / rate
    target_per_s = rate / busy
    return target_per_s, target_per_s * (service.ttft_s.value + service.tpot_s.value * tokens)


def simulate_scaling(
    plan: Plan,
    trace: RequestTrace,
    policies: Sequence[str],
    conditions: ScalingConditions | None = None,
    calibration: TimingCalibration | None = None,
) -> tuple[ScaledSimulation, ...]:
    """Replay a trace on a plan's service under each of the policies, which begin with the plan's replicas.

    Raises:
        InputError: an unknown policy, fewer replicas allowed than the plan has, or requests that cannot be simulated.
        UnsupportedError: the plan has not one service in one pool, or buys from an API.
    """
    how = conditions or ScalingConditions()
    stage = scaling_stage(plan, how, calibration)
    replayed = replayed_trace(trace, how.scale)
    played = [replayed, *(begun_at(replayed, place / how.shifts) for place in range(1, how.shifts))]
    asked = [(each, stage.calls_of(each)) for each in played]

    def of(name: str) -> ScaledSimulation:
        settings = stage.settings(name, how.fill, how.first)
        runs = [stage.play(each, calls, settings) for each, calls in asked]
        return replace(runs[0], again=tuple(runs[1:]))

    return tuple(of(name) for name in policies)


@dataclass(frozen=True, eq=False)
class ScalingStage:
    """A plan's service on which traces are played under policies. fleet: as many replicas as there may be.

    first: of the plan.  per_s, in_flight: what a replica takes.  start_up: its parts, where none was stated.
    share: of the calls to hold.
    """

    plan: Plan
    fleet: SimulatedFleet
    first: int
    per_s: float
    in_flight: float
    start_up_s: float
    start_up: StartUpTime | None
    share: float = 0.95

    @property
    def most(self) -> int:
        """Replicas that there may be."""
        return len(self.fleet.replicas())

    def calls_of(self, trace: RequestTrace) -> CallTable:
        """The calls of a trace."""
        return calls_of(self.plan.services, trace, np.random.default_rng(0))

    def settings(self, policy: str, fill: float = 1.0, first: int = 0) -> ScalingSettings:
        """A policy that fills a share of each replica and begins with so many, the plan's where 0."""
        return ScalingSettings(
            policy, fill * self.in_flight, fill * self.per_s, first=first or self.first, most=self.most,
            start_up_s=self.start_up_s, fill=fill, share=self.share,
        )  # fmt: skip

    def play(self, trace: RequestTrace, calls: CallTable, settings: ScalingSettings) -> ScaledSimulation:
        """What comes of a trace, whose calls were made before."""
        return ScaledSimulation(self.plan, trace, settings, scale(self.fleet, calls, settings), self.start_up)


def scaling_stage(plan: Plan, how: ScalingConditions, calibration: TimingCalibration | None = None) -> ScalingStage:
    """The stage of a plan's one service.

    Raises:
        InputError: fewer replicas allowed than the fleet begins with.
        UnsupportedError: as `scaled_service`.
    """
    service = scaled_service(plan)
    planned = service.deployment.pools[0].replicas
    first = how.first or planned
    most = how.most or MORE * max(first, planned)
    if most < first:
        raise InputError(f"at most {most} replicas are fewer than the {first} of the plan")
    fleet = fleet_of_size(fleet_of(plan.services, calibration_of_plan(plan, calibration), plan.library, 0), most)
    parts = None if how.start_up_s is not None else service_start_up(plan, how.weights_from, how.image_pulled)
    start_up_s = parts.total_s if parts else float(how.start_up_s or 0.0)
    return ScalingStage(plan, fleet, planned, *replica_targets(service), start_up_s, parts, how.share)


def begun_at(trace: RequestTrace, share: float) -> RequestTrace:
    """The trace begun at a share of its span, right after a request, what was before it at its end: the same requests
    and gaps at other phases. It lasts as long as the trace, silence that lies at that share included.

    >>> gap = RequestTrace(np.array([0.0, 4.0, 10.0]), np.array([1, 2, 3]), np.array([1, 1, 1]))
    >>> begun_at(gap, 0.3).input_tokens, begun_at(gap, 0.3).arrival_s, begun_at(gap, 0.6).arrival_s
    (array([2, 1, 3]), array([ 4., 10., 10.]), array([ 6.,  6., 10.]))
    """
    turned = (trace.arrival_s - share * trace.span_s) % max(trace.span_s, 1e-9)
    order = np.argsort(turned, kind="stable")
    return replace(trace.take(order), arrival_s=turned[order] + (trace.span_s - turned.max()))


def scaled_service(plan: Plan) -> ServiceDocument:
    """The one service of a plan whose replicas may come and go.

    Raises:
        UnsupportedError: the plan has not one service in one pool, or buys from an API.
    """
    if plan.offers or len(plan.services) != 1 or len(plan.services[0].deployment.pools) != 1:
        raise UnsupportedError(f"plan {plan.name!r}: what is scaled is one service of one pool, and no API beside it")
    return plan.services[0]


def service_start_up(plan: Plan, weights_from: str, image_pulled: bool) -> StartUpTime:
    """The start-up of a replica of a plan's one service."""
    deployment = scaled_service(plan).deployment
    return start_up(replica_of_pool(deployment, deployment.pools[0], plan.library), weights_from, image_pulled)


def fleet_of_size(fleet: SimulatedFleet, replicas: int) -> SimulatedFleet:
    """The fleet with so many of its one service's replicas."""
    (service,) = fleet.services
    return replace(fleet, services=(replace(service, replicas=(service.replicas[0],) * replicas),))

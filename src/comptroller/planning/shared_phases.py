"""A plan's service under a trace as it is, and with prompts and tokens in two engines on shares of the same devices."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.timing import ReplicaTimer
from comptroller.errors import InputError, UnsupportedError
from comptroller.planning.ground.plan_calibration import calibration_of_plan, replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import ServiceDocument
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of, table_of
from comptroller.planning.scaled_simulation import scaled_service
from comptroller.planning.service_simulation import Floats, ServedCalls, ServiceSimulation, replayed_trace
from comptroller.serving.device_shares import DeviceShare, ShareCalibration, SharedDevices
from comptroller.serving.engine import simulate
from comptroller.serving.fleet import SimulatedFleet, SplitThresholds
from comptroller.serving.outcome import EngineOutcome
from comptroller.work.trace import RequestTrace

NO_BOUND = 1 << 40
"""Pending prompt tokens from which on another pool would be asked: there is none."""


@dataclass(frozen=True, slots=True)
class SharedPhaseConditions:
    """Rows beside the plain one. prompt_shares: of the multiprocessors, for prompts.  full_at: share of them from which
    on the memory bandwidth is full.  scale: times as fast as the trace was."""

    prompt_shares: tuple[float, ...] = ()
    full_at: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.full_at is not None and not 0 < self.full_at <= 1:
            raise InputError(f"--bandwidth-full-at {self.full_at:g}: allowed: above 0, to 1")
        if not all(0 < share < 1 for share in self.prompt_shares):
            raise InputError("--shared-phases: shares of the multiprocessors for prompts, each between 0 and 1")
        if (self.full_at is None) == bool(self.prompt_shares):
            raise InputError(
                "--shared-phases and --bandwidth-full-at go together: from which share of the multiprocessors on a "
                "device's memory bandwidth is full is published for none, and has to be stated"
            )

    @property
    def any(self) -> bool:
        """Whether there is any row beside the plain one."""
        return bool(self.prompt_shares)


@dataclass(frozen=True, eq=False)
class EngineLatencies:
    """Latencies of calls of which none is sent twice."""

    outcome: EngineOutcome

    def latency_s(self, name: str) -> Floats:
        """`ttft_s`, `tpot_s` or `e2e_s` of each call; NaN where it has none."""
        values: Floats = getattr(self.outcome, name)
        return values


@dataclass(frozen=True, eq=False)
class SharedPhaseSimulation(ServiceSimulation):
    """What came of a trace. prompt_share: of the multiprocessors; None for the service as it is."""

    plan: Plan
    prompt_share: float | None
    outcome: EngineOutcome

    @property
    def served(self) -> ServedCalls:
        """What came of the calls."""
        return EngineLatencies(self.outcome)


def simulate_shared_phases(
    plan: Plan, trace: RequestTrace, how: SharedPhaseConditions, calibration: TimingCalibration | None = None
) -> tuple[SharedPhaseSimulation, ...]:
    """Replay a trace on a plan's service as it is, then with each share of its devices for prompts (semi-PD, arXiv
    2504.19867). None keeps prefixes of one call for another.

    Raises:
        UnsupportedError: the plan has not one service in one pool, buys from an API, or has replicas that cannot be
            two engines.
        InputError: requests that cannot be simulated.
    """
    service = scaled_service(plan)
    _require_shareable(service)
    priced = calibration_of_plan(plan, calibration)
    fleet = fleet_of(plan.services, priced, plan.library, 0)
    calls = calls_of(plan.services, replayed_trace(trace, how.scale), np.random.default_rng(0))
    devices = _devices(plan, service, priced, how.full_at or 1.0)
    fleets: list[tuple[float | None, SimulatedFleet]] = [(None, fleet)]
    fleets += [(share, _with_pairs(fleet, devices, share)) for share in how.prompt_shares]
    return tuple(SharedPhaseSimulation(plan, share, simulate(one, calls)) for share, one in fleets)


def _require_shareable(service: ServiceDocument) -> None:
    deployment = service.deployment
    for what, is_there in (
        ("data-parallel ranks", deployment.pools[0].dp > 1),
        ("draft tokens", deployment.engine.speculation is not None),
        ("cache tiers", bool(deployment.cache_tiers)),
    ):
        if is_there:
            raise UnsupportedError(f"{service.id}: two engines on the same devices are not simulated with {what}")


def _devices(plan: Plan, service: ServiceDocument, priced: TimingCalibration, full_at: float) -> SharedDevices:
    pool = service.deployment.pools[0]

    def timer(share: DeviceShare) -> ReplicaTimer:
        return replica_timer(replica_of_pool(service.deployment, pool, plan.library), ShareCalibration(priced, share))

    def table(share: DeviceShare) -> StepTable:
        return table_of(service, pool, ShareCalibration(priced, share), plan.library)

    return SharedDevices(timer, table, full_at, float(service.deployment.engine.chunk_tokens))


def _with_pairs(fleet: SimulatedFleet, devices: SharedDevices, share: float) -> SimulatedFleet:
    """The fleet, two engines in place of every replica."""
    (service,), pair = fleet.services, devices.replicas((share,))
    members = tuple(replace(one, storage=unit) for unit in range(len(service.replicas)) for one in pair)
    split = SplitThresholds(NO_BOUND, pair[0].table.chunk_tokens)
    return replace(fleet, services=(replace(service, replicas=members),), split=split)

"""A plan's service under a trace while its replicas fault, are detected, and start again or are replaced."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.start_up import StartUpTime
from comptroller.errors import InputError
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.planning.scaled_simulation import fleet_of_size, scaled_service, service_start_up
from comptroller.planning.service_simulation import ServedCalls, ServiceSimulation, replayed_trace
from comptroller.serving.faults import FaultOutcome, FaultSettings, draw_faults, serve_with_faults
from comptroller.work.trace import RequestTrace

REPAIR_S = 86_400.0
"""Seconds until a broken node is back: a day, of a provider that mends or swaps it. At twice it a fleet without spares
lacks a replica for twice as long."""


@dataclass(frozen=True, slots=True)
class FaultConditions:
    """How a plan's service faults. device_s: of a device between two faults.  detect_s: one row for each.  start_up_s:
    where not given, reckoned, as for scaling.  repeat: how often the trace is played."""

    device_s: float
    detect_s: tuple[float, ...]
    repair_s: float = REPAIR_S
    spares: int = 0
    start_up_s: float | None = None
    repeat: int = 1
    scale: float = 1.0
    weights_from: str = "object_store"
    image_pulled: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not (self.device_s > 0 and self.repeat >= 1 and self.detect_s):
            raise InputError(
                f"faults {self.device_s:g} s apart, trace played {self.repeat} times; allowed: above 0 s, from 1"
            )


@dataclass(frozen=True, eq=False)
class FaultSimulation(ServiceSimulation):
    """What came of a trace on replicas that fault. fault_s: of a replica between two faults, infinite without any.

    span_s: of the arrivals.
    """

    plan: Plan
    settings: FaultSettings
    fault_s: float
    span_s: float
    outcome: FaultOutcome
    start_up: StartUpTime | None = None

    @property
    def served(self) -> ServedCalls:
        """What came of the calls."""
        return self.outcome.elastic

    @property
    def goodput_per_s(self) -> float:
        """Calls done within the objectives, per second of the arrivals."""
        return float(self.within.sum() / self.span_s) if self.span_s else 0.0


def simulate_faults(
    plan: Plan, trace: RequestTrace, conditions: FaultConditions, calibration: TimingCalibration | None = None
) -> tuple[FaultSimulation, ...]:
    """Replay a trace on a plan's service without faults, then with the same faults once for each time of detection.

    Raises:
        InputError: a condition out of range, or requests that cannot be simulated.
        UnsupportedError: the plan has not one service in one pool, or buys from an API.
    """
    how = conditions
    service = scaled_service(plan)
    pool = service.deployment.pools[0]
    parts = None if how.start_up_s is not None else service_start_up(plan, how.weights_from, how.image_pulled)
    start_up_s = parts.total_s if parts else float(how.start_up_s or 0.0)
    one = fleet_of(plan.services, calibration_of_plan(plan, calibration), plan.library, 0)
    fleet = fleet_of_size(one, pool.replicas + how.spares)
    replayed = replayed_trace(trace, how.scale, how.repeat)
    calls = calls_of(plan.services, replayed, np.random.default_rng(how.seed))
    span_s = float(replayed.arrival_s.max(initial=0.0))
    fault_s = how.device_s / (pool.devices // pool.replicas)
    faults = draw_faults(np.random.default_rng(how.seed), pool.replicas + how.spares, fault_s, span_s)
    rows = [((), np.inf, how.detect_s[0]), *((faults, fault_s, detect_s) for detect_s in how.detect_s)]
    found = []
    for hits, apart_s, detect_s in rows:
        settings = FaultSettings(pool.replicas, start_up_s, how.spares, detect_s, how.repair_s)
        outcome = serve_with_faults(fleet, calls, hits, settings)
        found.append(FaultSimulation(plan, settings, apart_s, span_s, outcome, parts))
    return tuple(found)


def replica_faults_per_day(simulations: Sequence[FaultSimulation]) -> float:
    """Faults a day of all replicas and spares, as drawn in the mean."""
    one = simulations[-1]
    return (one.settings.target + one.settings.spares) * 86_400.0 / one.fault_s

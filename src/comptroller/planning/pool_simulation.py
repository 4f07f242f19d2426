"""A plan's service under a trace in pools by the size of requests, each with a layout, replicas and a clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.pool_layouts import PoolConditions
from comptroller.planning.pool_stage import PoolStage
from comptroller.planning.prove.simulated_fleet import calls_of
from comptroller.planning.service_simulation import ServedCalls, ServiceSimulation, replayed_trace
from comptroller.serving.elastic_energy import emitted_gco2e, replica_j
from comptroller.serving.request_pools import PooledOutcome
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, eq=False)
class PoolSimulation(ServiceSimulation):
    """What came of a trace on pools under a policy. tp: of the layouts, in the order of their places."""

    plan: Plan
    trace: RequestTrace
    policy: str
    tp: tuple[int, ...]
    outcome: PooledOutcome

    @property
    def served(self) -> ServedCalls:
        """What came of the calls."""
        return self.outcome.elastic

    @property
    def energy_j(self) -> float:
        """Joules of all replicas while they were paid for."""
        return float(replica_j(self.outcome.elastic).sum())

    @property
    def gco2e(self) -> float:
        """Grams that those joules emit."""
        return emitted_gco2e(self.outcome.elastic)


def simulate_pools(
    plan: Plan,
    trace: RequestTrace,
    policies: Sequence[str],
    conditions: PoolConditions | None = None,
    calibration: TimingCalibration | None = None,
) -> tuple[PoolSimulation, ...]:
    """Replay a trace on a plan's service in pools under each of the policies.

    Raises:
        InputError: an unknown policy, a degree that cannot be had, too few devices, or requests that cannot be
            simulated.
        UnsupportedError: the plan has not one service in one pool, buys from an API, or has devices that cannot be
            priced at the policy's clocks.
    """
    how = conditions or PoolConditions()
    stage = PoolStage(plan, how, calibration_of_plan(plan, calibration))
    replayed = replayed_trace(trace, how.scale)
    calls = calls_of(plan.services, replayed, np.random.default_rng(0))
    return tuple(PoolSimulation(plan, replayed, name, stage.layouts.tp, stage.play(calls, name)) for name in policies)

"""A plan's service under a trace as it is, with second copies of late calls, and with coded copies of groups."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.prove.simulated_fleet import calls_of, fleet_of
from comptroller.planning.scaled_simulation import scaled_service
from comptroller.planning.service_simulation import ServedCalls, ServiceSimulation, replayed_trace
from comptroller.serving.berrut import amplification
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.hedge_timer import HedgeTimer
from comptroller.serving.redundancy import RedundantOutcome, serve_coded, serve_hedged
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, slots=True)
class RedundancyConditions:
    """Rows beside the plain one. delays_s: hedged after so long.  shares: hedged by the gateway's rule, for a share of
    the calls.  codes: (calls of a group, copies).  slowed: how many times as slow a neighbour makes the first
    replica."""

    delays_s: tuple[float, ...] = ()
    shares: tuple[float, ...] = ()
    codes: tuple[tuple[int, int], ...] = ()
    slowed: float = 1.0
    scale: float = 1.0

    def __post_init__(self) -> None:
        if any(not delay_s > 0 for delay_s in self.delays_s) or any(not 0 < share <= 0.5 for share in self.shares):
            raise InputError("hedging: a delay is above 0 s, a share of the calls above 0 and at most 0.5")
        if not self.slowed >= 1:
            raise InputError(f"--slowed {self.slowed:g}: allowed: from 1")

    @property
    def any(self) -> bool:
        """Whether there is any row beside the plain one."""
        return bool(self.delays_s or self.shares or self.codes)


@dataclass(frozen=True, eq=False)
class RedundancySimulation(ServiceSimulation):
    """What came of a trace under one kind of redundancy. error_growth: of coded copies, how much an error of theirs can
    grow in the reply."""

    name: str
    plan: Plan
    outcome: RedundantOutcome
    error_growth: float = 1.0

    @property
    def served(self) -> ServedCalls:
        """What came of the calls."""
        return self.outcome


def code_of(text: str) -> tuple[int, int]:
    """Calls of a group and its copies, from words such as `4of5`.

    Raises:
        InputError: it is not so, or has no more copies than calls.

    >>> code_of("4of5")
    (4, 5)
    """
    found = re.fullmatch(r"([1-9][0-9]?)of([1-9][0-9]?)", text)
    if found is None or not 2 <= int(found[1]) < int(found[2]):
        raise InputError(f"--coded {text}: is not CALLSofCOPIES with more copies than calls, such as 4of5")
    return int(found[1]), int(found[2])


def simulate_redundancy(
    plan: Plan, trace: RequestTrace, how: RedundancyConditions, calibration: TimingCalibration | None = None
) -> tuple[RedundancySimulation, ...]:
    """Replay a trace on a plan's service without copies, then under each kind of redundancy.

    Raises:
        InputError: one replica alone, calls that wait for others, replies of several tokens to decode.
        UnsupportedError: the plan has not one service in one pool, or buys from an API.
    """
    scaled_service(plan)
    replayed = replayed_trace(trace, how.scale)
    blocks = replayed.blocks.tokens if replayed.blocks else 0
    fleet = fleet_of(plan.services, calibration_of_plan(plan, calibration), plan.library, blocks)
    fleet = _with_slow_one(fleet, how.slowed)
    calls = calls_of(plan.services, replayed, np.random.default_rng(0))
    return tuple(_rows(plan, fleet, calls, how))


def _rows(
    plan: Plan, fleet: SimulatedFleet, calls: CallTable, how: RedundancyConditions
) -> Sequence[RedundancySimulation]:
    timers: list[tuple[str, HedgeTimer]] = [("no copies", HedgeTimer(0.0))]
    timers += [(f"copy after {delay_s:g} s", HedgeTimer(1.0, delay_s)) for delay_s in how.delays_s]
    timers += [(f"copy of {share:.3g} of the calls", HedgeTimer(share)) for share in how.shares]
    rows = [RedundancySimulation(name, plan, serve_hedged(fleet, calls, timer)) for name, timer in timers]
    for group, copies in how.codes:
        outcome = serve_coded(fleet, calls, group, copies)
        rows.append(RedundancySimulation(f"{group} of {copies} coded", plan, outcome, amplification(group, copies)))
    return rows


def _with_slow_one(fleet: SimulatedFleet, factor: float) -> SimulatedFleet:
    """The fleet with its first replica slowed by a neighbour."""
    if factor == 1:
        return fleet
    (service,) = fleet.services
    first = replace(service.replicas[0], table=service.replicas[0].table.slowed(factor), levels=())
    return replace(fleet, services=(replace(service, replicas=(first, *service.replicas[1:])),))

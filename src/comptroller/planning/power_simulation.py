"""A plan's service under a trace, in rows within a power budget whose clocks and limits a policy sets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.costs.power import LEAST_LOCK, clock_refusal
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.steptable import StepTable
from comptroller.errors import InputError, UnsupportedError
from comptroller.facts.library import FactLibrary
from comptroller.planning.ground.plan_calibration import calibration_of_plan, replica_of_pool
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.ground.service_document import DeploymentDocument, PoolDocument, ServiceDocument
from comptroller.planning.prove.simulated_fleet import StepTableCache, calls_of, fleet_of_tables
from comptroller.planning.service_simulation import replayed_trace
from comptroller.serving.policies import needs
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.serving.power import LevelMaker, LevelTables, PowerOutcome, simulate_rows
from comptroller.serving.power_rows import PowerConditions
from comptroller.work.call import CallTable
from comptroller.work.trace import RequestTrace

UNCAPPED = "none"
"""The power policy that sets nothing, which others are compared with."""


@dataclass(frozen=True, slots=True)
class RowConditions:
    """How a plan's service stands in rows. row_budget_w: of each of so many rows.  replicas: 0 for the plan's.

    other_w: watts of a replica's servers beside what the plan prices.  low_share: share of the calls that are of low
    priority, drawn, for a trace without priorities.  scale: times as fast as the trace was.
    """

    row_budget_w: float
    rows: int = 1
    replicas: int = 0
    other_w: float = 0.0
    low_share: float | None = None
    scale: float = 1.0

    def __post_init__(self) -> None:
        if self.replicas < 0 or not (self.low_share is None or 0 < self.low_share < 1):
            raise InputError(
                f"power: {self.replicas} replicas, {self.low_share} of the calls of low priority; allowed: from 0 (the "
                "plan's own), and a share between 0 and 1"
            )


@dataclass(frozen=True, eq=False)
class PowerSimulation:
    """What came of a trace in rows under a policy, and of the same rows and tiers where nothing is set."""

    plan: Plan
    trace: RequestTrace
    conditions: RowConditions
    outcome: PowerOutcome
    free: PowerOutcome

    @property
    def attainment(self) -> float:
        """Share of the calls within all the objectives."""
        limits = {entry.quantity: entry.most_s for entry in self.plan.latency}
        return float(self.outcome.outcome.met(**limits).mean())

    def change(self, what: str, quantile: float, tier: int) -> float:
        """How much later than where nothing is set: a tier's quantile of a latency over the same uncapped, less 1."""
        return self.outcome.quantile_s(what, quantile, tier) / self.free.quantile_s(what, quantile, tier) - 1.0


def simulate_power(
    plan: Plan,
    trace: RequestTrace,
    policies: Sequence[str],
    conditions: RowConditions,
    calibration: TimingCalibration | None = None,
) -> tuple[PowerSimulation, ...]:
    """Replay a trace on a plan's service in rows under each of the policies.

    Raises:
        InputError: an unknown policy, a trace that lacks what it needs, or a budget that cannot be kept.
        UnsupportedError: the plan has not one service in one pool, buys from an API, or has devices that cannot be
            priced at what the policy sets.
    """
    if plan.offers or len(plan.services) != 1 or len(plan.services[0].deployment.pools) != 1:
        raise UnsupportedError(f"plan {plan.name!r}: rows hold one service of one pool, and no API beside it")
    (service,) = plan.services
    replayed = replayed_trace(trace, conditions.scale)
    tables = StepTableCache(calibration_of_plan(plan, calibration), plan.library)
    fleet = fleet_of_tables(plan.services, tables)
    count = conditions.replicas or len(fleet.replicas())
    (one,) = fleet.services
    fleet = replace(fleet, services=(replace(one, replicas=(one.replicas[0],) * count),))
    asked = calls_of(plan.services, replayed, np.random.default_rng(0))
    levels = LevelTables(level_maker(service, tables, plan.library))
    tpot_s = min((entry.most_s for entry in plan.latency if entry.quantity == "tpot_s"), default=np.inf)
    found = []
    for policy in policies:
        how = PowerConditions(
            policy, conditions.row_budget_w, conditions.rows, conditions.other_w, tpot_s, tiers_as=policy
        )
        calls = with_priorities(policy, asked, replayed, conditions)
        free = simulate_rows(fleet, calls, replace(how, policy=UNCAPPED), levels)
        outcome = free if policy == UNCAPPED else simulate_rows(fleet, calls, how, levels)
        found.append(PowerSimulation(plan, replayed, conditions, outcome, free))
    return tuple(found)


def with_priorities(policy: str, calls: CallTable, trace: RequestTrace, conditions: RowConditions) -> CallTable:
    """The calls, with drawn priorities where a policy needs some, the trace has none and their share is stated.

    Raises:
        InputError: the policy needs priorities, and there are none.
    """
    if not needs("power", policy, "priority") or trace.priority is not None:
        return calls
    if conditions.low_share is None:
        raise InputError(
            f"power policy {policy} needs the column 'priority', which {trace.source or 'the trace'} lacks; name it by "
            "--column priority=NAME, or say by --low-share which share of the calls is of low priority"
        )
    high = np.random.default_rng(0).uniform(size=len(calls)) >= conditions.low_share
    return calls.with_columns(priority=high.astype(np.float64))


def level_maker(service: ServiceDocument, tables: StepTableCache, library: FactLibrary) -> LevelMaker:
    """Makes the step table of a service's replica at a setting of its devices.

    Below the lowest clock that is priced, a brake alone, steps are longer by the ratio of the clocks, and wait idle.
    """

    def make(own: StepTable, setting: PowerSetting) -> StepTable:
        clock = max(setting.clock, LEAST_LOCK) if setting.brake else setting.clock
        changed = pool_at(service.deployment, setting._replace(clock=clock), library)
        return tables.of(service, changed).slowed(clock / setting.clock)

    return make


def pool_at(deployment: DeploymentDocument, setting: PowerSetting, library: FactLibrary) -> PoolDocument:
    """A deployment's one pool at a setting of its devices, on top of what the plan sets.

    Raises:
        UnsupportedError: its devices cannot be priced there.
    """
    (pool,) = deployment.pools
    device, update = replica_of_pool(deployment, pool, library).device, dict[str, float]()
    if setting.clock < 1:
        if device.clock_hz is None:
            raise UnsupportedError(f"{device.id}: its facts state no clock, and the policy sets one")
        update["clock_mhz"] = min(setting.clock * device.clock_hz / 1e6, pool.clock_mhz or np.inf)
    if setting.limit < 1:
        update["power_limit_w"] = min(setting.limit * device.tdp_w, pool.power_limit_w or np.inf)
    changed = pool.model_copy(update=update)
    if refused := clock_refusal(replica_of_pool(deployment, changed, library)):
        raise UnsupportedError(refused)
    return changed

"""What comes of calls on rows of replicas whose clocks and limits a policy sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.steptable import StepTable
from comptroller.serving.engine import EventEngine
from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica
from comptroller.serving.outcome import EngineOutcome
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.serving.power_rows import PowerConditions, PowerRows, RowRecord
from comptroller.serving.power_tiers import by_tier, tier_of
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LevelMaker = Callable[[StepTable, PowerSetting], StepTable]
"""The step table of a replica at a setting, from its own."""


@dataclass(frozen=True, eq=False)
class PowerOutcome(RowRecord):
    """What came of calls on rows within a budget.

    outcome: of the engine.  tier: of each call.  replica_j: joules of each replica.
    """

    outcome: EngineOutcome
    tier: Ints
    replica_j: Floats

    @property
    def energy_j(self) -> float:
        """Joules of all replicas, idle and beside their steps too."""
        return float(self.replica_j.sum())

    def quantile_s(self, what: str, quantile: float, tier: int | None = None) -> float:
        """A quantile of `ttft_s`, `tpot_s` or `e2e_s` over the calls of a tier that have one."""
        values = getattr(self.outcome, what)
        kept = np.isfinite(values) if tier is None else np.isfinite(values) & (self.tier == tier)
        return float(np.quantile(values[kept], quantile)) if kept.any() else float("nan")


@dataclass(eq=False)
class LevelTables:
    """Step tables of the settings of a policy, each made once."""

    make: LevelMaker
    known: dict[tuple[int, PowerSetting], StepTable] = field(default_factory=dict)

    def of(self, replica: SimulatedReplica, settings: Sequence[PowerSetting]) -> SimulatedReplica:
        """The replica with a level for every setting after the first."""
        made = []
        for setting in settings[1:]:
            key = id(replica.table), setting._replace(delay_s=0.0, brake=False)
            if key not in self.known:
                self.known[key] = self.make(replica.table, setting)
            made.append(self.known[key])
        return replace(replica, levels=tuple(made))

    def fleet(self, fleet: SimulatedFleet, settings: Sequence[PowerSetting]) -> SimulatedFleet:
        """The fleet whose replicas have a level for every setting after the first."""
        leveled = {id(one): self.of(one, settings) for _, one in fleet.replicas()}
        services = tuple(
            replace(each, replicas=tuple(leveled[id(r)] for r in each.replicas)) for each in fleet.services
        )
        return replace(fleet, services=services)


def simulate_rows(
    fleet: SimulatedFleet, calls: CallTable, conditions: PowerConditions, levels: LevelTables
) -> PowerOutcome:
    """What comes of calls on a fleet in rows whose clocks and limits a policy sets.

    levels: makes the step table of a replica at a setting.

    Raises:
        InputError: a fleet, a budget or calls that the policy cannot work with.
    """
    tier = tier_of(conditions.tiers_as or conditions.policy, calls)
    split, sent = by_tier(fleet, calls, tier, conditions.tiers)
    split = levels.fleet(split, conditions.settings)
    rows = PowerRows(split, conditions)
    engine = EventEngine(split, rows.every_s)
    engine.submit(sent)
    rows.begin(engine)
    while engine.busy:
        engine.advance(rows.next_s())
        rows.see(engine)
    outcome = engine.outcome()
    joules = rows.of_replicas(outcome.meters.step_j + outcome.idle_j) + conditions.other_w * outcome.horizon_s
    found = rows.record()
    return PowerOutcome(conditions, found.at_s, found.row_w, found.in_force, found.orders, outcome, tier, joules)


def setting_shares(outcome: PowerOutcome) -> Floats:
    """Share of the samples in which each setting was in force, shape (tiers, settings)."""
    count = len(outcome.conditions.settings)
    by_tier_ = np.moveaxis(outcome.in_force, 2, 0).reshape(outcome.in_force.shape[2], -1)
    return np.array([np.bincount(one, minlength=count) for one in by_tier_]) / max(by_tier_.shape[1], 1)

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
from comptroller.serving.policies import module
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.serving.power_rows import PowerConditions, PowerOrder, PowerRows
from comptroller.serving.power_tiers import by_tier, tier_of
from comptroller.work.call import CallTable

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LevelMaker = Callable[[StepTable, PowerSetting], StepTable]
"""The step table of a replica at a setting, from its own."""


@dataclass(frozen=True, eq=False)
class PowerOutcome:
    """What came of calls on rows within a budget.

    outcome: of the engine.  conditions: as they were.  tier: of each call.  at_s: the samples, shape (samples,).
    row_w: mean watts of each row up to each of them, shape (samples, rows).  in_force: setting of each tier of each row
    then, shape (samples, rows, tiers).  replica_j: joules of each replica.  orders: what was decided.
    """

    outcome: EngineOutcome
    conditions: PowerConditions
    tier: Ints
    at_s: Floats
    row_w: Floats
    in_force: Ints
    replica_j: Floats
    orders: tuple[PowerOrder, ...]

    @property
    def peak_share(self) -> float:
        """The most that a row drew in a sample, as a share of its budget."""
        return float(self.row_w.max() / self.conditions.row_budget_w)

    @property
    def over_s(self) -> float:
        """Seconds that a row was above its budget, over all rows."""
        every_s = float(module("power", self.conditions.policy).EVERY_S)
        # Sums of watts that are equal to the budget are not above it for their last digit.
        return float((self.row_w > self.conditions.row_budget_w * (1 + 1e-9)).sum() * every_s)

    @property
    def brakes(self) -> int:
        """How often a row was braked."""
        braked = {n for n, setting in enumerate(self.conditions.settings) if setting.brake}
        return len({(order.at_s, order.row) for order in self.orders if order.setting in braked})

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
    leveled = {id(one): levels.of(one, conditions.settings) for _, one in split.replicas()}
    services = tuple(replace(s, replicas=tuple(leveled[id(one)] for one in s.replicas)) for s in split.services)
    split = replace(split, services=services)
    rows = PowerRows(split, conditions)
    engine = EventEngine(split, rows.every_s)
    engine.submit(sent)
    rows.begin(engine)
    while engine.busy:
        engine.advance(rows.next_s())
        rows.see(engine)
    outcome = engine.outcome()
    joules = rows.of_replicas(outcome.meters.step_j + outcome.idle_j) + conditions.other_w * outcome.horizon_s
    at_s, row_w, in_force = rows.history()
    return PowerOutcome(outcome, conditions, tier, at_s, row_w, in_force, joules, tuple(rows.orders))


def setting_shares(outcome: PowerOutcome) -> Floats:
    """Share of the samples in which each setting was in force, shape (tiers, settings)."""
    count = len(outcome.conditions.settings)
    by_tier_ = np.moveaxis(outcome.in_force, 2, 0).reshape(outcome.in_force.shape[2], -1)
    return np.array([np.bincount(one, minlength=count) for one in by_tier_]) / max(by_tier_.shape[1], 1)

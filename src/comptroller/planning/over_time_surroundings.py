"""What a fleet over time may use beside replicas on demand: zones of spot, or rows within a power budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError, UnsupportedError
from comptroller.planning.ground.plan_calibration import calibration_of_plan
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.power_simulation import RowConditions, level_maker
from comptroller.planning.prove.simulated_fleet import StepTableCache
from comptroller.planning.spot_simulation import ReplicaPrices, SpotConditions, replica_prices
from comptroller.serving.power import LevelTables
from comptroller.work.zone_record import ZoneRecord


class SpotShare(NamedTuple):
    """Who places spot replicas, which share of the target they may be, and how many more are kept."""

    policy: str
    share: float
    extra: int

    @property
    def words(self) -> str:
        """In words.

        >>> SpotShare("spread_cover", 0.5, 1).words
        '50 % spot by spread_cover, 1 more'
        """
        return f"{100 * self.share:.0f} % spot by {self.policy}" + (f", {self.extra} more" if self.extra else "")


@dataclass(frozen=True, eq=False)
class SpotMarket:
    """The zones that replicas may be rented in as spot, and on what conditions."""

    record: ZoneRecord
    conditions: SpotConditions
    prices: ReplicaPrices


@dataclass(frozen=True, eq=False)
class RowsOfPlan:
    """The rows that a plan's own replicas stand in, and the step tables of a policy's settings."""

    conditions: RowConditions
    levels: LevelTables
    tpot_s: float


def spot_market(plan: Plan, record: ZoneRecord, conditions: SpotConditions, span_s: float) -> SpotMarket:
    """The zones of a record for a trace of so many seconds.

    Raises:
        InputError: the record is shorter than the trace.
        UnsupportedError: no price of spot is known.
    """
    if conditions.from_s + span_s > record.span_s:
        raise InputError(
            f"over time: the record {record.name} ends after {record.span_s / 3600:.3g} h, and the trace from its hour "
            f"{conditions.from_s / 3600:.3g} on after {(conditions.from_s + span_s) / 3600:.3g} h (begin "
            "earlier, or leave spot out)"
        )
    return SpotMarket(record, conditions, replica_prices(plan, conditions.spot_usd_per_device_h))


def rows_of_plan(plan: Plan, conditions: RowConditions, calibration: TimingCalibration | None = None) -> RowsOfPlan:
    """The rows of a plan's one service.

    Raises:
        UnsupportedError: its devices cannot be priced at the settings.
    """
    (service,) = plan.services
    tables = StepTableCache(calibration_of_plan(plan, calibration), plan.library)
    tpot_s = min((entry.most_s for entry in plan.latency if entry.quantity == "tpot_s"), default=np.inf)
    if not conditions.row_budget_w > 0:
        raise UnsupportedError("over time: rows need a budget above 0 W")
    return RowsOfPlan(conditions, LevelTables(level_maker(service, tables, plan.library)), tpot_s)

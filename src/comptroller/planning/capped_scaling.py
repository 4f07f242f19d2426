"""A plan's service under a trace in rows within a power budget, while a policy starts and drains its replicas."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.over_time_surroundings import rows_of_plan
from comptroller.planning.power_simulation import UNCAPPED, RowConditions, with_priorities
from comptroller.planning.scaled_simulation import ScaledSimulation, ScalingConditions, scaling_stage
from comptroller.planning.service_simulation import replayed_trace
from comptroller.serving.elastic_energy import replica_j
from comptroller.serving.elastic_rows import scale_in_rows
from comptroller.serving.power_rows import PowerConditions, RowRecord
from comptroller.work.trace import RequestTrace


@dataclass(frozen=True, eq=False)
class ScaledRowSimulation:
    """What came of a trace on replicas that are scaled in rows. rows: what those drew, and what was set."""

    scaled: ScaledSimulation
    rows: RowRecord

    @property
    def energy_j(self) -> float:
        """Joules of all replicas while they were paid for, beside their steps too."""
        other_j = self.rows.conditions.other_w * self.scaled.outcome.paid_s.sum()
        return float(replica_j(self.scaled.outcome).sum() + other_j)


@dataclass(frozen=True, eq=False)
class CappedScaling:
    """A scaling and a power policy together, beside the same scaling, rows and tiers where nothing is set."""

    capped: ScaledRowSimulation
    free: ScaledRowSimulation


def simulate_capped_scaling(
    plan: Plan,
    trace: RequestTrace,
    policies: tuple[Sequence[str], Sequence[str]],
    conditions: tuple[ScalingConditions, RowConditions],
    calibration: TimingCalibration | None = None,
) -> tuple[CappedScaling, ...]:
    """Replay a trace on a plan's service in rows under each scaling policy with each power policy.

    Raises:
        InputError: an unknown policy, a trace that lacks what one needs, a budget that cannot be kept, or conditions
            that are of one of them alone.
        UnsupportedError: the plan has not one service in one pool, buys from an API, or has devices that cannot be
            priced at what the policy sets.
    """
    how, stand = conditions
    if how.shifts > 1 or stand.replicas:
        raise InputError(
            "--power with --scaling: --shifts is of --scaling alone, --replicas of --power alone; how many replicas "
            "there may be is --most-replicas"
        )
    stage, rows = scaling_stage(plan, how, calibration), rows_of_plan(plan, stand, calibration)
    replayed = replayed_trace(trace, how.scale)
    asked = stage.calls_of(replayed)

    def play(scaling: str, power: str, tiers_as: str) -> ScaledRowSimulation:
        settings = stage.settings(scaling, how.fill, how.first)
        capped = PowerConditions(power, stand.row_budget_w, stand.rows, stand.other_w, rows.tpot_s, tiers_as=tiers_as)
        calls = with_priorities(tiers_as, asked, replayed, stand)
        found = scale_in_rows(stage.fleet, calls, settings, capped, rows.levels)
        return ScaledRowSimulation(
            ScaledSimulation(plan, replayed, settings, found.elastic, stage.start_up), found.rows
        )

    def pair(scaling: str, power: str) -> CappedScaling:
        free = play(scaling, UNCAPPED, power)
        return CappedScaling(free if power == UNCAPPED else play(scaling, power, power), free)

    return tuple(pair(scaling, power) for scaling in policies[0] for power in policies[1])

"""Rows within a power budget whose replicas come and go: tiers scaled apart, and what is due between seconds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from comptroller.serving.elastic import ElasticEngine, ElasticOutcome, ReplicaPhase
from comptroller.serving.fleet import SimulatedFleet
from comptroller.serving.power import Ints, LevelTables
from comptroller.serving.power_rows import PowerConditions, PowerRows, RowRecord
from comptroller.serving.power_tiers import by_tier, tier_of
from comptroller.serving.scaling import ScalingSettings, scale_services
from comptroller.work.call import CallTable


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """What came of calls on rows within a budget whose replicas a policy starts and drains. tier: of each call."""

    elastic: ElasticOutcome
    rows: RowRecord
    tier: Ints


class ElasticRows:
    """What is due of rows while their fleet comes and goes: settings that come into force, samples.

    Raises:
        InputError: a budget below what the rows draw idle with all replicas on.
    """

    def __init__(self, fleet: SimulatedFleet, conditions: PowerConditions, start_up_s: float) -> None:
        self.rows = PowerRows(fleet, conditions)
        self._starts = True
        # A replica that takes calls before its row's policy is asked again counts as one that does.
        self._counts_all = start_up_s <= self.rows.every_s

    @property
    def sample_s(self) -> float:
        """How often the engine is to sample."""
        return self.rows.every_s

    def next_s(self) -> float:
        """When the next of it is due."""
        return self.rows.next_s()

    def see(self, engine: ElasticEngine) -> None:
        """What is due now."""
        on = np.array([self._counts_all or phase != ReplicaPhase.OFF for phase in engine.phases])
        if self._starts:
            self.rows.begin(engine.engine, on)
            self._starts = False
        self.rows.see(engine.engine, engine.paid_s(), on)


def scale_in_rows(
    fleet: SimulatedFleet, calls: CallTable, scaling: ScalingSettings, conditions: PowerConditions, levels: LevelTables
) -> ScaledRows:
    """What comes of calls on a fleet in rows of which one policy starts and drains replicas and another sets clocks.

    Where the power policy tells tiers apart, each has replicas of its own, of those that there may be and of those at
    the start in proportion to the work of its calls, and is scaled by itself. Both go on until the last call has ended.

    Raises:
        InputError: a fleet, a budget or calls that the policies cannot work with.
    """
    tier = tier_of(conditions.tiers_as or conditions.policy, calls)
    most = min(scaling.most or len(fleet.replicas()), len(fleet.replicas()))
    (service,) = fleet.services
    split, sent = by_tier(replace(fleet, services=(replace(service, replicas=service.replicas[:most]),)), calls, tier,
                          conditions.tiers)  # fmt: skip
    split = levels.fleet(split, conditions.settings)
    watch = ElasticRows(split, conditions, scaling.start_up_s)
    elastic = scale_services(split, sent, _shares(scaling, split), watch)
    return ScaledRows(elastic, watch.rows.record(), tier)


def _shares(scaling: ScalingSettings, split: SimulatedFleet) -> Sequence[ScalingSettings]:
    """Settings of each tier: replicas at the start in proportion to those that there may be, and one at the least."""
    sizes = np.array([len(service.replicas) for service in split.services])
    firsts = np.clip(np.round(scaling.first * sizes / sizes.sum()).astype(int), 1, sizes)
    if len(sizes) == 1:
        firsts = np.minimum(scaling.first, sizes)
    return [
        replace(scaling, first=int(first), least=min(scaling.least, int(first)), most=int(size))
        for first, size in zip(firsts, sizes, strict=True)
    ]

"""A plan's service as the stage of pools of requests: calls told apart, pools formed and played under a policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from comptroller.costs.replica_timer import TimingCalibration
from comptroller.errors import InputError
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.pool_classes import load_of, whole_groups
from comptroller.planning.pool_layouts import PoolConditions, PoolLayouts
from comptroller.planning.power_simulation import level_maker
from comptroller.planning.prove.simulated_fleet import StepTableCache, fleet_of_tables
from comptroller.planning.scaled_simulation import scaled_service
from comptroller.serving.fleet import SimulatedReplica
from comptroller.serving.policies import module
from comptroller.serving.policies.pool_view import PoolSetting
from comptroller.serving.policies.power_view import PowerSetting
from comptroller.serving.power import LevelTables
from comptroller.serving.power_tiers import apportion
from comptroller.serving.request_pools import PooledOutcome, RequestPool, RequestPoolFleet
from comptroller.work.call import CallTable

Ints = npt.NDArray[np.int64]


class PoolStage:
    """A plan's service with the layouts that its pools may have.

    Raises:
        InputError: a degree that cannot be had, or fewer devices than the plan has.
        UnsupportedError: as `scaled_service`.
    """

    def __init__(self, plan: Plan, conditions: PoolConditions, calibration: TimingCalibration) -> None:
        self.plan, self.service = plan, scaled_service(plan)
        self.layouts = PoolLayouts(plan, self.service, conditions, calibration)
        self._tables = StepTableCache(calibration, plan.library)
        (self._planned,) = self.service.deployment.pools
        self.devices = conditions.devices or 2 * self._planned.devices
        if self.devices < self._planned.devices:
            raise InputError(f"pools: {self.devices} devices are fewer than the {self._planned.devices} of the plan")
        self._policies = fleet_of_tables(plan.services, self._tables).policies

    def play(self, calls: CallTable, policy: str) -> PooledOutcome:
        """What comes of calls under a policy."""
        clocks, classes = tuple(module("pools", policy).CLOCKS), np.asarray(module("pools", policy).classes(calls))
        names = tuple(module("pools", policy).CLASSES)
        merged, kept = self._merged(calls, classes, clocks[:1])
        pools = self._pools(calls, merged, [names[one] for one in kept], clocks)
        columns = {**calls.columns, "service": merged}
        sent = CallTable(columns, {**calls.names, "service": tuple(one.name for one in pools)}, calls.block_ids,
                         calls.block_starts)  # fmt: skip
        return RequestPoolFleet(pools, policy, self.devices, self._policies).play(sent)

    def _merged(self, calls: CallTable, classes: Ints, clocks: Sequence[PowerSetting]) -> tuple[Ints, list[int]]:
        """The pool of each call, and the largest class of each pool.

        A class whose calls would not fill a replica of the smallest layout joins the next, the last the one before.
        """
        present = np.unique(classes)
        counts = [int((classes == one).sum()) for one in present]
        takes = [self.layouts.most_per_s(0, clocks[0], load_of(calls, classes == one)) for one in present]
        filled = [self.service.rate_per_s * count / len(calls) / max(most, 1e-9)
                  for count, most in zip(counts, takes, strict=True)]  # fmt: skip
        groups = whole_groups(filled)
        places = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        return places[np.searchsorted(present, classes)], [int(present[group[-1]]) for group in groups]

    def _pools(
        self, calls: CallTable, merged: Ints, names: Sequence[str], clocks: Sequence[PowerSetting]
    ) -> list[RequestPool]:
        replicas = [self._replica(place, clocks) for place in range(len(self.layouts.tp))]
        planned, rate = self.layouts.tp.index(self._planned.tp), self.service.rate_per_s
        shares = np.bincount(merged, minlength=len(names)) / len(merged)
        profiles = [self.layouts.profiles(clocks, load_of(calls, merged == place)) for place in range(len(names))]
        work = np.array([share / max(one.per_s[0] / one.devices for one in each)
                         for share, each in zip(shares, profiles, strict=True)])  # fmt: skip
        counts = apportion(work, max(self._planned.replicas, len(names)))
        return [
            RequestPool(
                name, tuple(replicas), each, rate * float(share),
                PoolSetting(planned, count, 0, count * self._planned.tp),
            )
            for name, each, share, count in zip(names, profiles, shares, counts, strict=True)
        ]  # fmt: skip

    def _replica(self, place: int, clocks: Sequence[PowerSetting]) -> SimulatedReplica:
        document = self.layouts.documents[place]
        table = self._tables.of(document, document.deployment.pools[0])
        return LevelTables(level_maker(document, self._tables, self.plan.library)).of(SimulatedReplica(table), clocks)

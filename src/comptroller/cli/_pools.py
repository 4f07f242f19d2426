"""Policies of pools of requests in `comptroller simulate`: their conditions, and what is printed of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from comptroller.cli._output import write_all
from comptroller.cli._simulation_output import show_compared
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.planning.ground.plan_document import Plan
from comptroller.planning.pool_layouts import PoolConditions
from comptroller.planning.pool_simulation import simulate_pools
from comptroller.planning.spot_simulation import SpotConditions
from comptroller.report.pool_tables import pool_page, pool_picture, pool_records, pool_sheet
from comptroller.work.trace import RequestTrace

AS_IT_IS = "none"
"""The policy, of scaling and of pools, that leaves a fleet as it is."""


@dataclass(frozen=True, slots=True)
class RequestPoolOptions:
    """Policies of pools, none where nothing is parted, and their conditions."""

    policies: tuple[str, ...]
    tp: tuple[int, ...]
    devices: int

    def show(
        self, plan: Plan, trace: RequestTrace, start_up: SpotConditions, priced: TimingCalibration, json: bool,
        paths: Mapping[str, Path | None],
    ) -> None:  # fmt: skip
        """The policies side by side, after the fleet as it is; `html` and `png` of the paths are written."""
        conditions = PoolConditions(
            self.tp, self.devices, start_up.start_up_s, start_up.weights_from, start_up.image_pulled, start_up.scale
        )
        names = dict.fromkeys((AS_IT_IS, *self.policies))
        found = simulate_pools(plan, trace, tuple(names), conditions, priced)
        write_all(paths, {"html": lambda: pool_page(found), "png": lambda: pool_picture(found)})
        show_compared(plan, "pools", lambda: pool_records(found), lambda: [pool_sheet(found)], json)

"""Steps that take longer or shorter than a calibration says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.timing import KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads


@dataclass(frozen=True)
class StepFactorCalibration:
    """A calibration with the steps of each replica so many times as long.

    t' = x t for a step, x = `factor(replica)`; what a server adds around its steps stays.
    """

    base: TimingCalibration
    factor: Callable[[ModelReplica], float]

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """That of the base, every call so many times as long."""
        return self.base.efficiency(replica, kernel).times(self.factor(replica))

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """Those of the base, so many times as long."""
        return self.base.overheads(replica).times(self.factor(replica))

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Those of the base."""
        return self.base.serving(replica)

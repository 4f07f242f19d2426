"""Calibrations that need no fit: a pure roofline, and the roofline with four constants."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.timing import COLLECTIVES, KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads
from comptroller.facts.baseline import BaselineFacts, baseline_facts


@dataclass(frozen=True, slots=True)
class RooflineCalibration:
    """Everything at its datasheet rate, no latency: the bound that no system beats."""

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """Full rates, no floor."""
        return KernelEfficiency(1.0, 1.0, 0.0)

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """None."""
        return StepOverheads()

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Steps alone."""
        return ServingOverheads()


@dataclass(frozen=True, slots=True)
class BaselineCalibration:
    """Datasheet rates and four constants, each with its source in `facts/calibration/baseline.toml`."""

    facts: BaselineFacts

    @classmethod
    def shipped(cls) -> BaselineCalibration:
        """With the shipped constants."""
        return cls(baseline_facts())

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """The constants, whatever the operation."""
        latency = self.facts.message if kernel.kind in COLLECTIVES else self.facts.kernel
        return KernelEfficiency(self.facts.compute.fraction, self.facts.bandwidth.fraction, latency.latency_s)

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """None."""
        return StepOverheads()

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Steps alone."""
        return ServingOverheads()

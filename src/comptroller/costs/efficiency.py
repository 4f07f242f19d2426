"""Calibrations that need no fit: a pure roofline, and the roofline with four constants."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.deployment import Replica
from comptroller.costs.timing import COLLECTIVES, Efficiency, Kernel, Overheads, Serving
from comptroller.facts.baseline import BaselineFacts, baseline_facts


@dataclass(frozen=True, slots=True)
class Roofline:
    """Everything at its datasheet rate, no latency: the bound that no system beats."""

    def efficiency(self, replica: Replica, kernel: Kernel) -> Efficiency:
        """Full rates, no floor."""
        return Efficiency(1.0, 1.0, 0.0)

    def overheads(self, replica: Replica) -> Overheads:
        """None."""
        return Overheads()

    def serving(self, replica: Replica) -> Serving:
        """Steps alone."""
        return Serving()


@dataclass(frozen=True, slots=True)
class Baseline:
    """Datasheet rates and four constants, each with its source in `facts/calibration/baseline.toml`."""

    facts: BaselineFacts

    @classmethod
    def shipped(cls) -> Baseline:
        """With the shipped constants."""
        return cls(baseline_facts())

    def efficiency(self, replica: Replica, kernel: Kernel) -> Efficiency:
        """The constants, whatever the operation."""
        latency = self.facts.message if kernel.kind in COLLECTIVES else self.facts.kernel
        return Efficiency(self.facts.compute.fraction, self.facts.bandwidth.fraction, latency.latency_s)

    def overheads(self, replica: Replica) -> Overheads:
        """None."""
        return Overheads()

    def serving(self, replica: Replica) -> Serving:
        """Steps alone."""
        return Serving()

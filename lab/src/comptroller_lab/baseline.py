"""Calibrations that need no fit, beside which the fitted one is judged: a roofline, and one with four constants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass as plain_dataclass
from functools import lru_cache

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.timing import COLLECTIVES, KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads
from comptroller.facts.reader import FactSource, folder, read

_STRICT = ConfigDict(extra="forbid")


@dataclass(frozen=True, config=_STRICT)
class BaselineShare:
    """A share of a datasheet rate."""

    fraction: float


@dataclass(frozen=True, config=_STRICT)
class BaselineLatency:
    """A least time per call."""

    latency_s: float


@dataclass(frozen=True, config=_STRICT)
class BaselineFacts:
    """Share of peak FLOP/s and of bandwidth, least time of a kernel and of a message."""

    id: str
    name: str
    compute: BaselineShare
    bandwidth: BaselineShare
    kernel: BaselineLatency
    message: BaselineLatency
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]


@lru_cache(maxsize=1)
def baseline_facts() -> BaselineFacts:
    """The shipped constants.

    >>> baseline_facts().bandwidth.fraction
    0.8
    """
    return read(BaselineFacts, folder("calibration") / "baseline.toml")


@plain_dataclass(frozen=True, slots=True)
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


@plain_dataclass(frozen=True, slots=True)
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

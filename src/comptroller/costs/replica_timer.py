"""Makes a replica ready to be timed: its operations, the kernel of each, and the rates that calibration gives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from comptroller.costs.adapters import adapter_operations, load_s_per_prompt
from comptroller.costs.deployment import ModelReplica, arithmetic
from comptroller.costs.network import link_bytes_per_s, node_devices
from comptroller.costs.operations import PROMPTS, OperationMatrices, StepOperation, operations
from comptroller.costs.speculation import draft_replica
from comptroller.costs.step import ReplicaStep
from comptroller.costs.timing import (
    COLLECTIVES,
    TERM_OF,
    TERMS,
    KernelEfficiency,
    KernelSignature,
    OperationRates,
    ReplicaTimer,
    ServingOverheads,
    StepOverheads,
)
from comptroller.errors import UnsupportedError

Array = npt.NDArray[np.float64]

WIDE_PARTS = frozenset({"head", "adapters"})
"""Matrices that stay in 16 bit whatever the recipe says."""


class TimingCalibration(Protocol):
    """What turns datasheet rates into times; `facts.calibration` holds the shipped ones."""

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """Efficiency of a kernel of the replica's engine on its device."""
        ...

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """Launch and host overheads of the replica's engine."""
        ...

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """What the replica's engine adds around its steps."""
        ...


def replica_timer(replica: ModelReplica, calibration: TimingCalibration) -> ReplicaTimer:
    """Resolve a replica for timing.

    Raises:
        UnsupportedFormatError: the accelerator cannot run the recipe.
        UnsupportedError: the layout needs a network that the accelerator's facts lack.
    """
    ops = operations(replica.model, replica.recipe, replica.layout, replica.library, node_devices(replica.device))
    ops = ops.with_rows(adapter_operations(replica))
    parts = part_arithmetic(replica)
    columns = _Columns(replica, calibration, {}, ops)
    draft = draft_replica(replica)
    return ReplicaTimer(
        replica,
        ops,
        columns.rates(parts),
        calibration.overheads(replica),
        calibration.serving(replica),
        replica_timer(draft, calibration) if draft else None,
        columns.matrix_flops_per_s(parts),
    )


def part_arithmetic(replica: ModelReplica) -> Mapping[str, str]:
    """The arithmetic of a replica's matrices: dense ones, experts, output head.

    Raises:
        UnsupportedFormatError: the accelerator cannot run the recipe.
    """
    formats, device = replica.formats, replica.device
    parts = {"weights": arithmetic(formats.weights, formats.activations, device), "head": _widest(replica)}
    if replica.engine.adapters is not None:
        parts["adapters"] = _widest(replica)
    if replica.model.is_moe:
        parts["experts"] = arithmetic(formats.experts, formats.activations, device)
    return parts


@dataclass(frozen=True, slots=True)
class _Columns:
    """Looks up and scales the efficiency of every row once per kernel."""

    replica: ModelReplica
    calibration: TimingCalibration
    found: dict[KernelSignature, KernelEfficiency]
    ops: OperationMatrices

    def rates(self, parts: Mapping[str, str]) -> OperationRates:
        rows = self.ops.rows
        kernels = [kernel_of(self.replica, row, parts[row.part]) for row in rows]
        shares = [self._share(kernel) for kernel in kernels]
        device = self.replica.device
        peaks, widths, direct = np.ones(len(rows)), np.ones(len(rows)), np.zeros(len(rows))
        for i, (row, kernel, share) in enumerate(zip(rows, kernels, shares, strict=True)):
            if row.kind in COLLECTIVES:
                link = link_bytes_per_s(self.replica, row.kind, row.devices)
                widths[i], direct[i] = share.bytes * link, share.direct * link / row.direct
            else:
                peaks[i] = share.flops * device.peak(kernel.arithmetic)
                widths[i] = share.bytes * device.memory_bytes_per_s
        floors = [
            s.floor_s + s.item_s * (k.devices - 1) * (k.kind in COLLECTIVES)
            for s, k in zip(shares, kernels, strict=True)
        ]
        extra = self._extra(shares)
        term = np.array([TERMS.index(TERM_OF[row.kind]) for row in rows])
        setup = np.array([share.setup_s for share in shares])
        return OperationRates(peaks, widths, direct, np.array(floors), setup, extra, term)

    def matrix_flops_per_s(self, parts: Mapping[str, str]) -> float:
        """Peak rate over the arithmetics a replica computes in, weighted by the FLOPs of one decoded token."""
        flops, _ = self.ops.work(ReplicaStep.decode(1.0, 1.0))
        work, seconds = self.ops.count * flops[:, 0], 0.0
        for done, row in zip(work, self.ops.rows, strict=True):
            if done > 0 and row.kind not in COLLECTIVES:
                seconds += done / self.replica.device.peak(kernel_of(self.replica, row, parts[row.part]).arithmetic)
        return float(work.sum() / seconds)

    def _extra(self, shares: list[KernelEfficiency]) -> Array:
        items, depth, passes = (self.ops.matrix(name) for name in ("items", "depth", "passes"))
        cost = np.array([(s.item_s, s.depth_s, s.passes) for s in shares])
        memory = self.replica.device.memory_bytes_per_s
        extra = np.asarray(cost[:, :1] * items + cost[:, 1:2] * depth + cost[:, 2:] / memory * passes)
        if loads := load_s_per_prompt(self.replica):
            first = next(i for i, row in enumerate(self.ops.rows) if row.part == "adapters")
            extra[first, self.ops.features.index(PROMPTS)] += loads / self.ops.count[first]
        return extra

    def _share(self, kernel: KernelSignature) -> KernelEfficiency:
        if kernel not in self.found:
            self.found[kernel] = self.calibration.efficiency(self.replica, kernel)
        return self.found[kernel]


def kernel_of(replica: ModelReplica, row: StepOperation, weights_arithmetic: str) -> KernelSignature:
    """The kernel that runs an operation: matrices in their own arithmetic, everything else in 16 bit.

    Raises:
        UnsupportedError: the device has no 16- or 32-bit rate for attention.
    """
    formats = replica.formats
    if row.kind == "gemm":
        return KernelSignature(
            row.kind, "bf16" if row.part in WIDE_PARTS else formats.weights.id, weights_arithmetic, 1
        )
    if row.kind == "moe":
        return KernelSignature(row.kind, formats.experts.id, weights_arithmetic, row.devices)
    if row.kind in COLLECTIVES:
        return KernelSignature(row.kind, "bf16", "bf16", row.devices)
    cached = row.kind not in {"elementwise", "linear_attention_decode", "linear_attention_prefill"}
    return KernelSignature(row.kind, formats.kv.id if cached else "bf16", _widest(replica), 1)


def _widest(replica: ModelReplica) -> str:
    """Attention and the output head run in 16 bit whatever is stored, on the widest 16-bit unit there is."""
    for name in ("bf16", "fp16", "fp32"):
        if name in {str(rate) for rate in replica.device.peak_flops_per_s}:
            return name
    raise UnsupportedError(f"{replica.device.id} has no rate for attention in bf16, fp16 or fp32")

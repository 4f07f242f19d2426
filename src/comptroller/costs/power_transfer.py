"""Rates of kernels on a device that nobody timed, from one of its family whose watts for each FLOP of its peak differ.

A card whose power limit holds matrices back runs below its highest clock: what it reaches of the share of the best
device is that clock. A device of the family with more watts for each FLOP of its peak may run faster, by the law of
power and clock that the power model was fitted with. An L40S has 350 W for 362 TFLOP/s and reaches 56 % of it, an RTX
4090 450 W for 165, an L4 72 W for 121.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.fitted_calibration import KernelPriors
from comptroller.costs.power_demand import GRID, core_power
from comptroller.costs.timing import KernelEfficiency, KernelSignature, ServingOverheads, StepOverheads
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.calibration import kernel_prior, systems_timed
from comptroller.facts.power import power_facts

COMPUTING = frozenset({"gemm", "moe", "attention_prefill", "mla_prefill"})
"""Kernels that a device's arithmetic holds back; all others wait for its memory."""


class PowerTransferPriors:
    """Kernels as measured one by one; on a device of a timed family that was not timed itself scaled by its power."""

    def __init__(self) -> None:
        self._base = KernelPriors()

    def efficiency(self, replica: ModelReplica, kernel: KernelSignature) -> KernelEfficiency:
        """That of the kernel priors, its share of the peak by `power_factor`."""
        found = self._base.efficiency(replica, kernel)
        if kernel.kind not in COMPUTING:
            return found
        return replace(found, flops=found.flops * power_factor(replica.device, kernel))

    def overheads(self, replica: ModelReplica) -> StepOverheads:
        """None."""
        return self._base.overheads(replica)

    def serving(self, replica: ModelReplica) -> ServingOverheads:
        """Steps alone."""
        return self._base.serving(replica)


def power_factor(device: Accelerator, kernel: KernelSignature) -> float:
    """What to multiply the family's share of the peak with on a device; 1 where it was timed, or its family was not.

    e_max x / e,  P(x) = min(P(e / e_max) (W / F) / (W' / F'), 1)

    W, F: power limit and dense peak of the device, W', F': of the timed ones.  e: the share that they reach.  e_max:
    the greatest of any timed device.  P: power of the cores at a clock (`core_power`).

    >>> gemm = KernelSignature("gemm", "bf16", "bf16", 1)
    >>> [round(power_factor(accelerator(one), gemm), 2) for one in ("l40s", "rtx_4090", "l4")]
    [1.0, 1.35, 0.62]
    """
    prior = kernel_prior(kernel.kind, device, "", kernel.format)
    if prior.source_level != "family":
        return 1.0
    timed = [accelerator(name) for name in systems_timed(kernel.kind, kernel.format)]
    kin = [one for one in timed if one.family == device.family and kernel.arithmetic in one.peak_flops_per_s]
    if not kin:
        return 1.0
    theirs = sum(_watts_a_flop(one, kernel.arithmetic) for one in kin) / len(kin)
    most = max(greatest_share(kernel.kind, kernel.format), prior.eff_flops)
    clock = clock_at_watts(prior.eff_flops / most, _watts_a_flop(device, kernel.arithmetic) / theirs)
    return clock * most / prior.eff_flops


def clock_at_watts(clock: float, ratio: float) -> float:
    """The clock, as a share of the highest, with so many times the watts for each unit at the highest clock.

    >>> clock_at_watts(0.8, 1.0), clock_at_watts(0.8, 10.0)
    (0.8, 1.0)
    """
    voltage = power_facts().clocks
    asked = float(core_power(clock, voltage)) * ratio
    return round(float(np.interp(asked, core_power(GRID, voltage), GRID)), 4)


def _watts_a_flop(device: Accelerator, arithmetic: str) -> float:
    return device.tdp_w / device.peak(arithmetic)


@lru_cache(maxsize=64)
def greatest_share(kind: str, arithmetic: str) -> float:
    """The greatest share of the peak that kernels of a kind reach on any timed device.

    >>> greatest_share("gemm", "bf16")
    0.7591
    """
    timed = map(accelerator, systems_timed(kind, arithmetic))
    return max(kernel_prior(kind, one, "", arithmetic).eff_flops for one in timed)

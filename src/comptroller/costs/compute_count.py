"""FLOPs of a training run by both methods that rules know, and what export controls count of a device."""

from __future__ import annotations

from dataclasses import dataclass

from comptroller.costs.training_work import TrainingJob
from comptroller.facts.accelerator import Accelerator

OPERAND_BITS = {
    "fp64": 64, "fp32": 32, "fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "fp6": 6, "fp4": 4, "int4": 4,
}  # fmt: skip
"""Bits of an operand by arithmetic. TF32 keeps 19 bits of operands that are 32 bits wide; no device's greatest product
depends on which of the two is meant, so it is left out."""

MM2_PER_M2 = 1e6


@dataclass(frozen=True, slots=True)
class FlopRange:
    """A count of FLOPs with the least and the greatest that it may be."""

    flops: float
    low: float
    high: float

    def plus(self, more: float) -> FlopRange:
        """With more that is known exactly."""
        return FlopRange(self.flops + more, self.low + more, self.high + more)


def architecture_flops(job: TrainingJob, tokens: float) -> FlopRange:
    """FLOPs of a run by its architecture: the operations of a causal kernel, between 6 N D and the whole square.

    C = D (6 N_matrices + 6 sum over layers of width x pairs)

    low, high: the least and the greatest of this, of 6 N_active D (Kaplan et al., arXiv 2001.08361, section 2.1) and of
    attention over the whole square (PaLM, arXiv 2204.02311, appendix B). What is computed again does not count.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> found = architecture_flops(TrainingJob(model("llama_3_1_405b"), accelerator("h100_sxm"), 8192), 15.6e12)
    >>> f"{found.low:.3g} {found.flops:.3g} {found.high:.3g}"
    '3.8e+25 3.94e+25 4.1e+25'
    """
    # 6 N of what is trained whole, 4 N and the adapters' own beside frozen weights
    plain = 6.0 * job.model.active_params if job.adapter is None else 4.0 * job.model.active_params
    counts = (plain, job.causal_flops_per_token(), job.flops_per_token())
    return FlopRange(counts[1] * tokens, min(counts) * tokens, max(counts) * tokens)


def hardware_flops(device_s: float, peak_flops_per_s: float, utilisation: tuple[float, float, float]) -> FlopRange:
    """FLOPs of a run by its hardware: C = devices x time x peak x utilisation (low, middle, high).

    16,384 H100 for 54 days at 38 to 43 % (Llama 3.1 405B, arXiv 2407.21783):

    >>> found = hardware_flops(16384 * 54 * 86400.0, 989.4e12, (0.38, 0.40, 0.43))
    >>> f"{found.low:.3g} {found.flops:.3g} {found.high:.3g}"
    '2.87e+25 3.03e+25 3.25e+25'
    """
    low, middle, high = (device_s * peak_flops_per_s * share for share in utilisation)
    return FlopRange(middle, low, high)


def total_processing_performance(device: Accelerator) -> float:
    """TPP: dense Top/s times bits of an operand, the greatest over formats (ECCN 3A090, technical note 2).

    A multiply-add counts two operations, as in datasheets.

    >>> from comptroller.facts.accelerator import accelerator
    >>> round(total_processing_performance(accelerator("h100_sxm"))), round(
    ...     total_processing_performance(accelerator("a100_80_sxm"))
    ... )
    (15832, 4992)
    """
    rates = {str(name): rate for name, rate in device.peak_flops_per_s.items()}
    return max((rate / 1e12 * OPERAND_BITS[name] for name, rate in rates.items() if name in OPERAND_BITS), default=0.0)


def performance_density(device: Accelerator) -> float | None:
    """TPP over mm2 of the dies that compute; `None` where their area is not known.

    >>> from comptroller.facts.accelerator import accelerator
    >>> round(performance_density(accelerator("l4")), 2), round(performance_density(accelerator("h20")), 2)
    (6.59, 2.91)
    """
    if device.die_area_m2 is None:
        return None
    return total_processing_performance(device) / (device.die_area_m2 * MM2_PER_M2)

"""What the fitted kernel table says of a matrix product, by device, engine, format and shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from comptroller.costs.knee import smooth_max
from comptroller.errors import UnsupportedFormatError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.calibration import OpPrior, kernel_prior
from comptroller.facts.format import format_
from comptroller.facts.reader import ids

ENGINES = ("vllm", "trtllm", "sglang")
"""Engines whose matrix products stand in `facts/calibration/kernels.toml`."""


@dataclass(frozen=True, slots=True)
class GemmShape:
    """A product of (m, k) by (k, n)."""

    m: int
    n: int
    k: int

    @property
    def flops(self) -> float:
        """Multiplications and additions."""
        return 2.0 * self.m * self.n * self.k


DECODE, PREFILL = GemmShape(1, 8192, 8192), GemmShape(4096, 8192, 8192)
"""One token and 4,096 tokens against a matrix of 8,192 x 8,192: bound by memory, and by arithmetic."""


def gemm_s(device: Accelerator, prior: OpPrior, format_id: str, shape: GemmShape) -> float:
    """Seconds of a product by the fitted law that `facts/calibration/kernels.toml` states.

    t = floor + passes m k (2 + b) / B + depth k + smooth_max(2 m n k / (e_f F), (n k b + 2 m (n + k)) / (e_b B))

    b: bytes per weight; activations have two.

    Raises:
        UnsupportedFormatError: the device neither multiplies nor dequantises the format.
    """
    fmt = format_(format_id)
    peak = {str(name): rate for name, rate in device.peak_flops_per_s.items()}[fmt.compute_arithmetic(device)]
    moved = shape.n * shape.k * fmt.bytes_per_element + 2.0 * shape.m * (shape.n + shape.k)
    busy = smooth_max(
        np.array([shape.flops / (prior.eff_flops * peak)]),
        np.array([moved / (prior.eff_bytes * device.memory_bytes_per_s)]),
    )
    passed = shape.m * shape.k * (2 + fmt.bytes_per_element) / device.memory_bytes_per_s
    return float(busy[0]) + prior.floor_s + prior.passes * passed + prior.depth_s * shape.k


def measured_prior(device: Accelerator, engine: str, format_id: str) -> OpPrior | None:
    """The prior of a product if this very system, engine and format were measured."""
    prior = kernel_prior("gemm", device, engine, format_id)
    return prior if prior.source == f"{device.id}, {engine}, {format_id}" else None


@lru_cache(maxsize=256)
def speed_over_bf16(format_id: str, shape: GemmShape) -> Mapping[tuple[str, str], float]:
    """How many times faster than bf16 a product runs, by (accelerator, engine) where both were measured.

    >>> all(ratio < 2.7 for ratio in speed_over_bf16("nvfp4", DECODE).values())
    True
    """
    ratios = {}
    for name in ids("accelerators"):
        device = accelerator(name)
        for engine in ENGINES:
            bf16_prior, prior = (
                measured_prior(device, engine, name_of_format) for name_of_format in ("bf16", format_id)
            )
            if bf16_prior is None or prior is None:
                continue
            try:
                times = gemm_s(device, bf16_prior, "bf16", shape), gemm_s(device, prior, format_id, shape)
            except UnsupportedFormatError:
                continue
            ratios[name, engine] = times[0] / times[1]
    return ratios

"""States and weights outside the device: every resource has a timeline, and a phase takes as long as its slowest one.

Weights come to the device for the forward and again for the backward pass of each microbatch, gradients leave it, and
Adam runs on the host once a step; where there is a store (NVMe) weights and states are read from it and written back.
With everything overlapped the optimiser runs beside the last backward pass (Fuyou, arXiv 2403.06504), without it after
it (ZeRO-Infinity, arXiv 2104.07857).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

WEIGHT_BYTES, GRADIENT_BYTES, STATE_BYTES = 2.0, 2.0, 12.0
"""Of a weight: its 16-bit copy, its gradient as it leaves the device, master weight and two moments."""

ADAM_BYTES = 30.0
"""Bytes that Adam moves per weight in the host's memory: reads gradient (2) and states (12), writes states (12), the
16-bit weight (2), and the gradient came in (2)."""


@dataclass(frozen=True, slots=True)
class OffloadTier:
    """Where states are, rates of a node. host_bytes_per_s: of its memory.  read, write: of its store, infinite where
    states are in the host's memory.  overlapped: whether the optimiser runs beside the backward pass.  far_share,
    far_bytes_per_s: of the states in a slower memory of the host (CXL), which is read beside the other."""

    host_bytes_per_s: float
    read_bytes_per_s: float = float("inf")
    write_bytes_per_s: float = float("inf")
    overlapped: bool = True
    far_share: float = 0.0
    far_bytes_per_s: float = float("inf")

    @property
    def adam_bytes_per_s(self) -> float:
        """Rate at which states are updated where both memories work at once: the one that takes longer sets it.

        Half of the states in a memory of half the rate take as long as all in the whole rate's:

        >>> OffloadTier(200e9, far_share=0.5, far_bytes_per_s=100e9).adam_bytes_per_s / 1e9
        200.0
        """
        slowest_s = max((1.0 - self.far_share) / self.host_bytes_per_s, self.far_share / self.far_bytes_per_s)
        return 1.0 / slowest_s


@dataclass(frozen=True, slots=True)
class OffloadTraffic:
    """Least seconds of each phase by resources beside the device's computing, arrays of points.

    forward, backward: of one microbatch.  optimizer: of the step.
    """

    forward_s: Array
    backward_s: Array
    optimizer_s: Array


def offload_traffic(tier: OffloadTier, params: Array, node: Array, link_bytes_per_s: float) -> OffloadTraffic:
    """Traffic of a device that keeps so many weights outside. params: of a device's shard.  node: devices that share
    the host and its store.

    A billion weights over a link of 32 GB/s, a store of 8 GB/s up and 4 down, a host of 200 GB/s:

    >>> tier = OffloadTier(200e9, 8e9, 4e9)
    >>> found = offload_traffic(tier, np.array([1e9]), np.array([1.0]), 32e9)
    >>> [round(float(one[0]), 3) for one in (found.forward_s, found.backward_s, found.optimizer_s)]
    [0.25, 0.25, 3.5]
    """
    shared = params * node
    down = np.maximum(WEIGHT_BYTES * params / link_bytes_per_s, WEIGHT_BYTES * shared / tier.read_bytes_per_s)
    up = GRADIENT_BYTES * params / link_bytes_per_s
    states = np.maximum(
        STATE_BYTES * shared / tier.read_bytes_per_s, (STATE_BYTES + WEIGHT_BYTES) * shared / tier.write_bytes_per_s
    )
    return OffloadTraffic(down, np.maximum(down, up), np.maximum(states, ADAM_BYTES * shared / tier.adam_bytes_per_s))

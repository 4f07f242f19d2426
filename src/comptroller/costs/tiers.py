"""Weights that lie in a slower tier (the host's memory, a remote pool, flash) and are read from there in every step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.operations import OperationMatrices

Array = npt.NDArray[np.float64]

WEIGHTED = frozenset({"gemm", "moe"})
"""Operations that read weights."""


def step_through_tier_s(step_s: Array, moved_bytes: Array, link_bytes_per_s: float) -> Array:
    """Seconds of a step whose kernels read some of the weights through a link, as they need them.

    t = t_step + W / b

    step_s: with all weights in the device's memory, s.  moved_bytes: W, of weights read through the link in the step.
    link_bytes_per_s: b, in one direction. Source: vLLM's `--cpu-offload-gb` maps the host's memory into the device's
    address space and copies nothing ahead (pull request 6496). Measured: 64 clients on eight H20, 2,434 tokens/s, and
    120 with 35 GB of each device's weights in the host's memory (vLLM issue 57771).

    >>> round(64 / float(step_through_tier_s(np.array(64 / 2434), np.array(35e9), 64e9)), 1)
    111.7
    """
    return np.asarray(step_s + moved_bytes / link_bytes_per_s)


def step_ahead_of_tier_s(step_s: Array, moved_bytes: Array, link_bytes_per_s: float) -> Array:
    """The same where the weights of the next layers are fetched while this one computes.

    t = max(t_step, W / b)

    Source: FengHuang (arXiv 2511.10753) and MoE-Lens (arXiv 2504.09345), which hide what their links can carry in the
    time of a step.

    >>> round(float(step_ahead_of_tier_s(np.array(0.026), np.array(35e9), 64e9)), 3)
    0.547
    """
    return np.asarray(np.maximum(step_s, moved_bytes / link_bytes_per_s))


def tier_bound_per_s(tokens: float, moved_bytes: float, link_bytes_per_s: float) -> float:
    """Tokens per second that a link alone allows, however fast the device: n b / W (MoE-Lens, arXiv 2504.09345).

    tokens: n, of a step.  moved_bytes: W, of weights that the step reads through the link.  link_bytes_per_s: b.

    >>> round(tier_bound_per_s(64, 35e9, 64e9), 1)
    117.0
    """
    return tokens * link_bytes_per_s / moved_bytes


def weights_read(ops: OperationMatrices, values: Array) -> Array:
    """Share of a device's weights that steps read, (points,): all but the experts that no token touches.

    values: features of the steps, (features, points).
    """
    rows = np.array([row.kind in WEIGHTED for row in ops.rows])
    columns = [i for i, feature in enumerate(ops.features) if feature.name in {"one", "experts"}]
    of_step = values[columns]
    every = np.array([[float(ops.features[i].experts or 1)] for i in columns])
    coefficients = ops.count[rows, None] * ops.byte_matrix[rows][:, columns]
    return np.asarray((coefficients @ of_step).sum(axis=0) / (coefficients @ every).sum(axis=0))


def host_read_s(replica: ModelReplica, ops: OperationMatrices, values: Array) -> Array | float:
    """Seconds that steps read weights from the host's memory; 0 where all lie on the device."""
    link = replica.device.host
    if not replica.engine.offload_bytes or link is None:
        return 0.0
    moved = replica.engine.offload_bytes * weights_read(ops, values)
    return step_through_tier_s(np.zeros(moved.shape), moved, link.one_way_bytes_per_s)


def offload_refusal(replica: ModelReplica, weight_bytes: float) -> str:
    """Why weights cannot lie in the host's memory; empty if they can. weight_bytes: of the device."""
    offloaded = replica.engine.offload_bytes
    if not offloaded:
        return ""
    if replica.device.host is None:
        return f"{replica.device.id}: no link to the host's memory is known, over which weights would be read"
    if offloaded > weight_bytes:
        return (
            f"{replica}: {offloaded / 2**30:.3g} GiB of a device's weights cannot lie in the host's memory, for it has "
            f"{weight_bytes / 2**30:.3g}"
        )
    return ""

"""What a CPU's engine computes for several vectors: tiles, for which a matrix is unpacked, and dot products for one."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.operations import OperationMatrices

Array = npt.NDArray[np.float64]

MATRICES = frozenset({"gemm"})
"""Operations that are one matrix times some vectors; experts have kernels of their own."""


def tile_vectors(vectors: npt.ArrayLike, width: int) -> Array:
    """Vectors whose arithmetic a product of a matrix with some takes.

    e(n) = n + (w - 1) min(1, n - 1) for n >= 1, n below it.  n: `vectors`, means of steps among them.  w: `width`, so
    that the kernel for several, which unpacks a matrix's blocks once however many columns there are, takes as much
    longer as w - 1 more of them.

    Source: llama.cpp takes `vec_dot` for one column, and from two on the tiles of ggml/src/ggml-cpu/llamafile/sgemm.cpp
    (`if (n < 2) return false`); w is timed by benchmarks/cpu_tiles.py.

    >>> tile_vectors([0.5, 1.0, 1.5, 2.0, 4.0, 64.0], 8).tolist()
    [0.5, 1.0, 5.0, 9.0, 11.0, 71.0]
    >>> tile_vectors(3.0, 1).tolist()
    3.0
    """
    count = np.asarray(vectors, dtype=float)
    return np.asarray(count + (width - 1) * np.clip(count - 1, 0.0, 1.0))


def flops_in_tiles(replica: ModelReplica, operations: OperationMatrices, flops: Array) -> Array:
    """FLOPs that operations take, (operations, points): more than there are where a CPU unpacks tiles."""
    width = replica.engine.tile_vectors if replica.device.kind == "cpu" else 1
    if width == 1:
        return flops
    each = operations.flop_matrix.sum(axis=1)[:, None]
    vectors = flops / np.maximum(each, 1e-300)
    matrices = np.array([[row.kind in MATRICES] for row in operations.rows])
    return np.where(matrices, each * tile_vectors(vectors, width), flops)

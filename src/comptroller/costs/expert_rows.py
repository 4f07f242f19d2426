"""Rows that products of experts really have: padding to a capacity or to tiles, and the busiest device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.training_layout import LayoutGrid
from comptroller.facts.model import MixtureOfExperts, Model

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class ExpertRows:
    """How tokens fill experts. capacity: rows of every expert over its mean tokens, padded or dropped to; 0 where none
    are.  tile: rows of a tile of the grouped product, 1 where none is counted.  rounded: whether the router gives every
    expert whole tiles (token rounding of SonicMoE, arXiv 2512.14080).  imbalance: tokens of the busiest device over
    the mean.  minimal: whether inputs and first products alone are kept for the backward pass (SonicMoE)."""

    capacity: float = 0.0
    tile: int = 1
    rounded: bool = False
    imbalance: float = 1.0
    minimal: bool = False


def expert_tokens(model: Model, grid: LayoutGrid, seq: int) -> Array:
    """Mean tokens of an expert in a microbatch: those of the devices that share the experts, k of E each."""
    share = max(
        (block.ffn.chosen / block.ffn.experts for block in model.blocks if isinstance(block.ffn, MixtureOfExperts)),
        default=1.0,
    )
    groups = np.maximum(grid.ep / grid.tp, 1.0)
    return np.asarray(grid.micro_batch * seq / grid.cp * groups * share)


def row_factor(rows: ExpertRows, tokens: npt.ArrayLike) -> Array:
    """Rows that the busiest device computes over the tokens that it would have in balance.

    r = c with a capacity, else b max(1 + (t - 1) / (2 n), t / n), b where the router rounds

    c: capacity.  b: imbalance.  t: rows of a tile.  n: `tokens`, of an expert; its last tile is half full in the mean
    where tokens of experts differ by as much as a tile has.

    >>> row_factor(ExpertRows(tile=128), [1024.0, 64.0]).round(3).tolist()
    [1.062, 2.0]
    """
    count = np.maximum(np.asarray(tokens, float), 1e-9)
    if rows.capacity:
        return np.full(count.shape, rows.capacity)
    padded = np.maximum(1.0 + (rows.tile - 1) / (2.0 * count), rows.tile / count)
    return np.asarray(rows.imbalance * (np.ones(count.shape) if rows.rounded else padded))

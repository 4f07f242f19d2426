"""Pipeline schedules: what each leaves of the bubble, and microbatches that a stage holds at its fullest.

Every schedule runs a forward pass (F), the backward pass for inputs (B) and that for weights (W) of each microbatch on
each stage. Splitting B from W lets the next stage begin before W, which then fills the bubble.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.training_layout import Ints, LayoutGrid, PipelineSchedule

Array = npt.NDArray[np.float64]

V_CHUNKS = 2
"""Chunks of a device in a V: one on the way down the pipeline, one on the way back."""


@dataclass(frozen=True, slots=True)
class PassSeconds:
    """Seconds of one microbatch on a device, arrays of points. inputs: recomputation too, which precedes it."""

    forward: Array
    inputs: Array
    weights: Array

    @property
    def whole(self) -> Array:
        """All three."""
        return self.forward + self.inputs + self.weights


def least_rounds(schedule: PipelineSchedule, stages: int) -> int:
    """Microbatches from which on a schedule leaves no more than it says: p of ZB-H1, 2 p - 1 of a V.

    >>> [least_rounds(one, 4) for one in PipelineSchedule]
    [1, 4, 7]
    """
    return {PipelineSchedule.ZB_H1: stages, PipelineSchedule.ZB_V: 2 * stages - 1}.get(schedule, 1)


def bubble_share(schedule: Ints, seconds: PassSeconds) -> Array:
    """Idle time of a device over (p - 1) microbatches of one chunk: 1 for one forward and one backward in turn.

    1F1B and interleaved: (p - 1) (F + B + W) / v.  ZB-H1: (p - 1) (F + max(B - W, 0)) / v (arXiv 2401.10241, table 2),
    also with v chunks a device.  ZB-V: (p - 1) max(B / 2, B - W), as the order of passes leaves it that PyTorch's
    `ScheduleZBVZeroBubble` has, for W <= F <= B, which holds of layers: B has F's products and more of attention's.

    Over the bubble of 1F1B, where all three take alike; a V's chunks are two, so half of its share is left:

    >>> alike = PassSeconds(*(np.ones(3) for _ in range(3)))
    >>> bubble_share(np.array([0, 1, 2]), alike).round(3).tolist()
    [1.0, 0.333, 0.333]
    """
    behind = np.maximum(seconds.inputs - seconds.weights, 0.0)
    moved = (seconds.forward + behind) / seconds.whole
    folded = V_CHUNKS * np.maximum(seconds.inputs / V_CHUNKS, behind) / seconds.whole
    return np.select([schedule == PipelineSchedule.ZB_H1, schedule == PipelineSchedule.ZB_V], [moved, folded], 1.0)


def held_microbatches(grid: LayoutGrid, rounds: Ints, stage: Ints) -> Array:
    """Microbatches of its layers that a stage holds at its fullest.

    1F1B: min(p - s, m).  Interleaved: min((v - 1) p + 2 (p - 1 - s) + 1, v m) / v (arXiv 2104.04473, section 2.2).
    ZB-H1 and ZB-V: min(p, m) on every stage (arXiv 2401.10241, table 2 and section 6), where what waits for its
    weights' gradients counts whole.

    s: `stage`, from 0.  m: `rounds`.  v: chunks of a device.

    >>> from comptroller.costs.training_layout import TrainingLayout
    >>> grid = LayoutGrid.of([TrainingLayout(pp=4), TrainingLayout(pp=4, chunks=2)])
    >>> held_microbatches(grid, np.array([8, 8]), np.array([0, 0])).tolist()
    [4.0, 5.5]
    """
    p, v = grid.pp, grid.chunks
    turns = np.where(v > 1, (v - 1) * p + 2 * (p - 1 - stage) + 1, p - stage)
    held = np.where(grid.schedule == PipelineSchedule.ONE_EACH, turns, v * p)
    return np.asarray(np.minimum(held, v * rounds) / v)

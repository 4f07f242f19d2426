"""Every layout of a model on so many devices: those that divide, fit and are fastest."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.network import node_devices
from comptroller.costs.training_layout import (
    LayoutGrid,
    PipelineSchedule,
    StateSharding,
    TrainingLayout,
    expert_count,
    stage_layers,
    tensor_units,
)
from comptroller.costs.training_memory import MemoryHabits, TrainingMemory, leaving_bytes, training_memory
from comptroller.costs.training_schedule import V_CHUNKS, least_rounds
from comptroller.costs.training_time import (
    TrainingPace,
    TrainingStepTime,
    outside_bytes,
    step_ingredients,
    training_step_time,
)
from comptroller.costs.training_work import ForwardTable
from comptroller.training.programs import IN_TURN, ProgramReach, TrainingSchedule

Array = npt.NDArray[np.float64]

MOST_TENSOR, MOST_CONTEXT, MOST_CHUNKS, MOST_MICRO = 16, 16, 12, 32
"""Greatest degrees that are tried: beyond them nothing that was measured gained."""

LONG_TOKENS = 8192
"""Tokens of a sequence of which each device keeps at least half with context parallelism: shorter parts move as many
keys as they compute with."""

Row = tuple[int, int, int, int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class LayoutQuestion:
    """What is searched. table: forward passes of the job.  devices: of the run.  stated: degrees that are given.
    memory_bytes: of a device that training may use.  schedules: that may be used, of those that the program has."""

    table: ForwardTable
    devices: int
    global_batch: int
    reach: ProgramReach
    stated: dict[str, int]
    memory_bytes: float
    schedules: tuple[TrainingSchedule, ...] = IN_TURN


@dataclass(frozen=True, slots=True)
class LayoutChoice:
    """A layout with its step and memory, and how many layouts were tried and fit."""

    layout: TrainingLayout
    time: TrainingStepTime
    memory: TrainingMemory
    tried: int
    fitting: int

    @property
    def step_s(self) -> float:
        """Seconds of a step."""
        return float(self.time.total_s[0])


def layouts(asked: LayoutQuestion) -> LayoutGrid:
    """All layouts of a question that divide devices, model and batch."""
    rows = list(dict.fromkeys(_rows(asked)))
    columns = np.array(rows, dtype=np.int64).reshape(len(rows), 10).T
    return LayoutGrid(*columns)


def _rows(asked: LayoutQuestion) -> Iterator[Row]:
    for tp, cp, pp in itertools.product(_tensor(asked), _context(asked), _stages(asked)):
        if asked.devices % (tp * cp * pp):
            continue
        dp = asked.devices // (tp * cp * pp)
        if asked.stated.get("dp", dp) != dp or asked.global_batch % dp:
            continue
        yield from _state_choices(asked, (dp, tp, pp, cp))


def _state_choices(asked: LayoutQuestion, cut: tuple[int, int, int, int]) -> Iterator[Row]:
    dp, tp, pp, cp = cut
    for ep, micro, chunks in itertools.product(_experts(asked, dp * cp * tp), _micro(asked, dp), _chunks(asked, pp)):
        rounds = asked.global_batch // (dp * micro)
        orders = [one for one in _schedules(asked, pp, chunks) if _keeps(one, pp, chunks, rounds)]
        for sharding, schedule in itertools.product(asked.reach.sharded, orders):
            if sharding >= StateSharding.GRADIENTS and pp > 1 and not asked.reach.sharded_stages:
                continue
            for recompute in asked.reach.recompute:
                yield (dp, tp, pp, cp, ep, chunks, micro, int(sharding), int(recompute), int(schedule))


def _schedules(asked: LayoutQuestion, pp: int, chunks: int) -> list[PipelineSchedule]:
    """Orders that so many stages and chunks can have."""
    if pp == 1:
        return [PipelineSchedule.ONE_EACH] if chunks == 1 else []
    may = [one for one in asked.schedules if one in asked.reach.schedules]
    found = []
    if (TrainingSchedule.INTERLEAVED if chunks > 1 else TrainingSchedule.ONE_EACH) in may:
        found.append(PipelineSchedule.ONE_EACH)
    if TrainingSchedule.ZB_H1 in may and chunks >= asked.reach.zb_chunks:
        found.append(PipelineSchedule.ZB_H1)
    if TrainingSchedule.ZB_V in may and chunks == V_CHUNKS:
        found.append(PipelineSchedule.ZB_V)
    return found


def _keeps(schedule: PipelineSchedule, pp: int, chunks: int, rounds: int) -> bool:
    """Whether so many microbatches fill a schedule: whole rounds of the stages where chunks take turns."""
    if rounds < least_rounds(schedule, pp):
        return False
    return chunks == 1 or schedule == PipelineSchedule.ZB_V or rounds % pp == 0


def _powers(most: int) -> list[int]:
    return [2**i for i in range(max(most, 1).bit_length()) if 2**i <= most]


def _tensor(asked: LayoutQuestion) -> list[int]:
    if "tp" in asked.stated:
        return [asked.stated["tp"]]
    if not asked.reach.split:
        return [1]
    most = min(MOST_TENSOR, node_devices(asked.table.job.device))
    return [n for n in _powers(most) if tensor_units(asked.table.job.model) % n == 0]


def _context(asked: LayoutQuestion) -> list[int]:
    if "cp" in asked.stated:
        return [asked.stated["cp"]]
    seq = asked.table.job.seq
    most = min(MOST_CONTEXT, seq // (LONG_TOKENS // 2)) if asked.reach.context else 1
    return [n for n in _powers(most) if n == 1 or seq % (2 * n) == 0]


def _stages(asked: LayoutQuestion) -> list[int]:
    if "pp" in asked.stated:
        return [asked.stated["pp"]]
    if not asked.reach.split:
        return [1]
    own, ends = stage_layers(asked.table.job.model)
    return [n for n in range(1, own + 1) if (own % n == 0 or ends % n == 0) and asked.devices % n == 0]


def _experts(asked: LayoutQuestion, stage: int) -> list[int]:
    if "ep" in asked.stated:
        return [asked.stated["ep"]]
    if not asked.reach.experts:
        return [1]
    experts = expert_count(asked.table.job.model)
    return [n for n in _powers(min(experts, stage)) if experts % n == 0 and stage % n == 0]


def _micro(asked: LayoutQuestion, dp: int) -> list[int]:
    each = asked.global_batch // dp
    if "micro_batch" in asked.stated:
        return [asked.stated["micro_batch"]] if each % asked.stated["micro_batch"] == 0 else []
    return [n for n in _powers(min(MOST_MICRO, each)) if each % n == 0]


def _chunks(asked: LayoutQuestion, pp: int) -> list[int]:
    if "chunks" in asked.stated:
        return [asked.stated["chunks"]]
    if pp == 1:
        return [1]
    own, ends = stage_layers(asked.table.job.model)
    return [n for n in range(1, MOST_CHUNKS + 1) if own % (pp * n) == 0 or (own >= pp * n and ends % (pp * n) == 0)]


def fastest(asked: LayoutQuestion, pace: TrainingPace, habits: MemoryHabits) -> LayoutChoice | None:
    """The fastest layout that fits into memory; of equal ones the first; `None` where none fits."""
    grid = layouts(asked)
    if not len(grid):
        return None
    job = asked.table.job
    memory = training_memory(job, grid, asked.global_batch, habits).total_bytes
    fits = np.flatnonzero((memory <= asked.memory_bytes) & _fits_outside(asked, grid, habits))
    if not len(fits):
        return None
    kept = grid.take(fits)
    times = _step_time(asked, kept, pace, habits).total_s
    best = int(np.argmin(np.round(times, 9)))
    alone = kept.take([best])
    time = _step_time(asked, alone, pace, habits)
    found = training_memory(job, alone, asked.global_batch, habits)
    return LayoutChoice(kept.row(best), time, found, len(grid), len(fits))


def _step_time(asked: LayoutQuestion, grid: LayoutGrid, pace: TrainingPace, habits: MemoryHabits) -> TrainingStepTime:
    leaving = leaving_bytes(asked.table.job, grid, habits)
    return training_step_time(step_ingredients(asked.table, grid, asked.global_batch, leaving), pace)


def held_outside_bytes(asked: LayoutQuestion, grid: LayoutGrid, habits: MemoryHabits) -> Array:
    """Bytes that the memory of a node's host has to hold; zero where nothing is kept there."""
    job = asked.table.job
    if job.offload is None:
        return np.zeros(len(grid))
    return outside_bytes(job, grid, leaving_bytes(job, grid, habits)).held_bytes(job.offload)


def _fits_outside(asked: LayoutQuestion, grid: LayoutGrid, habits: MemoryHabits) -> npt.NDArray[np.bool_]:
    tier = asked.table.job.offload
    most = np.inf if tier is None else tier.host_bytes
    return np.asarray(held_outside_bytes(asked, grid, habits) <= most)


def leanest(asked: LayoutQuestion, habits: MemoryHabits) -> tuple[TrainingLayout, TrainingMemory] | None:
    """The layout that needs least on a device, with the memory of its fullest; `None` where no layout divides."""
    grid = layouts(asked)
    if not len(grid):
        return None
    least = int(np.argmin(training_memory(asked.table.job, grid, asked.global_batch, habits).total_bytes))
    alone = grid.take([least])
    return grid.row(least), training_memory(asked.table.job, alone, asked.global_batch, habits)


def least_outside_bytes(asked: LayoutQuestion, habits: MemoryHabits) -> float:
    """Bytes of the layout that needs least in the memory of a node's host; infinite where no layout divides."""
    grid = layouts(asked)
    return float(held_outside_bytes(asked, grid, habits).min()) if len(grid) else float("inf")

"""Memory of a layout stage by stage: what each holds, and which part of the fullest one is largest."""

from __future__ import annotations

import numpy as np

from comptroller.costs.training_layout import (
    ActivationRecompute,
    LayoutGrid,
    PipelineSchedule,
    StateSharding,
    TrainingLayout,
)
from comptroller.costs.training_memory import MemoryHabits, TrainingMemory, stage_memory
from comptroller.costs.training_schedule import held_microbatches
from comptroller.costs.training_work import TrainingJob
from comptroller.training.plan_document import StageMemoryDocument, TrainingLayoutDocument, six_digits
from comptroller.training.programs import TrainingSchedule

LARGEST = 3
"""Parts of a refused stage that are told."""

PART_NAMES = {
    "surplus": "further microbatches in flight",
    "inputs": "inputs of layers",
    "optimizer": "optimiser states",
}
"""Part of memory -> its name for readers, where it has another."""


def schedule_name(layout: TrainingLayout) -> str:
    """The order of passes as workloads name it; empty without a pipeline.

    >>> schedule_name(TrainingLayout(pp=4, chunks=2)), schedule_name(TrainingLayout())
    ('interleaved', '')
    """
    if layout.pp == 1:
        return ""
    if layout.schedule == PipelineSchedule.ONE_EACH:
        return str(TrainingSchedule.INTERLEAVED if layout.chunks > 1 else TrainingSchedule.ONE_EACH)
    return PipelineSchedule(layout.schedule).name.lower()


def layout_document(layout: TrainingLayout, global_batch: int) -> TrainingLayoutDocument:
    """A layout as a plan states it."""
    return TrainingLayoutDocument(
        dp=layout.dp, tp=layout.tp, pp=layout.pp, cp=layout.cp, ep=layout.ep, chunks=layout.chunks,
        micro_batch=layout.micro_batch,
        accumulation=int(LayoutGrid.of([layout]).microbatches(global_batch)[0]),
        sharding=StateSharding(layout.sharding).name.lower(),
        recompute=ActivationRecompute(layout.recompute).name.lower(),
        schedule=schedule_name(layout),
    )  # fmt: skip


def memory_by_stage(
    job: TrainingJob, layout: TrainingLayout, global_batch: int, habits: MemoryHabits
) -> tuple[TrainingMemory, np.ndarray]:
    """Memory of every stage of one layout, arrays of stages, and the microbatches that each holds."""
    grid = LayoutGrid.of([layout] * layout.pp)
    stage = np.arange(layout.pp, dtype=np.int64)
    held = held_microbatches(grid, grid.microbatches(global_batch), stage)
    return stage_memory(job, grid, global_batch, stage, habits), held


def stage_documents(
    job: TrainingJob, layout: TrainingLayout, global_batch: int, habits: MemoryHabits
) -> tuple[StageMemoryDocument, ...]:
    """The stages of a layout for its plan; stages of equal memory stand once, as a range."""
    memory, held = memory_by_stage(job, layout, global_batch, habits)
    rows: list[StageMemoryDocument] = []
    for stage in range(layout.pp):
        parts = {name: six_digits(float(value[stage])) for name, value in memory.parts.items() if value[stage] > 0}
        total, flight = six_digits(float(memory.total_bytes[stage])), six_digits(float(held[stage]))
        row = StageMemoryDocument(first=stage, last=stage, microbatches=flight, memory_bytes=parts, total_bytes=total)
        if rows and (rows[-1].memory_bytes, rows[-1].microbatches) == (parts, flight):
            rows[-1] = rows[-1].model_copy(update={"last": stage})
        else:
            rows.append(row)
    return tuple(rows)


def fullest_words(job: TrainingJob, layout: TrainingLayout, global_batch: int, habits: MemoryHabits) -> str:
    """A layout, its fullest stage and the largest parts of that, in words."""
    memory, held = memory_by_stage(job, layout, global_batch, habits)
    worst = int(np.argmax(memory.total_bytes))
    parts = sorted(((float(value[worst]), name) for name, value in memory.parts.items()), reverse=True)[:LARGEST]
    told = ", ".join(f"{size / 1e9:,.1f} GB {PART_NAMES.get(name, name)}" for size, name in parts if size > 0)
    count = f"{held[worst]:.3g} microbatch{'es' if held[worst] != 1 else ''}"
    return f"{layout_words(layout)}, whose stage {worst + 1} of {layout.pp} holds {count}: {told}"


def layout_words(layout: TrainingLayout) -> str:
    """Degrees, microbatch, sharding, recomputation and schedule of a layout, in one line.

    >>> layout_words(TrainingLayout(dp=2, pp=4, sharding=StateSharding.OPTIMIZER))
    'dp2-pp4, microbatch 1, optimizer shared out, recompute none, 1f1b'
    """
    shared = StateSharding(layout.sharding).name.lower()
    again = ActivationRecompute(layout.recompute).name.lower()
    words = [str(layout), f"microbatch {layout.micro_batch}", f"{shared} shared out", f"recompute {again}"]
    return ", ".join([*words, *filter(None, [schedule_name(layout)])])

"""Memory of training by part and by stage: weights, gradients, optimiser states, activations by kind of layer, the two
ends of the model, buffers.

The first stage of a pipeline holds the table of embeddings and most microbatches, the last one the head and the logits;
the fuller of the two decides whether a layout fits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.expert_rows import ExpertRows, expert_tokens, row_factor
from comptroller.costs.training_activations import (
    HALF,
    ActivationHabits,
    LayerActivations,
    layer_activations,
    undivided_activations,
)
from comptroller.costs.training_layout import ActivationRecompute, Ints, LayoutGrid, PipelineSchedule, StateSharding
from comptroller.costs.training_schedule import held_microbatches
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.model import Model

Array = npt.NDArray[np.float64]


PLAIN = ActivationHabits()
"""Fused attention, no dropout."""


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes that training keeps for each weight. weights: the 16-bit copy.  gradients: as they are accumulated.
    optimizer: master weight and two moments.  Megatron-LM: 2 + 4 + 12 = 18; with gradients in 16 bit 16."""

    weights: float = 2.0
    gradients: float = 4.0
    optimizer: float = 12.0


@dataclass(frozen=True, slots=True)
class MemoryHabits:
    """What a training program keeps. states: of a weight.  layer: of a layer's activations.  logit_bytes: of a logit,
    with its gradient; split_logit_bytes: where tensor parallelism splits the vocabulary.  kept: share of a layer's
    activations that selective recomputation keeps.  narrow_kept: whether quantised weights and inputs of matrices are
    kept until the backward pass, as Transformer Engine does and torchao does not.  sequence_split: whether sequence
    parallelism splits what tensor parallelism leaves whole.  gathered: copies of a microbatch's
    whole activations that sequence parallelism gathers.  slack: of the allocator, over what is allocated.  base_bytes:
    context and buffers.
    """

    states: StateBytes = StateBytes()
    layer: ActivationHabits = PLAIN
    logit_bytes: float = 10.0
    split_logit_bytes: float = 10.0
    kept: float = 1.0
    narrow_kept: bool = False
    sequence_split: bool = True
    gathered: float = 2.0
    slack: float = 1.05
    base_bytes: float = 1.5e9


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes of a device by part, arrays of points. norms, attention, mlp, experts: activations of one microbatch by
    kind of layer; inputs: of layers that are computed again.  surplus: activations of further microbatches, which a
    stage holds until their gradients come back.  embedding, logits: at the two ends of the model.  slack: what the
    allocator cannot use."""

    weights: Array
    gradients: Array
    optimizer: Array
    norms: Array
    attention: Array
    mlp: Array
    experts: Array
    inputs: Array
    surplus: Array
    embedding: Array
    logits: Array
    buffers: Array
    slack: Array

    @property
    def activations(self) -> Array:
        """Of one microbatch, all kinds of layers."""
        return np.asarray(self.norms + self.attention + self.mlp + self.experts + self.inputs)

    @property
    def parts(self) -> dict[str, Array]:
        """Every part by name."""
        return {item.name: getattr(self, item.name) for item in fields(self)}

    @property
    def total_bytes(self) -> Array:
        """All parts."""
        return np.asarray(sum(self.parts.values()))


def training_memory(
    job: TrainingJob, grid: LayoutGrid, global_batch: int, habits: MemoryHabits = MemoryHabits()
) -> TrainingMemory:
    """Memory of the fullest device of every layout: of the first stage or of the last, whichever is fuller."""
    first, last = (stage_memory(job, grid, global_batch, end, habits) for end in (np.zeros_like(grid.pp), grid.pp - 1))
    at_end = last.total_bytes > first.total_bytes
    return TrainingMemory(*(np.where(at_end, last.parts[name], part) for name, part in first.parts.items()))


def stage_memory(
    job: TrainingJob, grid: LayoutGrid, global_batch: int, stage: Ints, habits: MemoryHabits = MemoryHabits()
) -> TrainingMemory:
    """Memory of a device of one stage of every layout. stage: from 0."""
    params = _stage_params(job.model, grid, stage)
    weights, gradients, optimizer = _state_bytes(job, grid, habits, params)
    tokens = grid.micro_batch * job.seq / grid.cp
    each = tokens / grid.tp
    begins, ends = stage == 0, _has_head(grid, stage)
    layer = _layer_habits(job, habits)
    rows = row_factor(job.experts or ExpertRows(), expert_tokens(job.model, grid, job.seq))
    kinds = _kept_bytes(job, grid, replace(habits, layer=layer), rows) * each / grid.pp
    kinds = kinds if habits.sequence_split else kinds + _undivided_bytes(job, grid, layer) * (tokens - each) / grid.pp
    held = held_microbatches(grid, grid.microbatches(global_batch), stage)
    hidden, words = job.model.hidden, job.model.vocabulary
    logit = np.where(grid.tp > 1, habits.split_logit_bytes, habits.logit_bytes)
    buffers = habits.gathered * HALF * tokens * hidden * (grid.tp > 1) + habits.base_bytes
    parts = (
        weights,
        gradients,
        optimizer,
        *kinds,
        (held - 1.0) * kinds.sum(axis=0),
        begins * held * each * habits.layer.dropout * hidden,
        ends * each * (words * logit + 2 * HALF * hidden),
        buffers + _rebuilt_bytes(job, grid, habits),
    )
    return TrainingMemory(*(*parts, np.asarray((habits.slack - 1.0) * sum(parts))))


def _undivided_bytes(job: TrainingJob, grid: LayoutGrid, habits: ActivationHabits) -> Array:
    """Bytes per token of all layers by kind that are on every device of a tensor-parallel group; where layers are
    computed again, their inputs."""
    total = LayerActivations()
    for block in job.model.blocks:
        total += undivided_activations(block, job.model.hidden, habits).times(block.count)
    again = LayerActivations(inputs=HALF * job.model.layers * job.model.hidden)
    full = grid.recompute == ActivationRecompute.FULL
    return np.stack(
        [np.where(full, getattr(again, item.name), getattr(total, item.name)) for item in fields(LayerActivations)]
    )


def _layer_habits(job: TrainingJob, habits: MemoryHabits) -> ActivationHabits:
    """Habits of a layer with inputs of matrices as the recipe keeps them, and what experts keep."""
    layer = replace(habits.layer, permuted=job.experts is None or not job.experts.minimal)
    if job.narrow is None or not habits.narrow_kept:
        return layer
    wide = job.narrow.wide_share
    return replace(layer, input_bytes=wide * HALF + (1.0 - wide) * job.narrow.column_bytes)


def _has_head(grid: LayoutGrid, stage: Ints) -> npt.NDArray[np.bool_]:
    """Whether a stage has the head: the last one, of a V the first."""
    return np.asarray(np.where(grid.schedule == PipelineSchedule.ZB_V, stage == 0, stage == grid.pp - 1))


def _stage_params(model: Model, grid: LayoutGrid, stage: Ints) -> tuple[Array, Array]:
    """Weights of a device before data-parallel sharding: dense ones, with the tables where they lie, and experts."""
    table = float(model.hidden * model.vocabulary)
    side = model.side_elements + model.vision_elements
    begins, ends = stage == 0, _has_head(grid, stage)
    shared = begins & ends & model.tied_embedding
    tables = begins * (table + side) + ends * table - shared * table
    experts = model.expert_params
    blocks = model.total_params - model.embedding_params - side - experts
    return (blocks / grid.pp + tables) / grid.tp, np.asarray(experts / grid.pp / np.maximum(grid.ep, grid.tp))


def _state_bytes(
    job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits, params: tuple[Array, Array]
) -> tuple[Array, Array, Array]:
    dense, experts = params
    ranks = (grid.dp * grid.cp).astype(float)
    few = np.maximum(ranks * grid.tp / np.maximum(grid.ep, grid.tp), 1.0)

    def held(bytes_each: float, least: StateSharding) -> Array:
        cut = grid.sharding >= least
        return np.asarray(bytes_each * (dense / np.where(cut, ranks, 1.0) + experts / np.where(cut, few, 1.0)))

    kept = _states_of(job, habits.states)
    # shared-out weights of a run that trains all are its 32-bit ones, which `optimizer` counts; frozen ones are none
    shard = 0.0 if job.adapter is None else held(kept.weights, StateSharding.FULL)
    weights = np.where(grid.sharding == StateSharding.FULL, shard, held(kept.weights, StateSharding.FULL))
    weights = weights + _gathered_layers(job, grid, kept, params) + _narrow_copies(job, grid, habits, params)
    if job.offload is not None:  # of each layer its weights and gradients are here while it computes, states never
        return _gathered_layers(job, grid, kept, params), np.zeros(len(grid)), np.zeros(len(grid))
    return weights, held(kept.gradients, StateSharding.GRADIENTS), held(kept.optimizer, StateSharding.OPTIMIZER)


def _narrow_copies(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits, params: tuple[Array, Array]) -> Array:
    """Quantised copies of the weights of layers, kept over the microbatches of a step; of those that are shared out
    (ZeRO-3) of two layers alone."""
    if job.narrow is None or not habits.narrow_kept:
        return np.zeros(len(grid))
    table = job.model.hidden * job.model.vocabulary / grid.tp
    layers = np.maximum(params[0] - (grid.pp == 1) * table * (2 - job.model.tied_embedding), 0.0) + params[1]
    held = np.where(grid.sharding == StateSharding.FULL, 2.0 * grid.pp / job.model.layers, 1.0)
    return np.asarray((1.0 - job.narrow.wide_share) * job.narrow.copy_bytes(job.device.family) * layers * held)


def _states_of(job: TrainingJob, kept: StateBytes) -> StateBytes:
    """Bytes a weight as the job trains: beside adapters frozen weights in their bits, states of the adapters alone."""
    if job.adapter is None:
        return kept
    share = job.trained_share
    frozen = job.adapter.base_bits / 8.0
    return StateBytes(frozen + kept.weights * share, kept.gradients * share, kept.optimizer * share)


def _gathered_layers(job: TrainingJob, grid: LayoutGrid, kept: StateBytes, params: tuple[Array, Array]) -> Array:
    """Weights of two layers, gathered by ZeRO-3 while one computes, with the gradients of one.

    The 32-bit master weights are the sharded ones, which `optimizer` counts.
    """
    dense, experts = params
    layer = (dense + experts) / np.maximum(job.model.layers / grid.pp, 1.0)
    table = job.model.hidden * job.model.vocabulary / grid.tp
    full = grid.sharding == StateSharding.FULL
    return np.asarray(np.where(full, 2 * kept.weights * np.maximum(layer, table) + kept.gradients * layer, 0.0))


def _layer_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits, rows: Array) -> Array:
    """Bytes per token of all layers by kind, as recomputation leaves them, of shape (kinds, points). rows: of products
    of experts over tokens in balance."""
    model, fused = job.model, replace(habits.layer, score_bytes=0.0)
    whole = _all_layers(job, habits.layer)
    core = _all_layers(job, fused).times(habits.kept)
    again = LayerActivations(inputs=HALF * model.layers * model.hidden)
    columns = {ActivationRecompute.NONE: whole, ActivationRecompute.SELECTIVE: core, ActivationRecompute.FULL: again}
    names = [item.name for item in fields(LayerActivations)]
    kinds = np.stack(
        [
            np.select([grid.recompute == kind for kind in columns], [getattr(one, name) for one in columns.values()])
            for name in names
        ]
    ).astype(float)
    left = np.select(
        [grid.recompute == ActivationRecompute.NONE, grid.recompute == ActivationRecompute.SELECTIVE],
        [1.0, habits.kept],
        0.0,
    )
    kinds[names.index("experts")] += (rows - 1.0) * left * (_all_layers(job, habits.layer, 2.0).experts - whole.experts)
    return kinds


def _all_layers(job: TrainingJob, habits: ActivationHabits, rows: float = 1.0) -> LayerActivations:
    total = LayerActivations()
    for block in job.model.blocks:
        total += layer_activations(block, job.model.hidden, job.seq, habits, rows).times(block.count)
    return total


def _kept_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits, rows: Array) -> Array:
    """Bytes per token of the activations that stay on the device by kind; where they may leave, those of the layer
    that is on its way besides the one that is computed (`_rebuilt_bytes`)."""
    kinds = _layer_bytes(job, grid, habits, rows)
    if job.offload is None or not job.offload.swaps:
        return kinds
    model, whole = job.model, np.maximum(kinds.sum(axis=0), 1.0)
    widest = max(layer_activations(b, model.hidden, job.seq, habits.layer).whole for b in model.blocks)
    stays = np.where(grid.recompute == ActivationRecompute.FULL, np.minimum(widest, whole), whole)
    return np.asarray(kinds * stays / whole)


def leaving_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> tuple[Array, Array] | None:
    """Bytes of a microbatch's activations that a device may send out: inputs of layers, and all others; `None` where
    none may leave. Layouts that recompute nothing keep all of theirs."""
    if job.offload is None or not job.offload.swaps:
        return None
    tokens = grid.micro_batch * job.seq / (grid.cp * grid.tp * grid.pp)
    may = (grid.recompute == ActivationRecompute.FULL) * tokens
    inputs = HALF * job.model.layers * job.model.hidden
    return np.asarray(inputs * may), np.asarray((_all_layers(job, habits.layer).whole - inputs) * may)


def _rebuilt_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> Array:
    """Activations of the one layer that is being computed again."""
    model = job.model
    widest = max(layer_activations(b, model.hidden, job.seq, habits.layer).whole for b in model.blocks)
    again = (grid.recompute == ActivationRecompute.FULL) * widest
    again = again + (grid.recompute == ActivationRecompute.SELECTIVE) * widest * (1.0 - habits.kept)
    return np.asarray(again * grid.micro_batch * job.seq / (grid.cp * grid.tp))

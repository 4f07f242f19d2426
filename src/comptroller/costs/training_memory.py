"""Memory of training by part: weights, gradients, optimiser states, activations of every layer, logits, buffers.

Every quantity is of the fullest device; the first stage of a pipeline holds as many microbatches as there are stages,
the last one the logits.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.training_layout import ActivationRecompute, LayoutGrid, StateSharding
from comptroller.costs.training_time import device_params
from comptroller.costs.training_work import TrainingJob
from comptroller.facts.model import (
    DenseFeedForward,
    LatentAttention,
    LayerBlock,
    LinearAttention,
    MixtureOfExperts,
    SoftmaxAttention,
)

Array = npt.NDArray[np.float64]

HALF = 2.0
"""Bytes of an activation, which every program keeps in 16 bit."""


@dataclass(frozen=True, slots=True)
class StateBytes:
    """Bytes that training keeps for each weight. weights: the 16-bit copy.  gradients: as they are accumulated.
    optimizer: master weight and two moments.  Megatron-LM: 2 + 4 + 12 = 18; with gradients in 16 bit 16."""

    weights: float = 2.0
    gradients: float = 4.0
    optimizer: float = 12.0


@dataclass(frozen=True, slots=True)
class MemoryHabits:
    """What a training program keeps. states: of a weight.  logit_bytes: of a logit, with its gradient.  kept: share of
    a layer's activations that selective recomputation keeps.  score_bytes: kept per query-key pair, 0 with a fused
    kernel.  dropout: whether masks of one byte are kept.  gathered: copies of a microbatch's whole activations that
    sequence parallelism gathers.  slack: of the allocator, over what is allocated.  base_bytes: context and buffers.
    """

    states: StateBytes = StateBytes()
    logit_bytes: float = 10.0
    kept: float = 1.0
    score_bytes: float = 0.0
    dropout: bool = False
    gathered: float = 2.0
    slack: float = 1.05
    base_bytes: float = 1.5e9


@dataclass(frozen=True, slots=True)
class TrainingMemory:
    """Bytes of the fullest device by part, arrays of points. surplus: activations of further microbatches, which the
    first stage of a pipeline holds until their gradients come back.  slack: what the allocator cannot use."""

    weights: Array
    gradients: Array
    optimizer: Array
    activations: Array
    surplus: Array
    logits: Array
    buffers: Array
    slack: Array

    @property
    def total_bytes(self) -> Array:
        """All parts."""
        return np.asarray(sum(getattr(self, item.name) for item in fields(self)))


def layer_activation_bytes(block: LayerBlock, hidden: int, seq: int, habits: MemoryHabits = MemoryHabits()) -> float:
    """Bytes that one layer keeps for the backward pass, per token, before tensor parallelism.

    GPT: 34 h + 5 a s (arXiv 2205.05198, equation 1), with dropout and scores that leave the chip; in general inputs of
    norms and matrices, queries, keys and values, the inputs and outputs of activation functions; of experts 2 h + 4 k n
    for k experts of width n and what is permuted (SonicMoE, arXiv 2512.14080).

    >>> gpt = LayerBlock(1, SoftmaxAttention(8, 8, 128), DenseFeedForward(4096, gated=False))
    >>> layer_activation_bytes(gpt, 1024, 2048, MemoryHabits(dropout=True)) == 34 * 1024
    True
    """
    total = _mixer_bytes(block, hidden, seq, habits)
    feed = block.ffn
    if isinstance(feed, DenseFeedForward):
        total += HALF * (2 * hidden + feed.width * (3 if feed.gated else 2)) + habits.dropout * hidden
    elif isinstance(feed, MixtureOfExperts):
        wide = (3 if feed.gated else 2) * (feed.chosen * feed.width + feed.shared_width)
        total += HALF * (2 * hidden + 2 * feed.chosen * (feed.latent or hidden) + wide) + 4.0 * feed.experts
    return total


def _mixer_bytes(block: LayerBlock, hidden: int, seq: int, habits: MemoryHabits) -> float:
    mixer = block.mixer
    if mixer is None:
        return 0.0
    if isinstance(mixer, SoftmaxAttention):
        value = mixer.value_dim or mixer.head_dim
        inner = float((mixer.heads + mixer.kv_heads) * mixer.head_dim + (mixer.kv_heads + mixer.heads) * value)
        inner += habits.score_bytes / HALF * mixer.heads * min(seq, mixer.window_tokens or seq)
    elif isinstance(mixer, LatentAttention):
        width = mixer.nope_dim + mixer.rope_dim
        inner = 2 * mixer.heads * width + 2 * mixer.heads * mixer.value_dim
        inner += (mixer.q_rank or 0) + mixer.kv_rank + mixer.rope_dim
    elif isinstance(mixer, LinearAttention):
        inner = 2 * (2 * mixer.key_heads * mixer.key_dim + 2 * mixer.value_heads * mixer.value_dim) + mixer.gates
    return HALF * (2 * hidden + inner) + habits.dropout * hidden


def training_memory(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits = MemoryHabits()) -> TrainingMemory:
    """Memory of the fullest device of every layout.

    The first stage of 1F1B holds p microbatches of its layers, interleaved 1 + (p - 1) / (p v) times as much (arXiv
    2205.05198, section 4.2.3); the last one a single microbatch and the logits. The fuller one counts.
    """
    weights, gradients, optimizer = _state_bytes(job, grid, habits)
    tokens = grid.micro_batch * job.seq / grid.cp
    layers = _kept_bytes(job, grid, habits) * tokens / grid.tp
    flight = np.where(
        grid.pp > 1, grid.pp * np.where(grid.chunks > 1, 1 + (grid.pp - 1) / (grid.pp * grid.chunks), 1), 1
    )
    first = layers * np.maximum(flight, 1) / grid.pp
    last = layers * np.where(grid.chunks > 1, 1 + 1 / grid.chunks, 1) / grid.pp
    logits = tokens * job.model.vocabulary / grid.tp * habits.logit_bytes
    at_end = (grid.pp == 1) | (last + logits > first)
    activations = layers / grid.pp
    surplus = np.where(at_end, last, first) - activations
    logits = np.where(at_end, logits, 0.0)
    gathered = habits.gathered * HALF * tokens * job.model.hidden * (grid.tp > 1)
    buffers = gathered + habits.base_bytes + _rebuilt_bytes(job, grid, habits)
    parts = (weights, gradients, optimizer, activations, surplus, logits, buffers)
    return TrainingMemory(*parts, slack=np.asarray((habits.slack - 1.0) * sum(parts)))


def _state_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> tuple[Array, Array, Array]:
    dense, experts = device_params(job.model, grid)
    ranks = (grid.dp * grid.cp).astype(float)
    few = np.maximum(ranks * grid.tp / np.maximum(grid.ep, grid.tp), 1.0)

    def held(bytes_each: float, least: StateSharding) -> Array:
        cut = grid.sharding >= least
        return np.asarray(bytes_each * (dense / np.where(cut, ranks, 1.0) + experts / np.where(cut, few, 1.0)))

    kept = _states_of(job, habits.states)
    # shared-out weights of a run that trains all are its 32-bit ones, which `optimizer` counts; frozen ones are none
    shard = 0.0 if job.adapter is None else held(kept.weights, StateSharding.FULL)
    weights = np.where(grid.sharding == StateSharding.FULL, shard, held(kept.weights, StateSharding.FULL))
    weights = weights + _gathered_layers(job, grid, kept)
    if job.offload is not None:  # of each layer its weights and gradients are here while it computes, states never
        return _gathered_layers(job, grid, kept), np.zeros(len(grid)), np.zeros(len(grid))
    return weights, held(kept.gradients, StateSharding.GRADIENTS), held(kept.optimizer, StateSharding.OPTIMIZER)


def _states_of(job: TrainingJob, kept: StateBytes) -> StateBytes:
    """Bytes a weight as the job trains: beside adapters frozen weights in their bits, states of the adapters alone."""
    if job.adapter is None:
        return kept
    share = job.trained_share
    frozen = job.adapter.base_bits / 8.0
    return StateBytes(frozen + kept.weights * share, kept.gradients * share, kept.optimizer * share)


def _gathered_layers(job: TrainingJob, grid: LayoutGrid, kept: StateBytes) -> Array:
    """Weights of two layers, gathered by ZeRO-3 while one computes, with the gradients of one.

    The 32-bit master weights are the sharded ones, which `optimizer` counts.
    """
    dense, experts = device_params(job.model, grid)
    layer = (dense + experts) / np.maximum(job.model.layers / grid.pp, 1.0)
    table = job.model.hidden * job.model.vocabulary / grid.tp
    full = grid.sharding == StateSharding.FULL
    return np.asarray(np.where(full, 2 * kept.weights * np.maximum(layer, table) + kept.gradients * layer, 0.0))


def _layer_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> Array:
    """Bytes per token of all layers, as recomputation leaves them."""
    model, fused = job.model, replace(habits, score_bytes=0.0)
    whole = sum(b.count * layer_activation_bytes(b, model.hidden, job.seq, habits) for b in model.blocks)
    core = sum(b.count * layer_activation_bytes(b, model.hidden, job.seq, fused) for b in model.blocks) * habits.kept
    inputs = HALF * model.layers * model.hidden
    return np.asarray(
        np.select(
            [grid.recompute == ActivationRecompute.FULL, grid.recompute == ActivationRecompute.SELECTIVE],
            [np.full(len(grid), inputs), np.full(len(grid), core)],
            whole,
        )
    )


def _kept_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> Array:
    """Bytes per token of the activations that stay on the device; where they may leave, those of the layer that is on
    its way besides the one that is computed (`_rebuilt_bytes`)."""
    whole = _layer_bytes(job, grid, habits)
    if job.offload is None or not job.offload.swaps:
        return whole
    widest = max(layer_activation_bytes(b, job.model.hidden, job.seq, habits) for b in job.model.blocks)
    return np.where(grid.recompute == ActivationRecompute.FULL, np.minimum(widest, whole), whole)


def leaving_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> tuple[Array, Array] | None:
    """Bytes of a microbatch's activations that a device may send out: inputs of layers, and all others; `None` where
    none may leave. Layouts that recompute nothing keep all of theirs."""
    if job.offload is None or not job.offload.swaps:
        return None
    tokens = grid.micro_batch * job.seq / (grid.cp * grid.tp * grid.pp)
    may = (grid.recompute == ActivationRecompute.FULL) * tokens
    whole = sum(b.count * layer_activation_bytes(b, job.model.hidden, job.seq, habits) for b in job.model.blocks)
    inputs = HALF * job.model.layers * job.model.hidden
    return np.asarray(inputs * may), np.asarray((whole - inputs) * may)


def _rebuilt_bytes(job: TrainingJob, grid: LayoutGrid, habits: MemoryHabits) -> Array:
    """Activations of the one layer that is being computed again."""
    model = job.model
    widest = max(layer_activation_bytes(b, model.hidden, job.seq, habits) for b in model.blocks)
    again = (grid.recompute == ActivationRecompute.FULL) * widest
    again = again + (grid.recompute == ActivationRecompute.SELECTIVE) * widest * (1.0 - habits.kept)
    return np.asarray(again * grid.micro_batch * job.seq / (grid.cp * grid.tp))

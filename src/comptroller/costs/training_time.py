"""Seconds of a training step: stages, bubble, gradients and optimiser, for many layouts at once.

What a step is made of (`StepIngredients`) follows from facts and the rates of single kernels; what a training program
makes of it (`TrainingPace`) is a handful of constants fitted to measured steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from comptroller.costs.activation_swap import MicrobatchPasses, swap_share, waiting_s
from comptroller.costs.deployment import SIXTEEN_BIT
from comptroller.costs.expert_rows import expert_tokens, row_factor
from comptroller.costs.knee import smooth_max
from comptroller.costs.network import group_bytes_per_s, node_devices
from comptroller.costs.packed_attention import pack_attention
from comptroller.costs.training_layout import ActivationRecompute, Ints, LayoutGrid, StateSharding, stage_layers
from comptroller.costs.training_offload import PHASES, RESOURCES, OutsideBytes, offload_traffic
from comptroller.costs.training_quantisation import quantisation_s
from comptroller.costs.training_schedule import PassSeconds, bubble_share
from comptroller.costs.training_work import BACKWARD, KINDS, ForwardTable, TrainingJob
from comptroller.errors import UnsupportedError
from comptroller.facts.model import MixtureOfExperts, Model

Array = npt.NDArray[np.float64]

HEAD, MATRICES, SMALL = KINDS.index("head"), KINDS.index("matrices"), KINDS.index("small")
WEIGHTED = (MATRICES, KINDS.index("experts"), HEAD)
"""Kinds of work whose backward pass has a product for the gradients of weights."""

SIXTEEN = 16.0
WEIGHT_BYTES, GRADIENT_BYTES = 2.0, 4.0
"""Weights travel in 16 bit; gradients are reduced in 32 bit, the default of Megatron-LM and of FSDP's mixed precision
with `reduce_dtype` 32 bit. At half the gradients' bytes ZeRO-3 over a network sends a quarter less."""

OPTIMIZER_BYTES = 34.0
"""Bytes that Adam moves per weight: reads gradient, master weight and two moments (16), writes three of them and the
16-bit weight (14), and the norm reads the gradient once more (4)."""


@dataclass(frozen=True, slots=True)
class StepIngredients:
    """What steps are made of, arrays of points; `work` and `passes` of shape (kinds, points).

    work: seconds of a forward pass of one microbatch through all layers, by kind. passes: forward passes' worth of
    each kind in a step (forward, backward, recomputation). again: of them, those of recomputation. layers, sparse:
    all layers of a stage and those with experts, times passes. rounds: microbatches. stages, chunks: of the
    pipeline. headed: whether the last stage has the head beside its layers. narrow: whether matrices are multiplied
    in fewer than 16 bits. schedule: of the pipeline. trained: passes' worth of the gradients of weights. send_s: of
    one boundary, both ways. gather_s: collectives of every microbatch, once a step: `reduce_s`. optimizer_s: of the
    update. offload: seconds of resources beside computing where something is outside of the devices, of shape (phases,
    resources, points). larger: the bubble, where microbatches differ. servers_s: to attention servers and back, of a
    microbatch."""

    work: Array
    passes: Array
    again: Array
    layers: Array
    sparse: Array
    rounds: Array
    stages: Array
    chunks: Array
    headed: Array
    narrow: Array
    schedule: Ints
    trained: Array
    larger: Array
    send_s: Array
    gather_s: Array
    reduce_s: Array
    optimizer_s: Array
    offload: Array
    servers_s: Array

    @classmethod
    def side_by_side(cls, parts: Sequence[StepIngredients]) -> StepIngredients:
        """The points of several, one after the other."""
        return cls(*(np.concatenate([getattr(part, item.name) for part in parts], axis=-1) for item in fields(cls)))

    def take(self, chosen: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> StepIngredients:
        """Some of the points."""
        return StepIngredients(*(getattr(self, item.name)[..., chosen] for item in fields(self)))


@dataclass(frozen=True, slots=True)
class TrainingPace:
    """What a training program makes of the rates of single kernels: factors on seconds, and seconds of its own.

    narrow: of matrices in fewer than 16 bits, besides.  matrices (and head), attention, experts, small, tensor,
    exchange (and ring), network: factors of that kind of work. scores: of those that leave the chip, 0 where attention
    is one fused kernel. layer_s, sparse_s: host time of one pass of a layer, and of a layer with experts besides; it
    hides behind the device's.  step_s: of a step besides.
    hidden: share of the collectives of data parallelism that computing may hide.
    """

    matrices: float = 1.0
    narrow: float = 1.0
    attention: float = 1.0
    scores: float = 0.0
    experts: float = 1.0
    small: float = 1.0
    tensor: float = 1.0
    exchange: float = 1.0
    network: float = 1.0
    layer_s: float = 0.0
    sparse_s: float = 0.0
    step_s: float = 0.0
    hidden: float = 1.0

    @property
    def factors(self) -> Array:
        """By kind of work, in the order of `KINDS`."""
        named = {"head": self.matrices, "ring": self.exchange, "crossing": self.network}
        return np.array([named.get(kind, getattr(self, kind, 1.0)) for kind in KINDS])


@dataclass(frozen=True, slots=True)
class TrainingStepTime:
    """Seconds of a step by part, arrays of points. kinds: busy seconds of the slowest stage, of shape (kinds,
    points).  swapped: share of the activations that leaves the device in place of being computed again."""

    kinds: Array
    host_s: Array
    bubble_s: Array
    send_s: Array
    data_s: Array
    optimizer_s: Array
    step_s: Array
    offload_s: Array
    swapped: Array

    @property
    def stage_s(self) -> Array:
        """All microbatches of the slowest stage."""
        return np.asarray(self.kinds.sum(axis=0) + self.host_s)

    @property
    def total_s(self) -> Array:
        """The step."""
        return np.asarray(
            self.stage_s + self.bubble_s + self.send_s + self.data_s + self.optimizer_s + self.step_s + self.offload_s
        )


def step_ingredients(
    work_of: ForwardTable, grid: LayoutGrid, global_batch: int, leaving: tuple[Array, Array] | None = None
) -> StepIngredients:
    """What the steps of a job are made of, a point for each layout. leaving: bytes of a microbatch's activations that
    leave the device: inputs of layers, and the rest where it is swapped; `None` where all stay.

    Raises:
        UnsupportedError: as `forward_work`.
    """
    job = work_of.job
    work = np.zeros((len(KINDS), len(grid)))
    cuts = np.stack([grid.tp, grid.cp, grid.ep])
    for cut in np.unique(cuts, axis=1).T:
        chosen = (cuts == cut[:, None]).all(axis=0)
        sizes, place = np.unique(grid.micro_batch[chosen], return_inverse=True)
        work[:, chosen] = work_of.seconds((int(cut[0]), int(cut[1]), int(cut[2])), sizes)[:, place]
    passes = pass_counts(grid, job.adapter is not None)
    _fill_experts(job, grid, work)
    servers, larger = pack_attention(job, grid, work, global_batch)
    work[SMALL] += _dequantised_s(job, grid, passes) + _quantised_s(job, grid, passes)
    own, _ = stage_layers(job.model)
    rounds = grid.microbatches(global_batch).astype(float)
    gather, reduce = _data_parallel_s(job, grid)
    return StepIngredients(
        work,
        passes,
        again_counts(grid),
        own / grid.pp * passes[0],
        sparse_layers(job.model) / grid.pp * passes[0],
        rounds,
        grid.pp.astype(float),
        grid.chunks.astype(float),
        (own % (grid.pp * grid.chunks) == 0).astype(float),
        np.full(len(grid), float(job.recipe.weights not in SIXTEEN_BIT)),
        grid.schedule,
        np.full(len(grid), 0.0 if job.adapter is not None else 1.0),
        larger,
        _send_s(job, grid),
        gather,
        reduce,
        _optimizer_s(job, grid),
        _offload_s(job, grid, leaving),
        servers,
    )


def pass_counts(grid: LayoutGrid, frozen: bool = False) -> Array:
    """Forward passes' worth of a step by kind: 1 + backward, + 1 for what is computed again; of shape (kinds, points).

    Frozen weights have no gradient: one product of matrices in the backward pass instead of two.

    >>> from comptroller.costs.training_layout import TrainingLayout
    >>> full = TrainingLayout(recompute=ActivationRecompute.FULL)
    >>> pass_counts(LayoutGrid.of([TrainingLayout(), full]))[0].tolist()
    [3.0, 4.0]
    """
    backward = np.where(np.isin(np.arange(len(KINDS)), WEIGHTED), 1.0, BACKWARD) if frozen else BACKWARD
    return np.asarray(1.0 + backward[:, None] + again_counts(grid))


def again_counts(grid: LayoutGrid) -> Array:
    """Forward passes' worth that is computed again, by kind; of shape (kinds, points)."""
    again = np.zeros((len(KINDS), len(grid)))
    again[:, grid.recompute == ActivationRecompute.FULL] = 1.0
    core = [KINDS.index("attention"), KINDS.index("scores")]
    again[np.ix_(core, grid.recompute == ActivationRecompute.SELECTIVE)] = 1.0
    again[HEAD] = 0.0
    return again


def _dequantised_s(job: TrainingJob, grid: LayoutGrid, passes: Array) -> Array:
    """Seconds to write frozen weights of fewer bits out in 16, of one pass as `passes` count them: every forward and
    backward pass reads b / 8 and writes 2 bytes a weight.
    """
    if job.adapter is None or job.adapter.base_bits >= SIXTEEN:
        return np.zeros(len(grid))
    dense, experts = device_params(job.model, grid)
    moved = (dense + experts) * grid.pp * (job.adapter.base_bits / 8.0 + WEIGHT_BYTES)
    return np.asarray(moved / job.device.memory_bytes_per_s * (passes[SMALL] - 1.0) / passes[SMALL])


def _fill_experts(job: TrainingJob, grid: LayoutGrid, work: Array) -> None:
    """Padding and imbalance on what experts compute and exchange."""
    if job.experts is None:
        return
    work[KINDS.index("experts")] *= row_factor(job.experts, expert_tokens(job.model, grid, job.seq))
    work[KINDS.index("exchange")] *= job.experts.imbalance


def _quantised_s(job: TrainingJob, grid: LayoutGrid, passes: Array) -> Array:
    """Seconds to quantise what narrow products read, of one pass as `passes` count them."""
    if job.narrow is None:
        return np.zeros(len(grid))
    again = (grid.recompute == ActivationRecompute.FULL).astype(float)
    tokens = grid.micro_batch * job.seq / (grid.cp * grid.tp)
    return np.asarray(quantisation_s(job.model, job.device, job.narrow, tokens, again) / passes[SMALL])


def sparse_layers(model: Model) -> int:
    """Layers with experts."""
    return sum(block.count for block in model.blocks if isinstance(block.ffn, MixtureOfExperts))


def device_params(model: Model, grid: LayoutGrid) -> tuple[Array, Array]:
    """Weights of one device before data-parallel sharding: dense ones, and experts, of the fullest stage."""
    ends = model.embedding_params + model.side_elements + model.vision_elements
    experts = model.expert_params
    blocks = model.total_params - ends - experts
    table = ends / np.where(grid.pp > 1, 2.0 - model.tied_embedding, 1.0)
    dense = (blocks / grid.pp + table) / grid.tp
    return dense, np.asarray(experts / grid.pp / np.maximum(grid.ep, grid.tp))


def _data_parallel_s(job: TrainingJob, grid: LayoutGrid) -> tuple[Array, Array]:
    """Seconds of the collectives of data parallelism: of each microbatch, and once a step.

    t = (d - 1) / d x P_device x bytes / link; gradients once, weights once (ZeRO 0 to 2); of ZeRO-3 weights in the
    forward and the backward pass and gradients, in every microbatch. Experts have d / ep ranks.
    """
    dense, experts = device_params(job.model, grid)
    ranks = (grid.dp * grid.cp).astype(float)
    few = np.maximum(ranks * grid.tp / np.maximum(grid.ep, grid.tp), 1.0)
    rate = np.array([_rate(job, int(d), int(t)) for d, t in zip(ranks, grid.tp, strict=True)])
    moved = ((ranks - 1) / ranks * dense + (few - 1) / few * experts) / rate
    full, share = grid.sharding == StateSharding.FULL, job.trained_share
    gathered = WEIGHT_BYTES if job.adapter is None else job.adapter.base_bits / 8.0
    each = np.where(full, 2 * gathered + GRADIENT_BYTES * share, 0.0) * moved
    again = np.where(grid.sharding == StateSharding.GRADIENTS, GRADIENT_BYTES * share, 0.0) * moved
    return each + again, np.where(full, 0.0, (GRADIENT_BYTES + WEIGHT_BYTES) * share * moved - again)


def _rate(job: TrainingJob, ranks: int, stride: int) -> float:
    return group_bytes_per_s(job.device, ranks, stride) if ranks > 1 else np.inf


def _send_s(job: TrainingJob, grid: LayoutGrid) -> Array:
    """Seconds of one microbatch over one boundary of stages, activations there and gradients back.

    t = 2 x b s h x 2 bytes / (tp cp) / link
    """
    moved = 2.0 * grid.micro_batch * job.seq * job.model.hidden * WEIGHT_BYTES / (grid.tp * grid.cp)
    near = np.array(
        [
            _rate(job, 2, int(stride)) if stages > 1 else np.inf
            for stages, stride in zip(grid.pp, grid.dp * grid.cp * grid.tp, strict=True)
        ]
    )
    return np.asarray(moved / near)


def _offload_s(job: TrainingJob, grid: LayoutGrid, leaving: tuple[Array, Array] | None) -> Array:
    """Seconds of links, store and memories of the host, of shape (phases, resources, points), zeros where nothing is
    outside.

    Raises:
        UnsupportedError: the link to the host is not known.
    """
    tier = job.offload
    if tier is None:
        return np.zeros((len(PHASES), len(RESOURCES), len(grid)))
    if job.device.host is None and tier.pool_bytes_per_s is None:
        raise UnsupportedError(f"{job.device.id}: the rate of its link to the host is not known")
    link = np.inf if job.device.host is None else job.device.host.one_way_bytes_per_s
    return offload_traffic(tier, outside_bytes(job, grid, leaving), link).seconds


def outside_bytes(job: TrainingJob, grid: LayoutGrid, leaving: tuple[Array, Array] | None) -> OutsideBytes:
    """What a device keeps outside; `leaving` as in `step_ingredients`."""
    dense, experts = device_params(job.model, grid)
    ranks = (grid.dp * grid.cp).astype(float)
    node = np.minimum(ranks * grid.tp, float(node_devices(job.device)))
    inputs, rest = leaving or (np.zeros(len(grid)), np.zeros(len(grid)))
    width = WEIGHT_BYTES if job.adapter is None else job.adapter.base_bits / 8.0
    return OutsideBytes((dense + experts) / ranks, job.trained_share, inputs, rest, node, width)


def _optimizer_s(job: TrainingJob, grid: LayoutGrid) -> Array:
    dense, experts = device_params(job.model, grid)
    ranks = grid.dp * grid.cp
    few = np.maximum(ranks * grid.tp / np.maximum(grid.ep, grid.tp), 1.0)
    shared = grid.sharding > StateSharding.NONE
    held = dense / np.where(shared, ranks, 1) + experts / np.where(shared, few, 1)
    share = 0.0 if job.offload is not None else job.trained_share
    return np.asarray(held * OPTIMIZER_BYTES * share / job.device.memory_bytes_per_s)


def training_step_time(made: StepIngredients, pace: TrainingPace) -> TrainingStepTime:
    """Seconds of steps by part.

    t = m t_slowest + (sum of the other stages) x left / v + sends + exposed collectives + optimiser + t_step

    m microbatches, v chunks of a device, left: `bubble_share` of the schedule. A stage takes the smooth maximum of
    its device's time and of its host's.
    Source: Megatron-LM (arXiv 2104.04473), sections 2.2 and 3.
    """
    once = made.work * pace.factors[:, None]
    once[MATRICES] *= 1.0 + made.narrow * (pace.narrow - 1.0)
    passes = _microbatch_passes(made, once)
    swapped = swap_share(made.offload, passes)
    device = once * (made.passes - swapped * made.again)
    layers_s = device.sum(axis=0) - device[HEAD]
    host = pace.layer_s * made.layers + pace.sparse_s * made.sparse
    ends = device[HEAD] * made.headed + (device[HEAD] / made.stages) * (1 - made.headed)
    slowest = smooth_max(layers_s / made.stages + ends, host)
    others = smooth_max(layers_s / made.stages + (1 - made.headed) * ends, host) * (made.stages - 1)
    bubble = bubble_share(made.schedule, _pass_seconds(made, once, device)) * made.larger * others / made.chunks
    kinds = device / made.stages
    kinds[HEAD] = ends
    send = (made.stages > 1) * made.send_s * pace.network * (made.rounds * made.chunks + made.stages - 1)
    data = _exposed_s(made, slowest, pace)
    return TrainingStepTime(
        kinds * made.rounds,
        (slowest - kinds.sum(axis=0)) * made.rounds,
        bubble,
        send * (1.0 - pace.hidden),
        data,
        made.optimizer_s * pace.small,
        np.full(len(bubble), pace.step_s),
        waiting_s(made.offload, passes, swapped),
        swapped,
    )


def _pass_seconds(made: StepIngredients, once: Array, device: Array) -> PassSeconds:
    """Seconds of a microbatch by pass: forward, backward for inputs with what is computed again, and for weights."""
    weights = once[list(WEIGHTED)].sum(axis=0) * made.trained
    ahead = once.sum(axis=0)
    return PassSeconds(ahead, device.sum(axis=0) - ahead - weights, weights)


def _microbatch_passes(made: StepIngredients, once: Array) -> MicrobatchPasses:
    """Seconds of a microbatch's passes on a stage, of one forward pass by kind."""
    forward, whole, again = (
        (once * each).sum(axis=0) / made.stages for each in (np.ones_like(made.passes), made.passes, made.again)
    )
    return MicrobatchPasses(forward, whole - forward - again, again, made.rounds)


def _exposed_s(made: StepIngredients, stage_s: Array, pace: TrainingPace) -> Array:
    """Collectives of data parallelism that computing does not hide, and transfers to attention servers (ping-pong).

    t = c - hidden min(c, w), w: the microbatch for what every one sends, the last backward pass for what is sent once
    """
    each, once, window = made.gather_s * pace.network, made.reduce_s * pace.network, stage_s * 2.0 / 3.0
    servers = np.maximum(made.servers_s * pace.network - stage_s, 0.0)
    return np.asarray(
        made.rounds * (each - pace.hidden * np.minimum(each, stage_s) + servers)
        + once
        - pace.hidden * np.minimum(once, window)
    )

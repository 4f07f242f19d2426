"""The operations of one step of a replica: FLOPs, bytes and messages per device.

A step is described by a few features (tokens, cached tokens read, query-key pairs, experts touched); the FLOPs
and bytes of every operation are linear in them, so a whole grid of steps is two small matrix products.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import GATHERING, ParallelLayout, PrecisionRecipe, RecipeFormats
from comptroller.costs.network import nodes_reached
from comptroller.costs.step import MicrobatchShares, ReplicaStep, StepFeature
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.model import (
    DenseFeedForward,
    LatentAttention,
    LayerBlock,
    LinearAttention,
    MixtureOfExperts,
    Model,
    ProjectionMatrix,
    SoftmaxAttention,
)

Array = npt.NDArray[np.float64]

BUSIEST = 1.3
"""Tokens of the busiest device over the mean, where each holds few experts: the step waits for it. CloudMatrix384 reads
prompts at 5,655 tok/s a device and would at 6,688 with its experts in balance (arXiv 2506.12708), 1.18 times as many;
experts take some 0.6 of such a step."""

STATE_BYTES = 4.0
"""Recurrent states are kept in fp32 by the public kernels (flash-linear-attention, mamba_ssm)."""


@dataclass(frozen=True, slots=True)
class StepOperation:
    """One kind of operation, `count` times a step, on one device.

    kind: what calibration knows it by.  part: which matrices, `weights` or `experts`, decide its arithmetic.
    devices: how many take part in a collective.  flops, bytes: coefficients by feature; the bytes of a
    collective are what one device sends in a ring, `direct` times that where each sends to every other.
    items: independent pieces of work a kernel starts.  depth: length of what it must do one after the other.
    passes: bytes of one pass over the activations (quantising, permuting). Kernel calibrations price all three.
    """

    kind: str
    count: float
    flops: Mapping[StepFeature, float]
    bytes: Mapping[StepFeature, float]
    part: str = "weights"
    devices: int = 1
    items: Mapping[StepFeature, float] = field(default_factory=dict)
    depth: Mapping[StepFeature, float] = field(default_factory=dict)
    passes: Mapping[StepFeature, float] = field(default_factory=dict)
    direct: float = 1.0


@dataclass(frozen=True, slots=True)
class OperationMatrices:
    """All operations of a step as matrices: rows are operations, columns features."""

    rows: tuple[StepOperation, ...]
    features: tuple[StepFeature, ...]
    count: Array
    flop_matrix: Array
    byte_matrix: Array
    layout: ParallelLayout

    @classmethod
    def of(cls, rows: tuple[StepOperation, ...], layout: ParallelLayout) -> OperationMatrices:
        """The matrices of rows, with the features that they use, in the order of their first use."""
        used = (f for row in rows for part in (row.flops, row.bytes, row.items, row.depth, row.passes) for f in part)
        features = tuple(dict.fromkeys(used))
        flop_matrix = _matrix([row.flops for row in rows], features)
        byte_matrix = _matrix([row.bytes for row in rows], features)
        return cls(rows, features, np.array([row.count for row in rows]), flop_matrix, byte_matrix, layout)

    def with_rows(self, more: tuple[StepOperation, ...]) -> OperationMatrices:
        """The same with more rows; itself where there are none."""
        return OperationMatrices.of((*self.rows, *more), self.layout) if more else self

    def values(self, step: ReplicaStep) -> Array:
        """The features of steps, of shape (features, points)."""
        shares = MicrobatchShares.of(step, self.layout.dp, self.layout.pp)
        return np.stack([feature.value(shares) for feature in self.features])

    def work(self, step: ReplicaStep) -> tuple[Array, Array]:
        """FLOPs and bytes per device and call, each of shape (operations, points)."""
        values = self.values(step)
        return self.flop_matrix @ values, self.byte_matrix @ values

    def matrix(self, name: str) -> Array:
        """Coefficients of `items`, `depth` or `passes`, of shape (operations, features)."""
        return _matrix([getattr(row, name) for row in self.rows], self.features)


def _matrix(coefficients: list[Mapping[StepFeature, float]], features: tuple[StepFeature, ...]) -> Array:
    column = {feature: i for i, feature in enumerate(features)}
    operations = np.zeros((len(coefficients), len(features)))
    for i, row in enumerate(coefficients):
        for feature, value in row.items():
            operations[i, column[feature]] = value
    return operations


ONE, TOKENS, STAGE_TOKENS = StepFeature("one"), StepFeature("tokens"), StepFeature("stage_tokens")
ROWS, BATCH, PREFILL_TOKENS = StepFeature("rows"), StepFeature("batch"), StepFeature("prefill_tokens")
PROMPTS, PROMPT_TOKENS = StepFeature("prompts"), StepFeature("prompt_tokens")

QUANTISED = frozenset({"fp8_e4m3", "fp8_block", "nvfp4", "int8"})
"""Formats whose activations a kernel first quantises in a pass of its own (the kernel tables' convention)."""


@lru_cache(maxsize=4096)
def operations(
    model: Model, recipe: PrecisionRecipe, layout: ParallelLayout, library: FactLibrary = SHIPPED, node: int = GATHERING
) -> OperationMatrices:
    """The operations of a model in a recipe, cut by a layout. library: where the recipe's formats are looked up.
    node: devices that links faster than the network join.

    >>> from comptroller.facts.config import model
    >>> ops = operations(model("llama_3_1_8b"), PrecisionRecipe(), ParallelLayout())
    >>> flops, _ = ops.work(ReplicaStep.decode(1, 0))
    >>> round(float((ops.count[:, None] * flops).sum()) / 1e9, 2)  # 2 x (8.03 - 0.525) G parameters
    15.01
    """
    formats = RecipeFormats.of(recipe, library)
    cut = _Cut(model, formats, layout, node)
    rows = [row for block in model.blocks for row in cut.block(block)]
    return OperationMatrices.of((*rows, *cut.ends()), layout)


@dataclass(frozen=True, slots=True)
class _Cut:
    """A model in formats, cut by a layout: builds the rows of one device."""

    model: Model
    formats: RecipeFormats
    layout: ParallelLayout
    node: int

    @property
    def _wire_bytes(self) -> float:
        """Bytes per activation element between kernels and on the wire: 16 bit, as the engines keep them."""
        return 2.0

    def block(self, block: LayerBlock) -> list[StepOperation]:
        hidden, rows = self.model.hidden, []
        if block.mixer:
            rows += self._gemms(block.mixer.projections(hidden), block.count)
            rows += self._mixing(block.mixer, block.count)
            rows += self._all_reduce(block.count)
        if isinstance(block.ffn, DenseFeedForward):
            rows += self._gemms(block.ffn.projections(hidden), block.count)
            rows += self._all_reduce(block.count)
        elif isinstance(block.ffn, MixtureOfExperts):
            rows += self._gemms(block.ffn.projections(hidden), block.count)
            rows += self._experts(block.ffn, block.count)
        return [*rows, *self._small(block)]

    def _small(self, block: LayerBlock) -> list[StepOperation]:
        """What runs between the matrices: norms with the residual, rotations, activations, routing, gates.

        Each is a pass over its operands; at small batches its least time is what counts.
        """
        wire, hidden, count = self._wire_bytes, self.model.hidden, block.count
        parts = (block.mixer is not None) + (block.ffn is not None)
        passes = [(parts, 4.0 * hidden)]
        if isinstance(block.mixer, LinearAttention):
            passes.append((3, 2.0 * block.mixer.value_heads * block.mixer.value_dim / self.layout.tp))
        elif isinstance(block.mixer, LatentAttention):
            passes.append((3 if block.mixer.index_heads else 2, 2.0 * (block.mixer.kv_rank + block.mixer.rope_dim)))
        elif block.mixer:
            passes.append((1, 2.0 * block.mixer.heads * block.mixer.head_dim / self.layout.tp))
        if isinstance(block.ffn, DenseFeedForward):
            passes.append((1, 3.0 * block.ffn.width / self.layout.tp))
        elif block.ffn:
            passes.append((1 + bool(block.ffn.shared_width), 2.0 * block.ffn.experts))
        return [StepOperation("elementwise", count * n, {}, {TOKENS: width * wire}) for n, width in passes]

    def ends(self) -> list[StepOperation]:
        """Output head, and the sends between pipeline stages."""
        head = ProjectionMatrix("head", self.model.hidden, self.model.vocabulary)
        rows = self._gemms((head,), 1, feature=ROWS, weight_bytes=2.0)
        if self.layout.pp > 1:
            wire = {TOKENS: self.model.hidden * self._wire_bytes / self.layout.tp}
            rows.append(StepOperation("send", self.layout.pp - 1, {}, wire, devices=2))
        return rows

    def _gemms(
        self,
        projections: tuple[ProjectionMatrix, ...],
        count: int,
        feature: StepFeature = TOKENS,
        weight_bytes: float | None = None,
    ) -> list[StepOperation]:
        fused: dict[tuple[str, int], float] = {}
        for p in projections:
            inputs, outputs = p.inputs, float(p.outputs)
            if p.shard == "column":
                outputs /= min(self.layout.tp, p.units or self.layout.tp)
            elif p.shard == "row":
                inputs = max(1, inputs // self.layout.tp)
            fused[p.shard, inputs] = fused.get((p.shard, inputs), 0.0) + outputs
        stored = self.formats.weights.bytes_per_element if weight_bytes is None else weight_bytes
        moved = self.formats.activations.bytes_per_element
        pass_bytes = moved + self._wire_bytes if self.formats.weights.id in QUANTISED and weight_bytes is None else 0.0
        return [
            StepOperation(
                "gemm",
                count,
                {feature: 2.0 * inputs * outputs},
                {ONE: inputs * outputs * stored, feature: inputs * moved + outputs * self._wire_bytes},
                depth={ONE: float(inputs)},
                passes={feature: inputs * pass_bytes},
                part="head" if weight_bytes else "weights",
            )
            for (_, inputs), outputs in fused.items()
        ]

    def _mixing(self, mixer: SoftmaxAttention | LatentAttention | LinearAttention, count: int) -> list[StepOperation]:
        if isinstance(mixer, SoftmaxAttention):
            return self._softmax(mixer, count)
        if isinstance(mixer, LatentAttention):
            return self._latent(mixer, count)
        return self._recurrent(mixer, count)

    def _softmax(self, mixer: SoftmaxAttention, count: int) -> list[StepOperation]:
        heads = mixer.heads / min(self.layout.tp, mixer.heads)
        kv_heads = mixer.kv_heads / min(self.layout.tp, mixer.kv_heads)
        kv, pairs = (StepFeature("kv", mixer.window_tokens or 0), StepFeature("pairs", mixer.window_tokens or 0))
        width = mixer.head_dim + (mixer.value_dim or mixer.head_dim)
        ends = heads * width * self._wire_bytes
        flops, stored = 2.0 * heads * width, kv_heads * width * self.formats.kv.bytes_per_element
        return [
            StepOperation("attention_decode", count, {kv: flops}, {kv: stored, BATCH: ends}, items={BATCH: kv_heads}),
            StepOperation(
                "attention_prefill",
                count,
                {pairs: flops},
                {PREFILL_TOKENS: ends + stored},
                items={PROMPTS: heads},
                depth={PROMPT_TOKENS: 1.0},
            ),
        ]

    def _latent(self, mixer: LatentAttention, count: int) -> list[StepOperation]:
        heads = mixer.heads / min(self.layout.tp, mixer.heads)
        limit = mixer.top_tokens or 0
        kv, pairs = StepFeature("kv", limit), StepFeature("pairs", limit)
        latent = mixer.kv_rank + mixer.rope_dim
        per_token = latent * self.formats.kv.bytes_per_element
        unfolded = mixer.nope_dim + mixer.rope_dim + mixer.value_dim
        ends = heads * (latent + mixer.kv_rank) * self._wire_bytes
        rows = [
            StepOperation(
                "mla_decode",
                count,
                {kv: 2.0 * heads * (latent + mixer.kv_rank)},
                {kv: per_token, BATCH: ends},
                items={BATCH: 1.0},
            ),
            StepOperation(
                "mla_prefill",
                count,
                {pairs: 2.0 * heads * unfolded},
                {PREFILL_TOKENS: per_token + 2.0 * heads * unfolded * self._wire_bytes},
                items={PROMPTS: heads},
                depth={PROMPT_TOKENS: 1.0},
            ),
        ]
        if mixer.index_heads:
            every, all_pairs = StepFeature("kv"), StepFeature("pairs")
            score = 2.0 * mixer.index_heads * mixer.index_dim
            rows.append(
                StepOperation("indexer", count, {every: score, all_pairs: score}, {every: float(mixer.index_dim)})
            )
        return rows

    def _recurrent(self, mixer: LinearAttention, count: int) -> list[StepOperation]:
        heads = mixer.value_heads / min(self.layout.tp, mixer.value_heads)
        state = mixer.state_elements / min(self.layout.tp, mixer.value_heads)
        moved = 2.0 * state * STATE_BYTES
        return [
            StepOperation("linear_attention_decode", count, {BATCH: 6.0 * state}, {BATCH: moved}),
            StepOperation(
                "linear_attention_prefill",
                count,
                {PREFILL_TOKENS: 6.0 * state},
                {PROMPTS: moved},
                items={PROMPTS: heads},
                depth={PROMPT_TOKENS: 1.0},
            ),
        ]

    def _experts(self, moe: MixtureOfExperts, count: int) -> list[StepOperation]:
        layout, hidden = self.layout, moe.latent or self.model.hidden
        matrix = moe.expert_elements(self.model.hidden)
        touched = StepFeature("experts", moe.chosen, moe.experts)
        weight_bytes = matrix * self.formats.experts.bytes_per_element / layout.stage_devices
        load = BUSIEST if layout.is_wide else 1.0
        flops = load * 2.0 * moe.chosen * matrix / layout.stage_devices
        moved = load * 3.0 * moe.chosen * hidden * self._wire_bytes / layout.ep
        rows = [
            StepOperation(
                "moe",
                count,
                {STAGE_TOKENS: flops},
                {touched: weight_bytes, STAGE_TOKENS: moved},
                part="experts",
                devices=layout.ep,
                passes={STAGE_TOKENS: load * 2.0 * moe.chosen * hidden / (layout.ep if layout.is_wide else 1)},
            )
        ]
        if layout.dp == 1:
            return rows + self._all_reduce(count)
        if not layout.is_wide:
            return rows + self._gather(count)
        return [*rows, self._exchange(moe, count)]

    def _exchange(self, moe: MixtureOfExperts, count: int) -> StepOperation:
        """Tokens go to the devices of their experts and come back.

        Inside one fabric, and decoding over a network (DeepEP's low-latency kernels), each goes to every device that it
        needs; tokens of prompts go to every other node once.
        """
        layout = self.layout
        devices, nodes = layout.stage_devices, layout.stage_devices / self.node
        wire = (self.formats.activations.bytes_per_element + self._wire_bytes) / 2  # narrow there, 16 bit back
        each = self.model.hidden * wire / layout.tp
        reach = min(moe.chosen, layout.ep) * (devices - 1) / devices
        sent = {TOKENS: reach * each}
        if nodes > 1:
            alone = moe.chosen * (nodes - 1) / nodes
            sent = {BATCH: alone * each, PREFILL_TOKENS: min(alone, nodes_reached(nodes, moe.chosen)) * each}
        return StepOperation("all_to_all", 2 * count, {}, sent, devices=devices)

    def _gather(self, count: int) -> list[StepOperation]:
        """Ranks of one node show every token to every device and add up the parts afterwards."""
        ranks = self.layout.dp
        share = {STAGE_TOKENS: (ranks - 1) / ranks * self.model.hidden * self._wire_bytes}
        return [StepOperation(kind, count, {}, share, devices=ranks) for kind in ("all_gather", "reduce_scatter")]

    def _all_reduce(self, count: int) -> list[StepOperation]:
        devices = self.layout.tp
        if devices == 1:
            return []
        ring = 2.0 * (devices - 1) / devices
        wire = {TOKENS: ring * self.model.hidden * self._wire_bytes}
        return [StepOperation("all_reduce", count, {}, wire, devices=devices, direct=devices / 2)]

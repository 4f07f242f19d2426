"""Model architectures, as their public `config.json` states them.

A model is a stack of blocks. A block is a number of equal layers, each with a mixer (attention or a recurrence) and a
feed-forward part. Both state their weight matrices (`projections`) and the elements they keep per token or per
sequence. The room `costs` turns these into bytes, FLOPs and seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from comptroller.facts.reader import FactSource

Shard = Literal["column", "row", "replicated"]


@dataclass(frozen=True, slots=True)
class ProjectionMatrix:
    """A weight matrix of shape (inputs, outputs).

    shard: the side that tensor parallelism splits: "column" the outputs, "row" the inputs, "replicated" neither.
    units: most parts that the split side has (key-value heads); beyond that many devices hold copies.
    """

    name: str
    inputs: int
    outputs: int
    shard: Shard = "column"
    units: int | None = None

    @property
    def elements(self) -> int:
        """Number of weights, inputs x outputs."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True)
class SoftmaxAttention:
    """Softmax attention: MHA (kv_heads == heads), GQA, or MQA (kv_heads == 1).

    window_tokens: length of the sliding window or chunk; None is attention to all earlier tokens.
    value_dim: dimension of a value head where it differs from `head_dim`.
    output_gate: the query projection also computes a gate of the same size.
    kv_shared: the layer reads the cache of an earlier layer and keeps none itself.
    cross: keys and values come from an image, none from a token of text.
    """

    heads: int
    kv_heads: int
    head_dim: int
    window_tokens: int | None = None
    value_dim: int | None = None
    output_gate: bool = False
    kv_shared: bool = False
    cross: bool = False

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements per token: keys and values of every key-value head."""
        if self.kv_shared or self.cross:
            return 0
        return self.kv_heads * (self.head_dim + (self.value_dim or self.head_dim))

    state_elements: int = field(default=0, init=False)

    def projections(self, hidden: int) -> tuple[ProjectionMatrix, ...]:
        """Query (with its gate, if any), key, value and output matrices."""
        value = self.value_dim or self.head_dim
        query = self.heads * self.head_dim * (2 if self.output_gate else 1)
        kv = (
            ()
            if self.kv_shared
            else (
                ProjectionMatrix("k", hidden, self.kv_heads * self.head_dim, "column", self.kv_heads),
                ProjectionMatrix("v", hidden, self.kv_heads * value, "column", self.kv_heads),
            )
        )
        return (ProjectionMatrix("q", hidden, query), *kv, ProjectionMatrix("o", self.heads * value, hidden, "row"))


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """Multi-head latent attention (DeepSeek-V2, arXiv 2405.04434): all heads share one latent vector per token.

    q_rank, kv_rank: of the low-rank projections of queries (None: full rank) and of keys and values.
    rope_dim, nope_dim: parts of a query and key head with and without rotary embedding.
    top_tokens: most tokens that sparse attention reads (DeepSeek-V3.2). They are chosen by an indexer with
    `index_heads` heads of dimension `index_dim`, which keeps `index_dim` elements per token.
    """

    heads: int
    q_rank: int | None
    kv_rank: int
    rope_dim: int
    nope_dim: int
    value_dim: int
    top_tokens: int | None = None
    index_heads: int = 0
    index_dim: int = 0
    state_elements: int = field(default=0, init=False)

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements per token: latent, rotary key and the indexer's key."""
        return self.kv_rank + self.rope_dim + self.index_dim

    def projections(self, hidden: int) -> tuple[ProjectionMatrix, ...]:
        """Down- and up-projections of queries and latents, the output matrix, and those of the indexer, if any."""
        query = self.heads * (self.nope_dim + self.rope_dim)
        down = (
            (ProjectionMatrix("q", hidden, query),)
            if self.q_rank is None
            else (
                ProjectionMatrix("q_a", hidden, self.q_rank, "replicated"),
                ProjectionMatrix("q_b", self.q_rank, query),
            )
        )
        index = (
            (
                ProjectionMatrix("index_q", self.q_rank or hidden, self.index_heads * self.index_dim, "replicated"),
                ProjectionMatrix("index_k", hidden, self.index_dim, "replicated"),
                ProjectionMatrix("index_w", hidden, self.index_heads, "replicated"),
            )
            if self.index_heads
            else ()
        )
        return (
            *down,
            ProjectionMatrix("kv_a", hidden, self.kv_rank + self.rope_dim, "replicated"),
            ProjectionMatrix("kv_b", self.kv_rank, self.heads * (self.nope_dim + self.value_dim)),
            ProjectionMatrix("o", self.heads * self.value_dim, hidden, "row"),
            *index,
        )


@dataclass(frozen=True, slots=True)
class LinearAttention:
    """A recurrent mixer (gated delta net, Mamba-2, lightning attention): a state of fixed size, no cache per token.

    The state has value_heads x key_dim x value_dim elements (Mamba-2: heads x state size x head dim).
    conv_kernel: taps of the short convolution before it, 0 if none.
    gates: outputs of the input projection beside query, key and value (gate z, decay, dt), in elements.
    side: matrices beside the input and output projections (low-rank gates, the time steps of Mamba-1).
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int = 0
    gates: int = 0
    side: tuple[ProjectionMatrix, ...] = ()
    kv_elements_per_token: int = field(default=0, init=False)

    @property
    def state_elements(self) -> int:
        """Elements of the recurrent state of one sequence, with the last conv_kernel - 1 inputs of the convolution."""
        return self.value_heads * self.key_dim * self.value_dim + self._conv_channels * max(self.conv_kernel - 1, 0)

    @property
    def _conv_channels(self) -> int:
        return 2 * self.key_heads * self.key_dim + self.value_heads * self.value_dim if self.conv_kernel else 0

    def projections(self, hidden: int) -> tuple[ProjectionMatrix, ...]:
        """Input projection (query, key, value, gates), the matrices beside it and output projection."""
        inner = self.value_heads * self.value_dim
        outputs = 2 * self.key_heads * self.key_dim + inner + self.gates
        return (ProjectionMatrix("in", hidden, outputs), *self.side, ProjectionMatrix("out", inner, hidden, "row"))


Mixer = SoftmaxAttention | LatentAttention | LinearAttention


@dataclass(frozen=True, slots=True)
class DenseFeedForward:
    """A dense feed-forward part: three matrices if gated (SwiGLU, GeGLU), else two.

    side_rank: of the low-rank branches beside it (LAuReL and per-layer inputs of Gemma 3n), all together.
    """

    width: int
    gated: bool = True
    side_rank: int = 0

    def projections(self, hidden: int) -> tuple[ProjectionMatrix, ...]:
        """Up (and gate) and down matrices, and those of the branches beside them."""
        up = ProjectionMatrix("up", hidden, self.width * (2 if self.gated else 1))
        side = (
            (
                ProjectionMatrix("side_in", hidden, self.side_rank, "replicated"),
                ProjectionMatrix("side_out", self.side_rank, hidden, "replicated"),
            )
            if self.side_rank
            else ()
        )
        return (up, ProjectionMatrix("down", self.width, hidden, "row"), *side)


@dataclass(frozen=True, slots=True)
class MixtureOfExperts:
    """A mixture of experts: `chosen` of `experts` run for each token.

    width: of one expert.  shared_width: of the shared experts together, which run for every token.
    latent: input dimension of the experts where it is not the hidden size; every token is projected down before them
    and up after them.
    """

    experts: int
    chosen: int
    width: int
    shared_width: int = 0
    gated: bool = True
    latent: int | None = None

    @property
    def expert_elements_per_hidden(self) -> int:
        """Weights of one expert per element of its input (of the hidden size, or of `latent`)."""
        return self.width * (3 if self.gated else 2)

    def expert_elements(self, hidden: int) -> int:
        """Weights of one expert at a hidden size."""
        return self.expert_elements_per_hidden * (self.latent or hidden)

    def projections(self, hidden: int) -> tuple[ProjectionMatrix, ...]:
        """The matrices that every token passes: router, shared experts, projections into and out of the latent."""
        router = ProjectionMatrix("router", hidden, self.experts, "replicated")
        shared = DenseFeedForward(self.shared_width, self.gated).projections(hidden) if self.shared_width else ()
        latent = (
            (
                ProjectionMatrix("latent_in", hidden, self.latent, "replicated"),
                ProjectionMatrix("latent_out", self.latent, hidden, "replicated"),
            )
            if self.latent
            else ()
        )
        return (router, *shared, *latent)


@dataclass(frozen=True, slots=True)
class LayerBlock:
    """`count` equal layers; a layer may lack a mixer or a feed-forward part (Nemotron-H).

    beside: it is the second mixer of the layers of another block (Falcon-H1) and counts as no layer.
    """

    count: int
    mixer: Mixer | None
    ffn: DenseFeedForward | MixtureOfExperts | None
    beside: bool = False


@pydantic_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class PublishedParameterCounts:
    """Parameter counts as the model's card or paper states them, to check the derived ones against.

    total_vision: whether the total includes the vision tower.
    active_embeddings: which of embedding table and output head the active count includes.
    """

    total_params: float | None = None
    active_params: float | None = None
    total_vision: bool = True
    active_embeddings: Literal["both", "head", "none"] = "both"


@dataclass(frozen=True, slots=True)
class Model:
    """A decoder: embedding, blocks, output head.

    hidden: hidden size.  vocabulary: rows of the embedding table.  context_tokens: longest sequence.
    norm_elements, vision_elements: weights of all norms, and of the vision tower.  side_elements: tables and matrices
    outside of the blocks beside the embedding (learned positions, per-layer embeddings).
    spared_elements: weights of the blocks that a quantised checkpoint leaves in 16 bit.
    doubt: what a reader of any figure has to know of the architecture; empty where it was checked.
    repository: the Hugging Face repository that engines load; empty for a user's own config.
    weights, experts: ids of the formats in which the checkpoint ships its weights and its routed experts.
    """

    id: str
    name: str
    family: str
    hidden: int
    vocabulary: int
    context_tokens: int
    blocks: tuple[LayerBlock, ...]
    tied_embedding: bool = False
    repository: str = ""
    weights: str = "bf16"
    experts: str = "bf16"
    norm_elements: int = 0
    vision_elements: int = 0
    side_elements: int = 0
    spared_elements: int = 0
    doubt: str = ""
    published: PublishedParameterCounts = field(default_factory=PublishedParameterCounts)
    sources: Mapping[str, FactSource] = field(default_factory=dict, hash=False, compare=False)
    provenance: Mapping[str, str] = field(default_factory=dict, hash=False, compare=False)

    @property
    def checked(self) -> bool:
        """Whether the conformance suite holds figures of the architecture against published ones."""
        return not self.doubt

    @property
    def layers(self) -> int:
        """Number of layers."""
        return sum(block.count for block in self.blocks if not block.beside)

    @property
    def total_params(self) -> float:
        """All weights: embedding, head, blocks with all experts, norms, what stands beside them, vision tower."""
        outside = self.embedding_params + self.norm_elements + self.side_elements + self.vision_elements
        return self._block_params(active=False) + outside

    @property
    def active_params(self) -> float:
        """Weights that one token passes, embedding table and head included."""
        return self._block_params(active=True) + self.embedding_params + self.norm_elements + self.side_elements

    @property
    def embedding_params(self) -> float:
        """Weights of the embedding table and of the output head, once if tied."""
        return self.hidden * self.vocabulary * (1 if self.tied_embedding else 2)

    @property
    def kv_elements_per_token(self) -> int:
        """Cache elements per token, over all layers."""
        return sum(b.count * b.mixer.kv_elements_per_token for b in self.blocks if b.mixer)

    @property
    def expert_params(self) -> float:
        """Weights of all routed experts, over all layers."""
        return sum(
            b.count * b.ffn.experts * b.ffn.expert_elements(self.hidden)
            for b in self.blocks
            if isinstance(b.ffn, MixtureOfExperts)
        )

    @property
    def is_moe(self) -> bool:
        """Whether any layer routes tokens to experts."""
        return any(isinstance(block.ffn, MixtureOfExperts) for block in self.blocks)

    @property
    def recurrent(self) -> bool:
        """Whether any layer carries a recurrent state from token to token."""
        return any(block.mixer and block.mixer.state_elements for block in self.blocks)

    def _block_params(self, active: bool) -> float:
        """Weights of all blocks, with the experts that run for a token (active) or all experts."""
        total = 0.0
        for block in self.blocks:
            parts = [part for part in (block.mixer, block.ffn) if part]
            layer = sum(p.elements for part in parts for p in part.projections(self.hidden))
            if isinstance(block.ffn, MixtureOfExperts):
                experts = block.ffn.chosen if active else block.ffn.experts
                layer += experts * block.ffn.expert_elements(self.hidden)
            total += block.count * layer
        return total

"""Activations that training keeps for the backward pass, by kind of layer."""

from __future__ import annotations

from dataclasses import dataclass, fields

from comptroller.costs.training_quantisation import feed_inputs, mixer_inputs
from comptroller.facts.model import (
    DenseFeedForward,
    LatentAttention,
    LayerBlock,
    LinearAttention,
    MixtureOfExperts,
    SoftmaxAttention,
)

HALF = 2.0
"""Bytes of an activation, which every program keeps in 16 bit."""

INDEX_BYTES = 4.0
"""Of an entry of a router's table."""


@dataclass(frozen=True, slots=True)
class ActivationHabits:
    """What a program keeps of a layer. score_bytes: per query-key pair, 0 with a fused kernel.  dropout: whether masks
    of one byte are kept.  permuted: whether tokens are kept as they are sorted by expert and as experts return them,
    beside the inputs and outputs of activation functions (SonicMoE keeps neither).  input_bytes: of an element that a
    matrix reads, kept for the gradients of weights: fewer than 2 where it is kept quantised."""

    score_bytes: float = 0.0
    dropout: bool = False
    permuted: bool = True
    input_bytes: float = HALF


@dataclass(frozen=True, slots=True)
class LayerActivations:
    """Bytes per token before tensor parallelism. norms: their inputs.  attention, mlp, experts: inputs of matrices and
    what comes between them.  inputs: of whole layers, where the rest is computed again."""

    norms: float = 0.0
    attention: float = 0.0
    mlp: float = 0.0
    experts: float = 0.0
    inputs: float = 0.0

    @property
    def whole(self) -> float:
        """All kinds."""
        return float(sum(getattr(self, item.name) for item in fields(self)))

    def __add__(self, other: LayerActivations) -> LayerActivations:
        return LayerActivations(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def times(self, factor: float) -> LayerActivations:
        """Each kind so many times."""
        return LayerActivations(*(factor * getattr(self, one.name) for one in fields(self)))


def layer_activations(
    block: LayerBlock, hidden: int, seq: int, habits: ActivationHabits = ActivationHabits(), rows: float = 1.0
) -> LayerActivations:
    """Bytes that one layer keeps, per token.

    GPT: 34 h + 5 a s (arXiv 2205.05198, equation 1), with dropout and scores that leave the chip; in general inputs of
    norms and matrices, queries, keys and values, the inputs and outputs of activation functions; of experts 2 h + 4 k n
    for k experts of width n (SonicMoE, arXiv 2512.14080), and what is permuted.

    rows: of a product of experts over their tokens, more than 1 with padding.

    >>> gpt = LayerBlock(1, SoftmaxAttention(8, 8, 128), DenseFeedForward(4096, gated=False))
    >>> layer_activations(gpt, 1024, 2048, ActivationHabits(dropout=True)).whole == 34 * 1024
    True
    """
    spared = HALF - habits.input_bytes
    mixed = _mixer_bytes(block, hidden, seq, habits) - spared * mixer_inputs(block, hidden)
    feed, half = block.ffn, HALF * hidden
    norms = half * ((block.mixer is not None) + (feed is not None))
    if isinstance(feed, DenseFeedForward):
        wide = HALF * feed.width * (3 if feed.gated else 2)
        spared *= feed_inputs(block, hidden)
        return LayerActivations(norms, mixed, half + wide + habits.dropout * hidden - spared)
    if isinstance(feed, MixtureOfExperts):
        spared *= rows * (feed_inputs(block, hidden) if habits.permuted else hidden)
        return LayerActivations(norms, mixed, experts=half + _expert_bytes(feed, hidden, habits, rows) - spared)
    return LayerActivations(norms, mixed)


def undivided_activations(
    block: LayerBlock, hidden: int, habits: ActivationHabits = ActivationHabits()
) -> LayerActivations:
    """Bytes per token that tensor parallelism alone leaves whole on every device: inputs of norms and of the first
    matrices, and masks of dropout after the last ones. Sequence parallelism splits them too.

    10 h of GPT's 34 h (arXiv 2205.05198, equation 2):

    >>> gpt = LayerBlock(1, SoftmaxAttention(8, 8, 128), DenseFeedForward(4096, gated=False))
    >>> undivided_activations(gpt, 1024, ActivationHabits(dropout=True)).whole == 10 * 1024
    True
    """
    part = HALF * hidden + habits.dropout * hidden
    norms = HALF * hidden * ((block.mixer is not None) + (block.ffn is not None))
    sparse = isinstance(block.ffn, MixtureOfExperts)
    return LayerActivations(
        norms, part if block.mixer else 0.0, part if block.ffn and not sparse else 0.0, part if sparse else 0.0
    )


def _expert_bytes(feed: MixtureOfExperts, hidden: int, habits: ActivationHabits, rows: float) -> float:
    """Bytes per token beside the input of the experts."""
    before, shared = feed.width * (2 if feed.gated else 1), feed.shared_width * (3 if feed.gated else 2)
    if not habits.permuted:
        return HALF * (rows * feed.chosen * before + shared) + INDEX_BYTES * feed.chosen
    each = 2 * (feed.latent or hidden) + before + feed.width
    return HALF * (rows * feed.chosen * each + shared) + INDEX_BYTES * feed.experts


def _mixer_bytes(block: LayerBlock, hidden: int, seq: int, habits: ActivationHabits) -> float:
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
    return HALF * (hidden + inner) + habits.dropout * hidden

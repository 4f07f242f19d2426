"""Memory of a replica: weights, cache, and how many tokens of cache fit, as the engines reckon it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from comptroller.costs.deployment import ModelReplica
from comptroller.costs.operations import STATE_BYTES
from comptroller.errors import InsufficientMemoryError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.model import DenseFeedForward, LatentAttention, MixtureOfExperts, SoftmaxAttention

HIDDEN_COPIES = 3.0
"""Live tensors of hidden width per token while an engine profiles its largest step."""

INNER_COPIES = 3.0
"""Live tensors of feed-forward width per token: gate and up, and their product."""

FRAMEWORK_BYTES = 0.45e9
"""Context, libraries and communicators per device: vLLM logs 0.25 to 0.35 GiB of non-torch memory on one device
(vllm-project/vllm issues 10517 and 13061), to which its allocator's rounding adds."""

DRIVER_BYTES = 0.45e9
"""What the driver keeps of the total it reports: vLLM logs 23.58 GiB on devices that report 24,564 to 24,576 MiB
(issue 10517), PyTorch 178.35 GiB on one that reports 183,359 MiB (pytorch/ao pull request 4002)."""


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """What one device holds, in bytes; and the cache the replica can keep, in tokens."""

    total_bytes: float
    weight_bytes: float
    reserve_bytes: float
    kv_bytes_per_token: float
    state_bytes_per_sequence: float
    kv_capacity_tokens: int


def weight_bytes(replica: ModelReplica) -> float:
    """Bytes of weights on the fullest device.

    Norms, routers, embedding and head stay in 16 bit, as the public quantised checkpoints keep them; embedding and
    head are cut by tensor parallelism, blocks also by pipeline stages, experts over the stage's devices.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
    >>> engine = EngineSettings.default(engine_facts("vllm"))
    >>> parts = PrecisionRecipe(), ParallelLayout(), engine
    >>> one = ModelReplica(model("llama_3_1_8b"), accelerator("h100_sxm"), *parts)
    >>> round(weight_bytes(one) / 1e9, 2)  # 8.03 G parameters x 2 bytes
    16.06
    """
    model, layout = replica.model, replica.layout
    ends = model.embedding_params * 2.0 / layout.tp / min(layout.pp, 2)
    experts = model.expert_params * replica.formats.experts.bytes_per_element / layout.devices
    dense = model.total_params - model.expert_params - model.embedding_params - model.norm_elements
    replicated = sum(
        p.elements * b.count
        for b in model.blocks
        if b.mixer
        for p in b.mixer.projections(model.hidden)
        if p.shard == "replicated"
    )
    split = (dense - replicated) / layout.tp + replicated
    stored = replica.formats.weights.bytes_per_element
    # what the checkpoint spares stays in 16 bit, unless the recipe quantises it anew
    spared = model.spared_elements / layout.tp if replica.formats.weights.id == model.weights else 0.0
    return ends + experts + (split * stored + spared * (2.0 - stored) + model.norm_elements * 2.0) / layout.pp


def kv_bytes_per_token(replica: ModelReplica) -> float:
    """Cache bytes one more token of context takes on one device, layers that keep everything only.

    K and V of `kv_heads / tp` heads (at least one) per layer, or one latent, replicated over tensor ranks:
    2 L H_kv d b for plain attention.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
    >>> engine = EngineSettings.default(engine_facts("vllm"))
    >>> parts = PrecisionRecipe(), ParallelLayout(), engine
    >>> kv_bytes_per_token(ModelReplica(model("llama_3_1_70b"), accelerator("h100_sxm"), *parts))
    327680.0
    """
    return _cache_elements(replica, windowed=False) * replica.formats.kv.bytes_per_element / replica.layout.pp


def state_bytes_per_sequence(replica: ModelReplica) -> float:
    """Bytes a sequence holds whatever its length: recurrent states and full sliding windows."""
    states = sum(b.count * b.mixer.state_elements for b in replica.model.blocks if b.mixer)
    windows = _cache_elements(replica, windowed=True) * replica.formats.kv.bytes_per_element
    return (states * STATE_BYTES / replica.layout.tp + windows) / replica.layout.pp


def memory(replica: ModelReplica) -> ReplicaMemory:
    """Memory of a replica and its cache capacity in tokens, over all its data-parallel ranks.

    capacity = dp * floor(left / (bytes per block)) * block tokens, where `left` is, by what the engine's fraction
    is of: f T - W - R (of the total), min(f T, T - R) - W (static), f (T - W - R) (of what is free)

    Raises:
        InsufficientMemoryError: weights and reserve alone exceed the memory, by how many bytes on what.
    """
    engine = replica.engine
    weights, reserve = weight_bytes(replica), reserve_bytes(replica)
    per_token, total = kv_bytes_per_token(replica), total_bytes(replica.device)
    left = {
        "total": engine.memory_fraction * total - weights - reserve,
        "static": min(engine.memory_fraction * total, total - reserve) - weights,
        "free": engine.memory_fraction * (total - weights - reserve),
    }[engine.fraction_of]
    if left <= per_token * engine.kv_block_tokens:
        raise InsufficientMemoryError(str(replica), replica.device.id, per_token * engine.kv_block_tokens - left)
    blocks = np.floor(left / (per_token * engine.kv_block_tokens)) if per_token else 0.0
    capacity = int(blocks) * engine.kv_block_tokens * replica.layout.dp
    return ReplicaMemory(total, weights, reserve, per_token, state_bytes_per_sequence(replica), capacity)


def total_bytes(device: Accelerator) -> float:
    """Memory an engine sees: what the driver reports less its own part; the datasheet's where no report is known.

    >>> from comptroller.facts.accelerator import accelerator
    >>> round(total_bytes(accelerator("h100_sxm")) / 2**30, 2)  # 81,559 MiB less 0.45 GB
    79.23
    """
    if device.reported_memory_bytes is None:
        return device.memory_bytes
    return device.reported_memory_bytes - DRIVER_BYTES


def reserve_bytes(replica: ModelReplica) -> float:
    """Bytes the engine sets aside per device: activations of its largest step, captured graphs, framework.

    chunk * 2 * (3 D + 3 W / tp) + max_batch * V * 4 / tp + graphs + framework; W the widest feed-forward part, of a
    mixture its chosen experts' together. vLLM's profile grows by 0.92 GiB from 20,000 to 29,000 tokens on
    Llama-3.1-8B (vllm-project/vllm issue 10517), which is 3 D + 3 W elements a token.
    """
    model, layout = replica.model, replica.layout
    logits = replica.engine.max_batch * model.vocabulary * 4.0 / layout.tp
    inner = max((_width(block.ffn) for block in model.blocks), default=0.0) / layout.tp
    per_token = 2.0 * (HIDDEN_COPIES * model.hidden + INNER_COPIES * inner)
    activations = replica.engine.chunk_tokens * per_token
    return logits + activations + replica.engine.graph_bytes + FRAMEWORK_BYTES


def _width(ffn: DenseFeedForward | MixtureOfExperts | None) -> float:
    if isinstance(ffn, MixtureOfExperts):
        return float(ffn.chosen * ffn.width + ffn.shared_width)
    return float(ffn.width) if ffn else 0.0


def _cache_elements(replica: ModelReplica, windowed: bool) -> float:
    total = 0.0
    for block in replica.model.blocks:
        mixer = block.mixer
        if isinstance(mixer, LatentAttention) and not windowed:
            total += block.count * mixer.kv_elements_per_token
        elif isinstance(mixer, SoftmaxAttention) and (mixer.window_tokens is not None) == windowed:
            share = mixer.kv_elements_per_token / min(replica.layout.tp, mixer.kv_heads)
            total += block.count * share * (mixer.window_tokens or 1)
    return total

"""Memory of a replica: weights, cache, and how many tokens of cache fit, as the engines reckon it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from comptroller.costs.adapters import slot_bytes
from comptroller.costs.deployment import ModelReplica
from comptroller.costs.operations import STATE_BYTES
from comptroller.costs.reserve import around_bytes, expert_bytes, reserve_bytes
from comptroller.costs.speculation import draft_replica
from comptroller.errors import InsufficientMemoryError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.model import LatentAttention, SoftmaxAttention

Array = npt.NDArray[np.float64]

NO_WINDOW = 1 << 40
"""A context that no sequence has."""

DRIVER_BYTES = 0.45e9
"""What the driver keeps of the total it reports: vLLM logs 23.58 GiB on devices that report 24,564 to 24,576 MiB
(issue 10517), PyTorch 178.35 GiB on one that reports 183,359 MiB (pytorch/ao pull request 4002)."""


@dataclass(frozen=True, slots=True)
class SlidingCache:
    """Cache of the layers of one window: bytes per token of context, up to `window_tokens` of them."""

    window_tokens: int
    bytes_per_token: float


@dataclass(frozen=True, slots=True)
class ReplicaMemory:
    """What one device holds, in bytes; and the cache the replica can keep, in tokens.

    kv_bytes_per_token: layers that keep everything.  windows: the others.  state_bytes_per_sequence: recurrent states.
    kv_capacity_tokens: over all `ranks`, in tokens that no window has dropped, which take `token_bytes` each. Of a
    model that keeps states alone: as many sequences as fit, times its longest context, as vLLM logs it.
    """

    total_bytes: float
    weight_bytes: float
    reserve_bytes: float
    kv_bytes_per_token: float
    state_bytes_per_sequence: float
    kv_capacity_tokens: int
    token_bytes: float
    windows: tuple[SlidingCache, ...] = ()
    ranks: int = 1

    @property
    def cache_bytes(self) -> float:
        """Bytes that caches and states may take, on one device of each data-parallel rank together."""
        return self.kv_capacity_tokens * self.token_bytes

    def sequence_bytes(self, context_tokens: npt.ArrayLike) -> Array:
        """Bytes of sequences of some contexts: a C + sum w min(C, W) + s."""
        context = np.asarray(context_tokens, float)
        slid = sum(w.bytes_per_token * np.minimum(context, w.window_tokens) for w in self.windows)
        return np.asarray(self.kv_bytes_per_token * context + slid + self.state_bytes_per_sequence)

    @property
    def longest_tokens(self) -> float:
        """The longest context that a rank holds one sequence of; infinite where nothing grows with it."""
        room = self.cache_bytes / self.ranks
        slopes = [*sorted(self.windows, key=lambda w: w.window_tokens), SlidingCache(NO_WINDOW, 0.0)]
        for window in slopes:
            full = float(self.sequence_bytes(window.window_tokens))
            if full > room:
                growing = sum(w.bytes_per_token for w in self.windows if w.window_tokens >= window.window_tokens)
                return window.window_tokens - (full - room) / (self.kv_bytes_per_token + growing)
        return float("inf")

    def tokens_at(self, context_tokens: float) -> float:
        """Tokens of context in sequences of one length that fill the cache."""
        return float(self.cache_bytes / np.maximum(self.sequence_bytes(context_tokens), 1.0) * context_tokens)


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
    experts = expert_bytes(replica) / layout.devices
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


def loaded_bytes(replica: ModelReplica) -> float:
    """Bytes of all weights on the fullest device, those of a draft model and slots of adapters among them, less what
    lies in the host's memory."""
    draft = draft_replica(replica)
    own = max(weight_bytes(replica) - replica.engine.offload_bytes, 0.0)
    return own + (weight_bytes(draft) if draft else 0.0) + slot_bytes(replica)


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
    return _cache_elements(replica) * replica.formats.kv.bytes_per_element / replica.layout.pp


def state_bytes_per_sequence(replica: ModelReplica) -> float:
    """Bytes of recurrent states that a sequence holds whatever its length."""
    states = sum(b.count * b.mixer.state_elements for b in replica.model.blocks if b.mixer)
    return states * STATE_BYTES / replica.layout.tp / replica.layout.pp


def sliding_caches(replica: ModelReplica) -> tuple[SlidingCache, ...]:
    """Caches of layers with windows, on one device, by ascending window.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
    >>> parts = PrecisionRecipe(), ParallelLayout(), EngineSettings.default(engine_facts("vllm"))
    >>> sliding_caches(ModelReplica(model("gemma_2_9b"), accelerator("h100_sxm"), *parts))
    (SlidingCache(window_tokens=4096, bytes_per_token=172032.0),)
    """
    elements: dict[int, float] = {}
    for block in replica.model.blocks:
        if isinstance(block.mixer, SoftmaxAttention) and block.mixer.window_tokens is not None:
            window = block.mixer.window_tokens
            elements[window] = elements.get(window, 0.0) + block.count * _share(replica, block.mixer)
    scale = replica.formats.kv.bytes_per_element / replica.layout.pp
    return tuple(SlidingCache(window, elements[window] * scale) for window in sorted(elements))


def memory(replica: ModelReplica) -> ReplicaMemory:
    """Memory of a replica and its cache capacity in tokens, over all its data-parallel ranks.

    capacity = dp * floor(left / (bytes per block, all layers)) * block tokens

    Raises:
        InsufficientMemoryError: weights and reserve alone exceed the memory, by how many bytes on what.
    """
    ranks, block, context = replica.layout.dp, replica.engine.kv_block_tokens, replica.model.context_tokens
    left, full = cache_room_bytes(replica), kv_bytes_per_token(replica)
    state, windows = state_bytes_per_sequence(replica), sliding_caches(replica)
    if draft := draft_replica(replica):
        full, windows = full + kv_bytes_per_token(draft), (*windows, *sliding_caches(draft))
    token = full + sum(window.bytes_per_token for window in windows)
    least = token * block + state
    if left <= least:
        raise InsufficientMemoryError(str(replica), replica.device.id, least - left)
    if token:
        capacity = int(left // (token * block)) * block * ranks
    else:
        token, capacity = state / context, int(left // state) * context * ranks
    parts = loaded_bytes(replica), reserve_bytes(replica)
    return ReplicaMemory(total_bytes(replica.device), *parts, full, state, capacity, token, windows, ranks)


def cache_room_bytes(replica: ModelReplica) -> float:
    """Bytes that a device has left for caches and states; negative where weights and reserve alone exceed it.

    By what the engine's fraction f is of: f T - W - R (of the total), min(f (T - c), T - R) - W (static: of what is
    free before weights are loaded, c taken by framework and communicators), f (T - W - R) (of what is free).
    """
    engine, total = replica.engine, total_bytes(replica.device)
    weights, reserve = loaded_bytes(replica), reserve_bytes(replica)
    return {
        "total": engine.memory_fraction * total - weights - reserve,
        "static": min(engine.memory_fraction * (total - around_bytes(replica)), total - reserve) - weights,
        "free": engine.memory_fraction * (total - weights - reserve),
    }[engine.fraction_of]


def total_bytes(device: Accelerator) -> float:
    """Memory an engine sees: what the driver reports less its own part; the datasheet's where no report is known.

    >>> from comptroller.facts.accelerator import accelerator
    >>> round(total_bytes(accelerator("h100_sxm")) / 2**30, 2)  # 81,559 MiB less 0.45 GB
    79.23
    """
    if device.reported_memory_bytes is None:
        return device.memory_bytes
    return device.reported_memory_bytes - DRIVER_BYTES


def _share(replica: ModelReplica, mixer: SoftmaxAttention) -> float:
    """Elements per token and layer on one device: at least one head of keys and values."""
    return mixer.kv_elements_per_token / min(replica.layout.tp, mixer.kv_heads)


def _cache_elements(replica: ModelReplica) -> float:
    """Elements per token of the layers that keep everything, on one device of all stages."""
    total = 0.0
    for block in replica.model.blocks:
        mixer = block.mixer
        if isinstance(mixer, LatentAttention):
            total += block.count * mixer.kv_elements_per_token
        elif isinstance(mixer, SoftmaxAttention) and mixer.window_tokens is None:
            total += block.count * _share(replica, mixer)
    return total

"""What a serving engine sets aside beside weights and cache, and what its kernels pad, as the engines' sources tell."""

from __future__ import annotations

from comptroller.costs.deployment import ModelReplica
from comptroller.facts.model import DenseFeedForward, MixtureOfExperts

HIDDEN_COPIES = 3.0
"""Live tensors of hidden width per token while an engine profiles its largest step: residual, input and output of a
layer. vLLM's profile grows by 0.92 GiB from 20,000 to 29,000 tokens on Llama-3.1-8B (vllm-project/vllm issue 10517),
which is 3 D + 3 W elements a token; twice as many copies would double that growth."""

INNER_COPIES = 3.0
"""Live tensors of feed-forward width per token: gate and up, and their product."""

ACTIVATION_BYTES = 2.0
"""Activations between kernels are kept in 16 bit."""

FRAMEWORK_BYTES = 0.45e9
"""Context, libraries and workspace per device: vLLM logs 0.25 to 0.35 GiB of non-torch memory on one device
(vllm-project/vllm issues 10517 and 13061), to which its allocator's rounding adds. Twice as much would take 2 % of the
cache of an 8B model on a device of 24 GB."""

COMMUNICATOR_BYTES = 0.2e9
"""Buffers of the collectives of a replica on several devices: with the framework's these are the 0.6 GiB of non-torch
memory that vLLM logs for each of four H100 (vllm-project/vllm pull request 48601). Twice as much is 0.2 % of one."""

MXFP4_TILES = {"ampere": (128, 256), "ada": (128, 256), "blackwell": (256, 256), "blackwell_ultra": (256, 256)}
"""Device family -> multiples to which the kernels of MXFP4 experts pad the inner and the hidden width: Marlin, and the
TRT-LLM kernels of SM100 (vllm/model_executor/layers/quantization/mxfp4.py, create_weights). AMD: `CDNA_TILES`."""

CDNA_TILES, OTHER_TILES = (256, 256), (64, 1)
"""The same file: on ROCm both are padded to 256, elsewhere (Triton, Hopper) the inner width to 64 alone."""


def reserve_bytes(replica: ModelReplica) -> float:
    """Bytes the engine sets aside per device: the peak of its largest step, captured graphs, framework.

        R = max(2 chunk A, 2 chunk D + max_batch V b) + graphs + framework

    A elements live per token in a layer (`layer_elements`), D the hidden width, V the vocabulary, b bytes per logit
    that the sampler needs at once (`facts.engine`). Layers and sampler do not run at the same time, so the larger
    counts; the logits of all tensor ranks are gathered before they are sampled. vLLM logs for 256, 128 and 1 sequences
    a peak of 1.71, 1.10 and 1.10 GiB (vllm-project/vllm pull request 9003).

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> parts = PrecisionRecipe(), ParallelLayout(), EngineSettings.default(engine_facts("vllm"))
    >>> one = ModelReplica(model("llama_3_1_8b"), accelerator("h100_sxm"), *parts)
    >>> round(reserve_bytes(one) / 1e9, 2)  # 0.07 + 1,024 x 128,256 x 14 B, and 0.84 around them
    2.74
    """
    return peak_bytes(replica) + graph_bytes(replica) + around_bytes(replica)


def peak_bytes(replica: ModelReplica) -> float:
    """Bytes at the peak of the largest step: of a layer, or of sampling a full batch while its hidden states live."""
    tokens = ACTIVATION_BYTES * replica.engine.chunk_tokens
    return max(tokens * layer_elements(replica), tokens * replica.model.hidden + sampler_bytes(replica))


def graph_bytes(replica: ModelReplica) -> float:
    """Bytes of captured graphs: of the sizes that an engine knows, those up to twice its largest batch are captured.

    vLLM: max_cudagraph_capture_size = min(2 max_num_seqs, 512) (vllm/config/vllm.py, _set_cudagraph_sizes).
    """
    if replica.engine.eager:
        return 0.0
    sizes = replica.engine.graph_sizes
    captured = sum(size <= 2 * replica.engine.max_batch for size in sizes)
    return replica.engine.graph_bytes * (captured / len(sizes) if sizes else 1.0)


def around_bytes(replica: ModelReplica) -> float:
    """Bytes that are taken before weights are loaded: framework, and on several devices their communicators."""
    return FRAMEWORK_BYTES + (COMMUNICATOR_BYTES if replica.layout.devices > 1 else 0.0)


def sampler_bytes(replica: ModelReplica) -> float:
    """Bytes of the logits of a full batch and of the copies that sampling makes of them."""
    return (
        replica.engine.max_batch * replica.engine.verify_tokens * replica.model.vocabulary * replica.engine.logit_bytes
    )


def layer_elements(replica: ModelReplica) -> float:
    """Elements per token that live at once in the widest layer, on one device.

    3 D + 3 W / tp of a dense part. Of routed experts k (max(2 N / tp, D) + N / tp) in place of 3 W / tp, for the inputs
    of all chosen experts are laid out one after the other: `intermediate_cache13` and `intermediate_cache2` of
    vllm/model_executor/layers/fused_moe/fused_marlin_moe.py.
    """
    widest = max((_feed_forward_elements(replica, block.ffn) for block in replica.model.blocks), default=0.0)
    return HIDDEN_COPIES * replica.model.hidden + widest


def _feed_forward_elements(replica: ModelReplica, ffn: DenseFeedForward | MixtureOfExperts | None) -> float:
    tp = replica.layout.tp
    if isinstance(ffn, MixtureOfExperts):
        inner, hidden = ffn.width / tp, float(ffn.latent or replica.model.hidden)
        gate_and_up = inner * (2 if ffn.gated else 1)
        return ffn.chosen * (max(gate_and_up, hidden) + inner) + INNER_COPIES * ffn.shared_width / tp
    return INNER_COPIES * ffn.width / tp if ffn else 0.0


def expert_bytes(replica: ModelReplica) -> float:
    """Bytes of all routed experts as they lie in memory: with what kernels of MXFP4 pad them to.

    >>> from comptroller.facts.accelerator import accelerator
    >>> from comptroller.facts.config import model
    >>> from comptroller.facts.engine import engine_facts
    >>> from comptroller.costs.deployment import EngineSettings, ParallelLayout, PrecisionRecipe
    >>> parts = PrecisionRecipe(experts="mxfp4"), ParallelLayout(), EngineSettings.default(engine_facts("vllm"))
    >>> on = lambda name: expert_bytes(ModelReplica(model("gpt_oss_20b"), accelerator(name), *parts))
    >>> round(on("a100_80_sxm") / on("h100_sxm"), 3)  # 2,944 x 3,072 in place of 2,880 x 2,880
    1.09
    """
    stored = replica.formats.experts
    padded = 0.0
    for block in replica.model.blocks:
        if isinstance(block.ffn, MixtureOfExperts):
            elements = block.ffn.experts * block.ffn.expert_elements(replica.model.hidden)
            padded += block.count * elements * (_padding(replica, block.ffn) if stored.id == "mxfp4" else 1.0)
    return padded * stored.bytes_per_element


def _padding(replica: ModelReplica, moe: MixtureOfExperts) -> float:
    """Elements of a padded expert for each of its own; tensor ranks hold a slice of the inner width each."""
    family = replica.device.family
    tiles = CDNA_TILES if family.startswith("cdna") else MXFP4_TILES.get(family, OTHER_TILES)
    inner, hidden = moe.width / replica.layout.tp, moe.latent or replica.model.hidden
    return _round_up(inner, tiles[0]) * _round_up(hidden, tiles[1]) / (inner * hidden)


def _round_up(width: float, tile: int) -> float:
    return -(-width // tile) * tile

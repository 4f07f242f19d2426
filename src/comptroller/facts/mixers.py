"""The mixer of a layer (attention or a recurrence), from the keys of a public `config.json`."""

from __future__ import annotations

from comptroller.errors import FactError
from comptroller.facts.fields import ConfigFields
from comptroller.facts.model import LatentAttention, LinearAttention, Mixer, ProjectionMatrix, SoftmaxAttention

FULL, WINDOW, LINEAR, CROSS, CONV, PAIR = "full", "window", "linear", "cross", "conv", "pair"
"""Kinds of mixers; a pair is a recurrence and attention in one layer."""

RANK_DIVISOR = 16
"""Hidden size over the rank of Mamba's time steps where a config says "auto" (mamba_ssm, `dt_rank`). At twice this a
layer of hidden 4096 would have 128 ranks, 2 % fewer weights."""


def mixer_of(fields: ConfigFields, kind: str | None, layer: int) -> Mixer | None:
    """The mixer of a layer of a kind.

    Raises:
        FactError: names the key that is missing or malformed.
    """
    if kind is None:
        return None
    if kind == CONV:
        return _short_convolution(fields)
    if kind == LINEAR:
        return _linear_attention(fields)
    if fields.has("kv_lora_rank"):
        return _latent_attention(fields, layer)
    return _softmax_attention(fields, kind, layer)


def _softmax_attention(fields: ConfigFields, kind: str, layer: int) -> SoftmaxAttention:
    def size(name: str, default: int | None = None) -> int:
        """A size of this kind of layer, else of all layers."""
        keys = {
            (FULL, "kv_heads"): "num_global_key_value_heads",
            (FULL, "head_dim"): "global_head_dim",
            (WINDOW, "heads"): "swa_num_attention_heads",
            (WINDOW, "kv_heads"): "swa_num_key_value_heads",
            (WINDOW, "head_dim"): "swa_head_dim",
            (WINDOW, "value_dim"): "swa_v_head_dim",
        }
        kind_key = keys.get((kind, name), "")
        return fields.count(kind_key) if fields.has(kind_key) else fields.count(name, default, layer)

    heads = size("heads")
    hidden = fields.count("hidden")
    if not fields.has("head_dim") and hidden % heads:
        raise FactError(fields.file, "hidden_size", f"{hidden} is not a multiple of {heads} heads")
    head_dim = size("head_dim", hidden // heads)
    kv_heads = 1 if _has_one_key_head(fields) else size("kv_heads", heads)
    if heads % kv_heads:
        raise FactError(fields.file, "num_key_value_heads", f"{kv_heads} does not divide {heads} heads")
    value_dim = size("value_dim", head_dim)
    shared = fields.count("num_kv_shared_layers", 0)
    return SoftmaxAttention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        window_tokens=fields.count("window") if kind == WINDOW else None,
        value_dim=None if value_dim == head_dim else value_dim,
        output_gate=fields.has("attn_output_gate"),
        kv_shared=bool(shared) and layer >= fields.count("layers") - shared,
        cross=kind == CROSS,
    )


def _has_one_key_head(fields: ConfigFields) -> bool:
    """Whether all heads share one key and value: `multi_query`, which Falcon's newer decoders overrule."""
    shares = bool(fields.value("multi_query")) and not fields.value("new_decoder_architecture")
    if shares or fields.value("attn_type") == "multiquery_attention":
        fields.skip("kv_heads")
        return True
    return False


def _latent_attention(fields: ConfigFields, layer: int) -> LatentAttention:
    indexers = fields.pattern("indexer_types", fields.count("layers"), str)
    has_indexer = fields.has("index_topk") and not (indexers and indexers[layer] == "shared")
    fields.skip("kv_heads", "head_dim", "qk_head_dim", "index_n_heads", "index_head_dim")
    return LatentAttention(
        heads=fields.count("heads"),
        q_rank=fields.count("q_lora_rank", 0) or None,
        kv_rank=fields.count("kv_lora_rank"),
        rope_dim=fields.count("qk_rope_head_dim"),
        nope_dim=fields.count("qk_nope_head_dim"),
        value_dim=fields.count("v_head_dim"),
        top_tokens=fields.count("index_topk", 0) or None,
        index_heads=fields.count("index_n_heads") if has_indexer else 0,
        index_dim=fields.count("index_head_dim") if has_indexer else 0,
    )


def _linear_attention(fields: ConfigFields) -> LinearAttention:
    if fields.has("linear_num_value_heads"):
        return _gated_delta(fields)
    if fields.has("linear_num_heads"):
        return _channel_delta(fields)
    if fields.has("ssm_rank") and not fields.has("ssm_heads"):
        return _selective_scan(fields)
    return _state_space(fields)


def _gated_delta(fields: ConfigFields) -> LinearAttention:
    """A gated delta net (Qwen3-Next)."""
    values, value_dim = fields.count("linear_num_value_heads"), fields.count("linear_value_head_dim")
    return LinearAttention(
        key_heads=fields.count("linear_num_key_heads"),
        value_heads=values,
        key_dim=fields.count("linear_key_head_dim"),
        value_dim=value_dim,
        conv_kernel=fields.count("conv", 0),
        gates=values * value_dim + 2 * values,
    )


def _channel_delta(fields: ConfigFields) -> LinearAttention:
    """A delta net with a decay per channel (Kimi-Linear, arXiv 2510.26692); its gates have the rank of a head."""
    heads, dim, hidden = fields.count("linear_num_heads"), fields.count("linear_head_dim"), fields.count("hidden")
    low_rank = (
        ProjectionMatrix("decay_gate_in", hidden, 2 * dim, "replicated"),
        ProjectionMatrix("decay_gate_out", dim, 2 * heads * dim),
    )
    kernel = fields.count("linear_short_conv_kernel_size", fields.count("conv", 0))
    return LinearAttention(heads, heads, dim, dim, kernel, gates=heads, side=low_rank)


def _state_space(fields: ConfigFields) -> LinearAttention:
    """Mamba-2 (arXiv 2405.21060)."""
    heads = fields.count("ssm_heads")
    inner = fields.count("ssm_width", 0) or fields.count("ssm_expand", 0) * fields.count("hidden")
    derived = inner // heads if fields.raw.get("mamba_d_head") == "auto" else 0
    head_dim = derived or fields.count("ssm_head_dim")
    fields.skip("ssm_head_dim", "ssm_rank")
    return LinearAttention(
        key_heads=fields.count("ssm_groups"),
        value_heads=heads,
        key_dim=fields.count("ssm_state"),
        value_dim=head_dim,
        conv_kernel=fields.count("conv", 0),
        gates=heads * head_dim + heads,
    )


def _selective_scan(fields: ConfigFields) -> LinearAttention:
    """Mamba-1 (arXiv 2312.00752): every channel is a head of one element with a state of its own."""
    hidden, state = fields.count("hidden"), fields.count("ssm_state")
    channels = fields.count("ssm_expand") * hidden
    automatic = fields.value(next(key for key in fields.keys("ssm_rank") if key in fields.raw)) == "auto"
    rank = -(-hidden // RANK_DIVISOR) if automatic else fields.count("ssm_rank")
    scan = (
        ProjectionMatrix("scan_in", channels, rank + 2 * state, "row"),
        ProjectionMatrix("scan_step", rank, channels),
        ProjectionMatrix("scan_decay", state, channels),
    )
    return LinearAttention(0, channels, state, 1, fields.count("conv"), gates=channels, side=scan)


def _short_convolution(fields: ConfigFields) -> LinearAttention:
    """LFM2's gated short convolution: no state but its last inputs; two gates of hidden size."""
    hidden = fields.count("hidden")
    fields.skip("conv_dim", "block_dim", "conv_dim_out")
    return LinearAttention(0, hidden, 0, 1, fields.count("conv_L_cache"), gates=2 * hidden)

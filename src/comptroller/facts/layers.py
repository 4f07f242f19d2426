"""The mixer and the feed-forward part of each layer, from the keys of a public `config.json`.

Only keys decide, never a model's name: `kv_lora_rank` means latent attention, `num_experts` (or a synonym) a mixture of
experts; a list with one entry per layer, or a period, says which layer is of which kind.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from comptroller.errors import FactError
from comptroller.facts.fields import ConfigFields
from comptroller.facts.model import (
    DenseFeedForward,
    LatentAttention,
    LayerBlock,
    LinearAttention,
    Mixer,
    MixtureOfExperts,
    SoftmaxAttention,
)

T = TypeVar("T")

FULL, WINDOW, LINEAR, DENSE, SPARSE = "full", "window", "linear", "dense", "sparse"

MIXERS = {
    "full_attention": FULL,
    "attention": FULL,
    "sliding_attention": WINDOW,
    "chunked_attention": WINDOW,
    "linear_attention": LINEAR,
    "mamba": LINEAR,
}
"""Entries of `layer_types` and `layers_block_type` -> kind of mixer."""

FEEDS = {"dense": DENSE, "sparse": SPARSE}
"""Entries of `mlp_layer_types` -> kind of feed-forward part."""

PARTS: dict[str, tuple[str | None, str | None]] = {
    "M": (LINEAR, None),
    "mamba": (LINEAR, None),
    "*": (FULL, None),
    "attention": (FULL, None),
    "-": (None, DENSE),
    "mlp": (None, DENSE),
    "E": (None, SPARSE),
    "moe": (None, SPARSE),
}
"""Entries of a stack in which each layer has either a mixer or a feed-forward part (Nemotron-H) -> (mixer, part)."""

FLAGS = {"hybrid_layer_pattern": (FULL, WINDOW), "attn_type_list": (LINEAR, FULL), "no_rope_layers": (FULL, WINDOW)}
"""Keys of lists with 0 or 1 per layer -> (meaning of 0, meaning of 1)."""

PERIODS = {
    "full_attention_interval": LINEAR,
    "sliding_window_pattern": WINDOW,
    "_sliding_window_pattern": WINDOW,
    "no_rope_layer_interval": WINDOW,
}
"""Keys of a period n, where every n-th layer is full attention -> kind of the others."""

DEFAULT_WIDTH = 4
"""Feed-forward width over hidden size where a config has none: the default of GPT-2 (`n_inner`), Bloom and Falcon in
transformers. At twice this such a layer would have twice its weights."""

SEARCHED_WIDTH_MULTIPLE = 256
"""Nemotron-NAS rounds the width of a layer up to a multiple of this (modeling_decilm.py). Twice this would make every
layer whose width is an odd multiple 256 columns wider."""


def blocks(fields: ConfigFields) -> tuple[LayerBlock, ...]:
    """The layers of a config as blocks of equal layers, in order of first appearance.

    Raises:
        FactError: names the key that is missing, malformed or not understood.
    """
    if "block_configs" in fields.raw:
        stack = _searched_stack(fields)
    else:
        kinds = enumerate(_layer_kinds(fields))
        stack = [(_mixer(fields, mixer, i), _feed_forward(fields, feed, i)) for i, (mixer, feed) in kinds]
    return tuple(LayerBlock(count, mixer, feed) for (mixer, feed), count in Counter(stack).items())


def _layer_kinds(fields: ConfigFields) -> list[tuple[str | None, str | None]]:
    """Kind of the mixer and of the feed-forward part of each layer; None where a layer lacks one."""
    for key in ("hybrid_override_pattern", "layers_block_type"):
        words = fields.items(key, str)
        if {"-", "E", "mlp", "moe"} & set(words):
            layers = fields.count("layers", len(words))
            return [_layer_kind(fields, key, word, PARTS) for word in fields.pattern(key, layers, str)]
    layers = fields.count("layers")
    return list(zip(_mixer_kinds(fields, layers), _feed_kinds(fields, layers), strict=True))


def _layer_kind(fields: ConfigFields, key: str, word: str, table: dict[str, T]) -> T:
    if word not in table:
        raise FactError(fields.file, key, f"unknown layer type {word!r}", ", ".join(table))
    return table[word]


def _mixer_kinds(fields: ConfigFields, layers: int) -> list[str]:
    for key in ("layer_types", "layers_block_type"):
        if words := fields.pattern(key, layers, str):
            return [_layer_kind(fields, key, word, MIXERS) for word in words]
    for key, meaning in FLAGS.items():
        if flags := fields.pattern(key, layers, int):
            return [meaning[bool(flag)] for flag in flags]
    for key, other in PERIODS.items():
        if fields.has(key):
            period = fields.count(key)
            return [other if (i + 1) % period else FULL for i in range(layers)]
    if fields.has("window") and fields.raw.get("use_sliding_window", True):
        first = fields.count("max_window_layers", 0) if "use_sliding_window" in fields.raw else 0
        return [WINDOW if i >= first else FULL for i in range(layers)]
    return [FULL if fields.has("heads") else LINEAR] * layers


def _feed_kinds(fields: ConfigFields, layers: int) -> list[str]:
    if not fields.has("experts"):
        return [DENSE] * layers
    if words := fields.pattern("mlp_layer_types", layers, str):
        return [_layer_kind(fields, "mlp_layer_types", word, FEEDS) for word in words]
    if isinstance(fields.raw.get("moe_layer_freq"), list):
        flags = fields.pattern("moe_layer_freq", layers, int) or [1] * layers
        return [SPARSE if flag else DENSE for flag in flags]
    if "moe_layers" in fields.raw:
        sparse = set(fields.items("moe_layers", int))
        return [SPARSE if i in sparse else DENSE for i in range(layers)]
    dense = {*fields.items("mlp_only_layers", int), *range(fields.count("first_k_dense_replace", 0))}
    period = fields.count("decoder_sparse_step", fields.count("interleave_moe_layer_step", 1))
    stride = fields.count("moe_layer_freq", 1)
    return [DENSE if i in dense or (i + 1) % period or i % stride else SPARSE for i in range(layers)]


def _mixer(fields: ConfigFields, kind: str | None, layer: int) -> Mixer | None:
    if kind is None:
        return None
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
    kv_heads = 1 if fields.raw.get("multi_query") else size("kv_heads", heads)
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
    )


def _latent_attention(fields: ConfigFields, layer: int) -> LatentAttention:
    indexers = fields.pattern("indexer_types", fields.count("layers"), str)
    has_indexer = fields.has("index_topk") and not (indexers and indexers[layer] == "shared")
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
    conv = fields.count("conv", 0)
    if fields.has("linear_num_value_heads"):
        values, value_dim = fields.count("linear_num_value_heads"), fields.count("linear_value_head_dim")
        return LinearAttention(
            key_heads=fields.count("linear_num_key_heads"),
            value_heads=values,
            key_dim=fields.count("linear_key_head_dim"),
            value_dim=value_dim,
            conv_kernel=conv,
            gates=values * value_dim + 2 * values,
        )
    heads, head_dim = fields.count("ssm_heads"), fields.count("ssm_head_dim")
    return LinearAttention(
        key_heads=fields.count("ssm_groups"),
        value_heads=heads,
        key_dim=fields.count("ssm_state"),
        value_dim=head_dim,
        conv_kernel=conv,
        gates=heads * head_dim + heads,
    )


def _feed_forward(fields: ConfigFields, kind: str | None, layer: int) -> DenseFeedForward | MixtureOfExperts | None:
    gated = fields.family.gated
    if kind is None:
        return None
    if kind == DENSE:
        return DenseFeedForward(fields.count("width", DEFAULT_WIDTH * fields.count("hidden"), layer), gated)
    experts, chosen = fields.count("experts"), fields.count("chosen")
    if chosen > experts:
        raise FactError(fields.file, "num_experts_per_tok", f"{chosen} of {experts} experts")
    width = fields.count("expert_width")
    return MixtureOfExperts(
        experts, chosen, width, _shared_width(fields, width), gated, fields.count("latent", 0) or None
    )


def _shared_width(fields: ConfigFields, expert: int) -> int:
    """Width of all shared experts together, which every token passes; 0 where there are none."""
    if fields.family.beside:
        return fields.count("width")
    shared = fields.count("shared", int(fields.has("shared_expert_width")))
    return shared * fields.count("shared_expert_width", expert)


def _searched_stack(fields: ConfigFields) -> list[tuple[Mixer | None, DenseFeedForward | MixtureOfExperts | None]]:
    """Layers of a model found by architecture search (Nemotron-NAS), each described in `block_configs`."""
    heads, hidden = fields.count("heads"), fields.count("hidden")
    stack: list[tuple[Mixer | None, DenseFeedForward | MixtureOfExperts | None]] = []
    layers = fields.count("layers")
    configs = fields.pattern("block_configs", layers, dict)
    if not configs:
        raise FactError(fields.file, "block_configs", "is empty", f"one table for each of {layers} layers")
    for i, layer in enumerate(configs):
        try:
            attention, feed = layer["attention"], layer["ffn"]
            mixer = (
                None
                if attention["no_op"]
                else SoftmaxAttention(heads, heads // attention["n_heads_in_group"], hidden // heads)
            )
            unit = SEARCHED_WIDTH_MULTIPLE
            width = None if feed["no_op"] else -(-int(2 * feed["ffn_mult"] * hidden / 3) // unit) * unit
        except (KeyError, TypeError, ZeroDivisionError) as error:
            raise FactError(
                fields.file, f"block_configs.{i}", f"not understood: {error}", "attention and ffn tables"
            ) from error
        stack.append((mixer, None if width is None else DenseFeedForward(width, fields.family.gated)))
    return stack

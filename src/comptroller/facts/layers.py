"""The mixer and the feed-forward part of each layer, from the keys of a public `config.json`.

Only keys decide, never a model's name: `kv_lora_rank` means latent attention, `num_experts` (or a synonym) a mixture of
experts; a list with one entry per layer, or a period, says which layer is of which kind.
"""

from __future__ import annotations

from collections import Counter
from typing import TypeVar

from comptroller.errors import FactError
from comptroller.facts.fields import MOST, ConfigFields
from comptroller.facts.mixers import CONV, CROSS, FULL, LINEAR, PAIR, WINDOW, mixer_of
from comptroller.facts.model import DenseFeedForward, LayerBlock, Mixer, MixtureOfExperts, SoftmaxAttention

T = TypeVar("T")

LayerParts = tuple[Mixer | None, DenseFeedForward | MixtureOfExperts | None, bool]
"""A layer's mixer, its feed-forward part, and whether it is the second mixer of the next layer."""

DENSE, SPARSE = "dense", "sparse"

MIXERS = {
    "full_attention": FULL,
    "attention": FULL,
    "sliding_attention": WINDOW,
    "chunked_attention": WINDOW,
    "deepseek_sparse_attention": FULL,
    "linear_attention": LINEAR,
    "mamba": LINEAR,
    "conv": CONV,
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

NO_ROTATION = "no_rope"
"""Start of keys that say which layers do without rotary embedding, and have a window where the model has any."""

INDICES = {
    "attn_layer_indices": (LINEAR, FULL),
    "full_attn_idxs": (CONV, FULL),
    "cross_attention_layers": (FULL, CROSS),
}
"""Keys of lists of layers, from 0 -> (kind of all others, kind of those listed)."""

COUNTED_FROM_ONE = {"linear_full_attn_layers": (LINEAR, FULL)}
"""Keys of lists of layers, from 1 -> (kind of all others, kind of those listed)."""

SAYS_THE_SAME = (*FLAGS, *PERIODS, *INDICES, *COUNTED_FROM_ONE, "linear_kda_layers", "max_window_layers")
"""Keys of which one says which layer has which mixer; where it was read the others repeat it."""

SEARCHED_WIDTH_MULTIPLE = 256
"""Nemotron-NAS rounds the width of a layer up to a multiple of this (modeling_decilm.py). Twice this would make every
layer whose width is an odd multiple 256 columns wider."""


def layer_stack(fields: ConfigFields) -> list[LayerParts]:
    """The parts of the layers of a config, in order.

    Raises:
        FactError: names the key that is missing, malformed or not understood.
    """
    if "block_configs" in fields.raw:
        return _searched_stack(fields)
    return [part for i, kinds in enumerate(_layer_kinds(fields)) for part in _layer_parts(fields, kinds, i)]


def blocks(stack: list[LayerParts]) -> tuple[LayerBlock, ...]:
    """The layers of a stack as blocks of equal layers, in order of first appearance."""
    return tuple(LayerBlock(count, *parts) for parts, count in Counter(stack).items())


def _layer_parts(fields: ConfigFields, kinds: tuple[str | None, str | None], layer: int) -> list[LayerParts]:
    mixer, feed = kinds
    second: list[LayerParts] = [(mixer_of(fields, LINEAR, layer), None, True)] if mixer == PAIR else []
    attention = mixer_of(fields, FULL if mixer == PAIR else mixer, layer)
    return [*second, (attention, _feed_forward(fields, feed, layer), False)]


def _layer_kinds(fields: ConfigFields) -> list[tuple[str | None, str | None]]:
    """Kind of the mixer and of the feed-forward part of each layer; None where a layer lacks one."""
    for key in ("hybrid_override_pattern", "layers_block_type"):
        words = fields.items(key, str)
        if {"-", "E", "mlp", "moe"} & set(words):
            layers = fields.count("layers", len(words))
            if fields.family.checked:
                fields.skip("width", *SAYS_THE_SAME)
            return [_layer_kind(fields, key, word, PARTS) for word in fields.pattern(key, layers, str)]
    layers = fields.count("layers")
    return list(zip(_mixer_kinds(fields, layers), _feed_kinds(fields, layers), strict=True))


def _layer_kind(fields: ConfigFields, key: str, word: str, table: dict[str, T]) -> T:
    if word not in table:
        raise FactError(fields.file, key, f"unknown layer type {word!r}", ", ".join(table))
    return table[word]


def _mixer_kinds(fields: ConfigFields, layers: int) -> list[str]:
    kinds = _listed_kinds(fields, layers) or _periodic_kinds(fields, layers)
    if kinds:
        fields.skip(*SAYS_THE_SAME)
        return kinds
    if fields.has("window") and fields.value("use_sliding_window", True):
        first = fields.count("max_window_layers", 0) if "use_sliding_window" in fields.raw else 0
        return [WINDOW if i >= first else FULL for i in range(layers)]
    fields.skip("window", "max_window_layers")
    if not fields.has("heads"):
        return [LINEAR] * layers
    return [PAIR if fields.has("ssm_width") else FULL] * layers


def _listed_kinds(fields: ConfigFields, layers: int) -> list[str]:
    """Kinds from a list of words, of flags, or of the layers of one kind; empty where the config has none."""
    for key in ("layer_types", "layers_block_type"):
        if words := fields.pattern(key, layers, str):
            return [_layer_kind(fields, key, word, MIXERS) for word in words]
    for key, meaning in FLAGS.items():
        flags = fields.pattern(key, layers, int)
        if flags and (not key.startswith(NO_ROTATION) or fields.has("window")):
            return [meaning[bool(flag)] for flag in flags]
    for table, first in ((INDICES, 0), (COUNTED_FROM_ONE, 1)):
        for key, (other, kind) in table.items():
            if fields.has(key):
                listed = {index - first for index in fields.items(key, int)}
                return [kind if i in listed else other for i in range(layers)]
    return []


def _periodic_kinds(fields: ConfigFields, layers: int) -> list[str]:
    """Kinds from a period; empty where the config has none."""
    if fields.has("attn_layer_period"):
        period, offset = fields.count("attn_layer_period"), fields.count("attn_layer_offset", 0)
        return [FULL if i % period == offset else LINEAR for i in range(layers)]
    for key, other in PERIODS.items():
        if fields.has(key) and (not key.startswith(NO_ROTATION) or fields.has("window")):
            period = fields.count(key)
            return [other if (i + 1) % period else FULL for i in range(layers)]
    return []


def _feed_kinds(fields: ConfigFields, layers: int) -> list[str | None]:
    if not fields.family.feeds:
        return [None] * layers
    if not fields.has("experts"):
        fields.skip("chosen", "experts")
        return [DENSE] * layers
    return list(_sparse_kinds(fields, layers))


def _sparse_kinds(fields: ConfigFields, layers: int) -> list[str]:
    if fields.family.checked:
        # a file of a family without dense layers may state the width of one
        fields.skip("width")
    if words := fields.pattern("mlp_layer_types", layers, str):
        fields.skip("dense_first", "moe_layer_freq")
        return [_layer_kind(fields, "mlp_layer_types", word, FEEDS) for word in words]
    if isinstance(fields.raw.get("moe_layer_freq"), list):
        fields.skip("dense_first")
        flags = fields.pattern("moe_layer_freq", layers, int) or [1] * layers
        return [SPARSE if flag else DENSE for flag in flags]
    if "moe_layers" in fields.raw:
        sparse = set(fields.items("moe_layers", int))
        fields.skip("interleave_moe_layer_step")
        return [SPARSE if i in sparse else DENSE for i in range(layers)]
    if fields.has("expert_layer_period"):
        period, offset = fields.count("expert_layer_period"), fields.count("expert_layer_offset", 0)
        return [SPARSE if i % period == offset else DENSE for i in range(layers)]
    return _stepped_kinds(fields, layers)


def _stepped_kinds(fields: ConfigFields, layers: int) -> list[str]:
    """Experts in every n-th layer, but for those at the start, those listed and those past the end."""
    first = max(fields.count("dense_first", 0), fields.count("moe_layer_start_index", 0))
    last = fields.value("moe_layer_end_index")
    past = range(last + 1, layers) if isinstance(last, int) and last >= 0 else range(0)
    dense = {*fields.items("mlp_only_layers", int), *range(first), *past}
    steps = ("decoder_sparse_step", "interleave_moe_layer_step", "moe_layer_interval")
    period = next((fields.count(key) for key in steps if fields.has(key)), 1)
    stride = fields.count("moe_layer_freq", 1)
    return [DENSE if i in dense or (i + 1) % period or i % stride else SPARSE for i in range(layers)]


def _feed_forward(fields: ConfigFields, kind: str | None, layer: int) -> DenseFeedForward | MixtureOfExperts | None:
    gated = fields.family.gated
    if kind is None:
        return None
    if kind == DENSE:
        return DenseFeedForward(_dense_width(fields, layer), gated, _side_rank(fields))
    experts, chosen = fields.count("experts"), fields.count("chosen")
    if chosen > experts:
        raise FactError(fields.file, "num_experts_per_tok", f"{chosen} of {experts} experts")
    width = fields.count("expert_width")
    return MixtureOfExperts(
        experts, chosen, width, _shared_width(fields, width), gated, fields.count("latent", 0) or None
    )


def _dense_width(fields: ConfigFields, layer: int) -> int:
    """Feed-forward width of a layer, from the config or, where its family's library says so, from the hidden size."""
    multiple = fields.count("expansion_ratio", 0) or fields.family.width_multiple
    width = fields.count("width", multiple and multiple * fields.count("hidden"), layer)
    if fields.has("block_auto_adjust_ff_dim"):
        unit = fields.count("block_multiple_of")
        multiplier = fields.value("block_ffn_dim_multiplier", 1.0)
        if not isinstance(multiplier, int | float) or not 0 < multiplier < MOST[""]:
            raise FactError(fields.file, "block_ffn_dim_multiplier", f"{multiplier!r:.40} is no factor", "a number > 0")
        scaled = int(multiplier * int(2 * width / 3))
        return -(-scaled // unit) * unit
    return width // fields.family.width_divisor


def _side_rank(fields: ConfigFields) -> int:
    """Rank of the branches beside a feed-forward part: LAuReL and the inputs of each layer (Gemma 3n)."""
    return fields.count("laurel_rank", 0) + fields.count("hidden_size_per_layer_input", 0)


def _shared_width(fields: ConfigFields, expert: int) -> int:
    """Width of all shared experts together, which every token passes; 0 where there are none."""
    if fields.family.beside:
        return fields.count("width")
    shared = fields.count("shared", int(fields.has("shared_expert_width")))
    return shared * fields.count("shared_expert_width", expert)


def _searched_stack(fields: ConfigFields) -> list[LayerParts]:
    """Layers of a model found by architecture search (Nemotron-NAS), each described in `block_configs`."""
    heads, hidden = fields.count("heads"), fields.count("hidden")
    stack: list[LayerParts] = []
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
        stack.append((mixer, None if width is None else DenseFeedForward(width, fields.family.gated), False))
    return stack

"""Fields of a public `config.json` under one name per quantity; model families call the same quantity differently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from comptroller.errors import FactError
from comptroller.facts.families import ModelFamily, families, no_generator

T = TypeVar("T")

_ENTRY_NAMES: Mapping[type, str] = {str: "words", int: "whole numbers", dict: "tables"}
"""Types of list entries, as error messages name them."""

KEYS: dict[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "n_embed", "d_model", "dim"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "multi_query_group_num", "n_head_kv", "kv_n_heads"),
    "head_dim": ("head_dim", "attention_head_dim", "kv_channels"),
    "value_dim": ("v_head_dim",),
    "width": ("intermediate_size_mlp", "dense_intermediate_size", "intermediate_size", "ffn_dim", "n_inner"),
    "vocabulary": ("vocab_size", "padded_vocab_size"),
    "context": ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len"),
    "window": ("sliding_window", "sliding_window_size", "attention_chunk_size"),
    "experts": ("num_local_experts", "num_experts", "n_routed_experts"),
    "chosen": ("num_experts_per_tok", "num_experts_per_token", "experts_per_token", "top_k_experts"),
    "expert_width": ("moe_intermediate_size", "expert_intermediate_size", "intermediate_size"),
    "shared": ("n_shared_experts", "num_shared_experts"),
    "shared_expert_width": ("shared_expert_intermediate_size", "moe_shared_expert_intermediate_size"),
    "latent": ("moe_latent_size", "routed_expert_hidden_size"),
    "conv": ("linear_conv_kernel_dim", "conv_kernel", "mamba_d_conv"),
    "ssm_heads": ("mamba_num_heads", "mamba_n_heads"),
    "ssm_head_dim": ("mamba_head_dim", "mamba_d_head"),
    "ssm_state": ("ssm_state_size", "mamba_d_state"),
    "ssm_groups": ("n_groups", "mamba_n_groups"),
    "ssm_rank": ("mamba_dt_rank", "time_step_rank"),
    "ssm_width": ("mamba_d_ssm",),
    "ssm_expand": ("mamba_expand", "expand"),
    "dense_first": ("first_k_dense_replace", "num_dense_layers"),
}
"""Name of a quantity here -> the keys that public configs use for it; the first that the config has is taken."""

MOST = {"layers": 10_000, "": 10**9}
"""Largest size that is accepted, by quantity; "" is for all others. The largest among the 84 models that ship are 126
layers and a context of 10,485,760 tokens. A config of 10,000 layers is read in 0.7 s, and the time grows with their
number; of the other sizes nothing is allocated, so there twice the limit only lets more typing errors through."""

REFUSED = {
    "compress_ratios": "attention over compressed caches (DeepSeek-V4)",
    "sparse_attention_config": "attention to chosen blocks (MiniMax-M3)",
    "is_encoder_decoder": "encoder-decoder models",
    "num_codebooks": "audio decoders",
}
"""Keys that, where they are present and true, mean an architecture that `facts.model` cannot describe -> its name."""

TEXT_PARTS = ("text_config", "llm_config", "language_config")
"""Keys of the table that describes the decoder of a model of several kinds of input."""


@dataclass(frozen=True, slots=True)
class ConfigFields:
    """The fields of a config.

    raw: of its text part, with the family's defaults.  top: the whole document.  file: its name for error messages.
    seen: the keys that were read so far, so that those which nothing read can be told.
    """

    raw: Mapping[str, Any]
    top: Mapping[str, Any]
    file: str
    family: ModelFamily = field(default_factory=ModelFamily)
    seen: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, config: Mapping[str, Any], file: str, structure: Mapping[str, Any] | None = None) -> ConfigFields:
        """The fields of a config; of its `text_config` (or a synonym) where it describes vision or audio as well.

        structure: what the user says of keys, as `ModelFamily.with_structure` reads it.

        Raises:
            FactError: a key means an architecture that is not supported.
        """
        nested = [config[key] for key in TEXT_PARTS if config.get(key)]
        text = nested[0] if nested else config
        if not isinstance(text, Mapping):
            raise FactError(file, "text_config", "is not a table")
        for key, meaning in REFUSED.items():
            if text.get(key):
                raise FactError(file, key, f"not supported: {meaning}", "decoder-only models")
        names = [str(name) for name in (text.get("model_type"), config.get("model_type")) if name]
        by_type = families()
        family = next((by_type[name] for name in names if name in by_type), ModelFamily())
        if structure:
            family = family.with_structure(structure)
        fields = cls({**family.defaults, **_text_keys(text, family)}, config, file, family)
        _refuse_other_kinds(fields, names)
        return fields

    def keys(self, name: str) -> tuple[str, ...]:
        """The keys that hold a quantity: the family's own, then the common ones; a raw key holds itself."""
        own = self.family.keys.get(name)
        return (*((own,) if own else ()), *KEYS.get(name, (name,)))

    def value(self, key: str, default: Any = None) -> Any:
        """The value of a raw key, which counts as read."""
        self.seen.add(key)
        return self.raw.get(key, default)

    def skip(self, *names: str) -> None:
        """Count quantities as read that say nothing beside what was read."""
        self.seen.update(key for name in names for key in self.keys(name))

    def has(self, name: str) -> bool:
        """Whether the config sets the quantity, or the raw key, to anything but null, false, zero or an empty value."""
        return any(self.raw.get(key) not in (None, False, 0, [], "") for key in self.keys(name))

    def count(self, name: str, default: int | None = None, layer: int = 0) -> int:
        """A whole number >= 1; where the config has a list with one per layer, that of `layer`.

        Raises:
            FactError: it is missing without a default, or not a whole number >= 1.
        """
        keys = self.keys(name)
        for key in keys:
            value = self.value(key)
            if isinstance(value, list) and len(value) > layer:
                value = value[layer]
            if value is None:
                continue
            most = MOST.get(name, MOST[""])
            if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
                raise FactError(self.file, key, f"{value!r} is not a size", f"a whole number 1 to {most}")
            if value > 0:
                return value
            if default is None:
                raise FactError(self.file, key, "0 is not a size", "a whole number >= 1")
        if default is None:
            raise FactError(self.file, keys[0], "is missing", " or ".join(keys))
        return default

    def items(self, key: str, kind: type[T], source: Mapping[str, Any] | None = None) -> list[T]:
        """The entries of a list in the text part or in `source`; the letters of a string; empty if the key is absent.

        Raises:
            FactError: it is not a list, or an entry is not of the kind.
        """
        value = self.value(key) if source is None else source.get(key)
        entries = list(value) if isinstance(value, list | str) else [] if value is None else [value, None]
        if not all(isinstance(entry, kind) for entry in entries):
            raise FactError(self.file, key, f"{value!r:.60} is not a list", f"a list of {_ENTRY_NAMES[kind]}")
        return entries

    def pattern(self, key: str, layers: int, kind: type[T]) -> list[T]:
        """A list or string with one entry per layer; empty if the config has none.

        Raises:
            FactError: its length is not the number of layers, or an entry is not of the kind.
        """
        entries = self.items(key, kind)
        # a list may have more entries, for the layers of multi-token prediction; a string may not
        extra = len(entries) > layers and isinstance(self.raw[key], str)
        if entries and (len(entries) < layers or extra):
            raise FactError(self.file, key, f"has {len(entries)} entries", f"one for each of {layers} layers")
        return entries[:layers]


def _text_keys(text: Mapping[str, Any], family: ModelFamily) -> dict[str, Any]:
    """The keys of the text part that are not null, with those of the family's inner tables beside them."""
    written = {key: value for key, value in text.items() if value is not None}
    for name, prefix in family.inner.items():
        table = written.pop(name, None)
        if isinstance(table, Mapping):
            written |= {prefix + key: value for key, value in table.items() if value is not None}
    return written


def _refuse_other_kinds(fields: ConfigFields, names: list[str]) -> None:
    """Refuse what is no decoder that generates text: encoders, embedding models, models without a head."""
    architectures = fields.items("architectures", str, fields.top)
    for name in architectures:
        if what := no_generator(name, fields.top.get("auto_map")):
            raise FactError(fields.file, "architectures", f"{name} does not generate: {what}", "decoder-only models")
    for name in names:
        if what := families().get(name, ModelFamily()).refused:
            raise FactError(fields.file, "model_type", f"{name} is not supported: {what}", "decoder-only models")

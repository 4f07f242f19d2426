"""The number formats a checkpoint ships in, from `torch_dtype` and `quantization_config`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from comptroller.errors import FactError
from comptroller.facts.fields import ConfigFields
from comptroller.facts.reader import ids

DTYPES = {"bfloat16": "bf16", "float16": "fp16", "float32": "fp32", "fp16": "fp16", "bf16": "bf16"}

METHODS = {
    "mxfp4": "mxfp4",
    "fbgemm_fp8": "fp8_e4m3",
    "bitnet": "ternary",
    "NVFP4": "nvfp4",
    "W4A16_NVFP4": "nvfp4",
    "FP8": "fp8_e4m3",
    "FP8_PB_WO": "fp8_block",
    "MXFP8": "mxfp8",
    "W4A16_AWQ": "int4_awq_g128",
    "W4A8_AWQ": "int4_awq_g128",
    "INT8_SQ": "int8",
}
"""`quant_method`, or `quant_algo` of ModelOpt -> format id."""

SPARING = ("ignore", "modules_to_not_convert", "exclude_modules")
"""Keys that list the modules left unquantised."""

DEFAULT_BITS, DEFAULT_GROUP = 4, 128
"""Bits and group size where a `quantization_config` of gptq or awq has none: the defaults of `AwqConfig` (both) and
`GPTQConfig` (the group) in transformers. With twice the group a weight has half as many scales, which is another
format."""

_ATTENTION = re.compile(r"(self_attn|attention)(\W*|\W+(q|q_b|qkv|o)_proj)$")


def checkpoint_formats(fields: ConfigFields, sparse: bool) -> tuple[str, str]:
    """Formats of the weights and of the routed experts, in this order; both the same where there are no experts.

    sparse: whether the model has routed experts. If its checkpoint leaves the attention unquantised, the weights are in
    `torch_dtype` (bf16 where the file has none, as loaders assume) and only the experts in the quantised format.

    Raises:
        FactError: a number format that is not known.
    """
    base = _unquantised_format(fields)
    scheme = fields.top.get("quantization_config") or fields.raw.get("quantization_config")
    if not scheme:
        return base, base
    if not isinstance(scheme, Mapping):
        raise FactError(fields.file, "quantization_config", "is not a table")
    if scheme.get("quant_algo") == "MIXED_PRECISION":
        return _mixed_precision_formats(fields, scheme)
    quantised = _weight_format(fields.file, scheme)
    spared = [name for key in SPARING for name in fields.items(key, str, scheme)]
    keeps_attention = sparse and any(_ATTENTION.search(name) for name in spared)
    experts = {"fp4": "mxfp4"}.get(str(fields.raw.get("expert_dtype")), quantised)
    return (base if keeps_attention else quantised), (experts if sparse else quantised)


def _unquantised_format(fields: ConfigFields) -> str:
    dtypes = [d for c in (fields.raw, fields.top) for d in (c.get("torch_dtype"), c.get("dtype")) if d]
    name = str(dtypes[0] if dtypes else "bfloat16").removeprefix("torch.")
    if name not in DTYPES:
        raise FactError(fields.file, "torch_dtype", f"unknown type {name!r}", ", ".join(DTYPES))
    return DTYPES[name]


def _weight_format(file: str, scheme: Mapping[str, Any]) -> str:
    method = str(scheme.get("quant_algo") or scheme.get("quant_method"))
    if method == "fp8":
        return "fp8_block" if scheme.get("weight_block_size") else METHODS["FP8"]
    if method == "compressed-tensors":
        return _compressed_tensors_format(file, scheme)
    if method in {"gptq", "awq", "auto-round"}:
        bits, group = scheme.get("bits", DEFAULT_BITS), scheme.get("group_size", DEFAULT_GROUP)
        awq = (method, bits, group) == ("awq", 4, 128)
        return METHODS["W4A16_AWQ"] if awq else _integer_format(file, bits, group)
    if method == "bitsandbytes":
        return "int8_wo" if scheme.get("load_in_8bit") else "nf4"
    if method not in METHODS:
        known = sorted({*METHODS, "fp8", "compressed-tensors", "gptq", "awq", "auto-round", "bitsandbytes"})
        raise FactError(file, "quantization_config", f"unknown method {method!r}", ", ".join(known))
    return METHODS[method]


def _compressed_tensors_format(file: str, scheme: Mapping[str, Any]) -> str:
    """compressed-tensors: the weights of the first group that states its bits."""
    for name, value in _table(file, "config_groups", scheme.get("config_groups")).items():
        group = _table(file, f"config_groups.{name}", value)
        weights = _table(file, f"config_groups.{name}.weights", group.get("weights"))
        bits, size = weights.get("num_bits"), weights.get("group_size")
        if weights.get("type") == "float" and bits == 4:
            return "nvfp4" if size == 16 else "mxfp4"
        if weights.get("type") == "float":
            return "fp8_block" if weights.get("strategy") == "block" else METHODS["FP8"]
        if bits == 8 and group.get("input_activations"):
            return METHODS["INT8_SQ"]
        if bits:
            return _integer_format(file, bits, size)
    raise FactError(file, "quantization_config.config_groups", "no group gives its weights' bits")


def _integer_format(file: str, bits: Any, group: Any) -> str:
    """Integer weights with 16-bit activations; a group of -1 or none means one scale per channel."""
    grouped = isinstance(group, int) and group > 0
    name = f"int{bits}_g{group}" if grouped else "int8_wo" if bits == 8 else f"int{bits}"
    formats = [identifier for identifier in ids("formats") if identifier.startswith("int")]
    if name not in formats:
        raise FactError(file, "quantization_config", f"unknown integer format {name!r:.40}", ", ".join(formats))
    return name


def _mixed_precision_formats(fields: ConfigFields, scheme: Mapping[str, Any]) -> tuple[str, str]:
    """ModelOpt's mixed precision lists every quantised layer; experts, and all others, get their commonest format."""
    named = _table(fields.file, "quantized_layers", scheme.get("quantized_layers"))
    layers = {key: _table(fields.file, f"quantized_layers.{key}", value) for key, value in named.items()}
    experts = [layer for name, layer in layers.items() if "expert" in name and "shared" not in name]
    weights = _commonest(fields.file, [layer for name, layer in layers.items() if "expert" not in name])
    weights = weights or _unquantised_format(fields)
    return weights, _commonest(fields.file, experts) or weights


def _commonest(file: str, schemes: Iterable[Mapping[str, Any]]) -> str | None:
    counted = Counter(_weight_format(file, scheme) for scheme in schemes)
    return max(counted, key=lambda name: (counted[name], name)) if counted else None


def _table(file: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FactError(file, f"quantization_config.{key}", "is not a table")
    return value

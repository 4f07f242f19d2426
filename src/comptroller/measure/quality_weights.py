"""Readers of real weights: GGUF and safetensors files, and the decoders and tokenisers in them."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from comptroller.errors import InputError
from comptroller.measure.quality_model import MATRICES, DecoderShape, NumpyDecoder
from comptroller.numerics.grid import Floats

NEEDS = "needs gguf, safetensors and tokenizers: pip install 'comptroller[quality]'"

_GGUF = dict(
    zip(MATRICES, ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"), strict=True)
)
_HF = dict(
    zip(
        MATRICES,
        (*(f"self_attn.{x}_proj" for x in "qkvo"), *(f"mlp.{x}_proj" for x in ("gate", "up", "down"))),
        strict=True,
    )
)


@dataclass(frozen=True, slots=True)
class LoadedDecoder:
    """A decoder read from a file: its name, and the tokens of a text."""

    name: str
    decoder: NumpyDecoder
    tokens: Callable[[str], list[int]]


def read_tensors(path: Path) -> Iterator[tuple[str, Floats]]:
    """Every floating tensor of a GGUF or safetensors file, or of the safetensors of a folder, in single precision.

    Raises:
        InputError: not such a file, damaged, or a package is missing; says which.
    """
    files = sorted(path.glob("*.safetensors")) if path.is_dir() else [path]
    if not files or any(not file.is_file() for file in files):
        raise InputError(f"{path}: no weights there (a .gguf or .safetensors file, or a folder of the latter)")
    for file in files:
        if file.suffix not in {".gguf", ".safetensors"}:
            raise InputError(f"{file}: weights are read from .gguf and .safetensors")
        yield from (_gguf_tensors(_gguf(file)) if file.suffix == ".gguf" else _safetensors(file))


def _gguf(file: Path) -> Any:
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise InputError(f"{file}: {NEEDS}") from error
    try:
        return GGUFReader(file)
    except (ValueError, IndexError, OSError) as error:
        raise InputError(f"{file}: not a GGUF file that can be read: {error}") from error


def _gguf_tensors(reader: Any) -> Iterator[tuple[str, Floats]]:
    from gguf import quants

    for tensor in reader.tensors:
        yield tensor.name, np.asarray(quants.dequantize(tensor.data, tensor.tensor_type), np.float32)


def _safetensors(file: Path) -> Iterator[tuple[str, Floats]]:
    try:
        from safetensors import SafetensorError, safe_open
    except ImportError as error:
        raise InputError(f"{file}: {NEEDS}") from error
    try:
        with safe_open(file, framework="np") as opened:
            for name in opened.keys():  # noqa: SIM118
                if opened.get_slice(name).get_dtype().startswith(("F", "BF")):
                    yield name, np.asarray(opened.get_tensor(name)).astype(np.float32)
    except SafetensorError as error:
        raise InputError(f"{file}: not a safetensors file that can be read: {error}") from error


def read_decoder(path: Path) -> LoadedDecoder:
    """A decoder of the Llama architecture with its tokeniser: a GGUF file, or a folder as Hugging Face keeps it.

    Raises:
        InputError: another architecture, parts that are missing, or files that cannot be read.
    """
    return _of_gguf(path) if path.suffix == ".gguf" else _of_folder(path)


def _of_gguf(path: Path) -> LoadedDecoder:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    reader = _gguf(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    kind = fields.get("general.architecture")
    if kind != "llama" or fields.get("tokenizer.ggml.model") != "gpt2":
        raise InputError(f"{path}: architecture {kind!r}; this runs llama with byte-level BPE")
    heads = fields["llama.attention.head_count"]
    shape = DecoderShape(
        heads,
        fields.get("llama.attention.head_count_kv", heads),
        fields.get("llama.rope.dimension_count", fields["llama.embedding_length"] // heads),
        fields["llama.attention.layer_norm_rms_epsilon"],
        fields.get("llama.rope.freq_base", 10000.0),
        interleaved=True,
    )
    tensors = dict(_gguf_tensors(reader))
    names = {"attn_norm": "attn_norm", "ffn_norm": "ffn_norm", **_GGUF}
    outer = ("token_embd.weight", "output_norm.weight", "output.weight")
    decoder = _decoder(path, shape, tensors, ("blk.{}.{}.weight", names, outer))
    return LoadedDecoder(path.stem, decoder, _bpe(fields))


def _bpe(fields: Mapping[str, Any]) -> Callable[[str], list[int]]:
    """The byte-level BPE that a GGUF file carries; SmolLM splits digits one by one."""
    try:
        from tokenizers import Tokenizer, models, pre_tokenizers
    except ImportError as error:
        raise InputError(NEEDS) from error
    vocabulary = {token: number for number, token in enumerate(fields["tokenizer.ggml.tokens"])}
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    steps: list[Any] = [pre_tokenizers.ByteLevel(add_prefix_space=False)]
    if fields.get("tokenizer.ggml.pre") == "smollm":
        steps.insert(0, pre_tokenizers.Digits(individual_digits=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(steps)
    return lambda text: list(tokenizer.encode(text).ids)


def _of_folder(path: Path) -> LoadedDecoder:
    config, words = path / "config.json", path / "tokenizer.json"
    if not config.is_file() or not words.is_file():
        raise InputError(f"{path}: a GGUF file, or a folder with config.json, tokenizer.json and *.safetensors")
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise InputError(NEEDS) from error
    facts = json.loads(config.read_text(encoding="utf-8"))
    if facts.get("model_type") != "llama" or facts.get("rope_scaling"):
        raise InputError(f"{config}: model_type {facts.get('model_type')!r}; this runs llama without rope_scaling")
    heads = facts["num_attention_heads"]
    shape = DecoderShape(
        heads,
        facts.get("num_key_value_heads", heads),
        facts.get("head_dim") or facts["hidden_size"] // heads,
        facts["rms_norm_eps"],
        facts.get("rope_theta", 10000.0),
        interleaved=False,
    )
    names = {"attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", **_HF}
    outer = ("model.embed_tokens.weight", "model.norm.weight", "lm_head.weight")
    decoder = _decoder(path, shape, dict(read_tensors(path)), ("model.layers.{}.{}.weight", names, outer))
    tokenizer = Tokenizer.from_file(str(words))
    return LoadedDecoder(path.name, decoder, lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids))


def _decoder(
    path: Path,
    shape: DecoderShape,
    tensors: Mapping[str, Floats],
    naming: tuple[str, Mapping[str, str], tuple[str, str, str]],
) -> NumpyDecoder:
    pattern, names, (embedding, norm, head) = naming
    split = re.escape(pattern).replace(r"\{\}", "{}").format(r"(\d+)", ".+")
    numbers = [int(found[1]) for name in tensors if (found := re.fullmatch(split, name))]
    try:
        layers = [
            {ours: tensors[pattern.format(number, theirs)] for ours, theirs in names.items()}
            for number in range(max(numbers, default=-1) + 1)
        ]
        return NumpyDecoder(shape, layers, tensors[embedding], tensors[norm], tensors.get(head, tensors[embedding]))
    except KeyError as error:
        raise InputError(f"{path}: no tensor {error}") from error

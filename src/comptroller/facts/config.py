"""Models by id, by the name of a Hugging Face repository, or from a user's own `config.json`.

One translator serves all: a shipped file holds the relevant keys of a public `config.json` as they stand
there, and says where they were read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError, UnknownIdError
from comptroller.facts.checkpoint import checkpoint_formats
from comptroller.facts.fields import ConfigFields
from comptroller.facts.layers import blocks
from comptroller.facts.model import LayerBlock, MixtureOfExperts, Model, PublishedParameterCounts
from comptroller.facts.reader import FactSource, folder, ids, read

_STRICT = ConfigDict(extra="forbid")

QUANTISED: dict[str, Mapping[str, Any]] = {
    "-NVFP4": {"quant_algo": "NVFP4"},
    "-FP4": {"quant_algo": "NVFP4"},
    "-FP8": {"quant_algo": "FP8"},
    "-AWQ": {"quant_method": "awq"},
    "-GPTQ-Int4": {"quant_method": "gptq", "bits": 4},
    "-GPTQ-Int8": {"quant_method": "gptq", "bits": 8},
}
"""How repositories that no file lists name the quantised form of a model that one does."""

BLOCKWISE = {"quant_method": "fp8", "weight_block_size": [128, 128]}
BLOCKWISE_PUBLISHERS = ("qwen/", "zai-org/", "deepseek-ai/", "minimaxai/")
"""Publishers whose FP8 repositories scale by blocks, as all of theirs that the files list do."""


@dataclass(frozen=True, config=_STRICT)
class RepositoryVariant:
    """A repository with the same architecture and other keys, mostly its `quantization_config`."""

    config: Mapping[str, Any]
    source: str


@dataclass(frozen=True, config=_STRICT)
class ModelFile:
    """What a model's file holds.

    aliases: repositories with the same architecture and checkpoint format.  variants: ones that differ.
    config: the relevant keys of the public `config.json`, verbatim.
    """

    id: str
    name: str
    family: str
    config: Mapping[str, Any]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    variants: Mapping[str, RepositoryVariant] = Field(default_factory=dict)
    published: PublishedParameterCounts = Field(default_factory=PublishedParameterCounts)
    note: str = ""


def model_from_config(config: Mapping[str, Any], id: str, file: str = "config.json") -> Model:
    """The model a public `config.json` describes; keys it does not need are ignored.

    Raises:
        FactError: names file, key and what is allowed where a key is missing, malformed or not supported.

    >>> tiny = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
    ...         "intermediate_size": 128, "max_position_embeddings": 512}
    >>> model_from_config(tiny, "tiny").kv_elements_per_token
    256
    """
    if not isinstance(config, Mapping) or not config:
        raise FactError(file, "file", "is not a table of keys")
    fields = ConfigFields.of(config, file)
    stack = blocks(fields)
    weights, experts = checkpoint_formats(fields, any(isinstance(b.ffn, MixtureOfExperts) for b in stack))
    hidden = fields.count("hidden")
    return Model(
        id=id,
        name=id,
        family=str(fields.raw.get("model_type", "")),
        hidden=hidden,
        vocabulary=fields.count("vocabulary"),
        context_tokens=fields.count("context"),
        blocks=stack,
        tied_embedding=_ties_embedding(fields),
        weights=weights,
        experts=experts,
        norm_elements=_norms(stack, hidden),
        vision_elements=_vision(fields, hidden),
    )


def _ties_embedding(fields: ConfigFields) -> bool:
    for place in (fields.raw, fields.top):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    return fields.family.tied


def _norms(stack: tuple[LayerBlock, ...], hidden: int) -> int:
    """One norm before each part of a layer and one before the head."""
    return hidden * (1 + sum(b.count * ((b.mixer is not None) + (b.ffn is not None)) for b in stack))


def _vision(fields: ConfigFields, hidden: int) -> int:
    """Weights of a vision transformer: attention and two feed-forward matrices per layer, and the merger.

    The merger maps merge^2 patches to the text model's hidden size through one matrix of its own input size
    (once more for every tapped layer); a plain projection where nothing is merged.
    """
    config = fields.top.get("vision_config")
    if not isinstance(config, Mapping):
        return 0
    vision = ConfigFields({key.removeprefix("vt_"): value for key, value in config.items()}, config, fields.file)
    if not vision.has("hidden"):
        return 0
    width = vision.count("hidden")
    layers = vision.count("layers", vision.count("depth", 1))
    per_layer = 4 * width * width + 2 * width * vision.count("width", 4 * width)
    merge = vision.count("spatial_merge_size", 1)
    merged = width * merge * merge
    tapped = len(vision.items("deepstack_visual_indexes", int))
    merger = merged * hidden + (merged * merged if merge > 1 else 0)
    return layers * per_layer + (1 + tapped) * merger


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise FactError(str(path), "file", error.strerror or "cannot be read") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise FactError(path.name, "file", f"not valid JSON: {error}") from error


def _from_file(path: Path, variant: str = "") -> Model:
    file = read(ModelFile, path)
    chosen = file.variants.get(variant)
    config = {**file.config, **(chosen.config if chosen else {})}
    return _with_provenance(model_from_config(config, variant or file.id, path.name), file, chosen)


def _with_provenance(found: Model, file: ModelFile, variant: RepositoryVariant | None) -> Model:
    place = {"config": "config"} | ({"variant": variant.source} if variant else {})
    return replace(
        found,
        name=found.id if variant else file.name,
        repository=found.id if variant else next((x for x in file.aliases if "/" in x), ""),
        family=file.family,
        published=file.published,
        sources=file.sources,
        provenance={**file.provenance, **place},
    )


def _from_user(path: Path) -> Model:
    if path.suffix == ".toml":
        return _from_file(path)
    own = path.resolve().parent.name if path.stem == "config" else path.stem
    return model_from_config(_read_json(path), own, str(path))


@lru_cache(maxsize=1)
def repositories() -> Mapping[str, tuple[str, str]]:
    """Repository name in lower case -> id of the file that lists it, and the variant if it is one."""
    index: dict[str, tuple[str, str]] = {}
    for stem in ids("models"):
        file = read(ModelFile, folder("models") / f"{stem}.toml")
        index |= {name.lower(): (stem, "") for name in file.aliases}
        index |= {name.lower(): (stem, name) for name in file.variants}
    return index


def _model_by_name(name: str) -> Model | None:
    """The model of an id or a repository, listed in a file or quantised from a listed one."""
    path = folder("models") / f"{name}.toml"
    if "/" not in name and path.is_file():
        return _from_file(path)
    index = repositories()
    if found := index.get(name.lower()):
        return _from_file(folder("models") / f"{found[0]}.toml", found[1])
    bases = {key.rpartition("/")[2]: stem for key, (stem, variant) in index.items() if not variant}
    own = name.rpartition("/")[2].lower()
    if "/" not in name and own in bases:
        return _from_file(folder("models") / f"{bases[own]}.toml")
    for ending, scheme in QUANTISED.items():
        if stem := bases.get(own.removesuffix(ending.lower())):
            return _quantised_model(name, stem, scheme)
    return None


def _quantised_model(name: str, stem: str, scheme: Mapping[str, Any]) -> Model:
    path = folder("models") / f"{stem}.toml"
    file = read(ModelFile, path)
    blockwise = name.lower().startswith(BLOCKWISE_PUBLISHERS) and scheme == QUANTISED["-FP8"]
    told = {"quantization_config": BLOCKWISE if blockwise else scheme}
    variant = RepositoryVariant(config=told, source="the repository's name")
    return _with_provenance(model_from_config({**file.config, **told}, name, path.name), file, variant)


@lru_cache(maxsize=512)
def model(name: str) -> Model:
    """The model of an id, a Hugging Face repository's name, or a path to a TOML file, a `config.json` or the
    directory that holds one.

    Raises:
        UnknownIdError: none of these; lists the nearest.
        FactError: the file is malformed; names file and field.

    >>> model("meta-llama/Llama-3.1-70B-Instruct").id
    'llama_3_1_70b'
    """
    if found := _model_by_name(name):
        return found
    path = Path(name)
    if path.is_dir() and (path / "config.json").is_file():
        return _from_user(path / "config.json")
    if path.suffix in {".json", ".toml"} or path.is_file():
        return _from_user(path)
    known = repositories() if "/" in name else ids("models")
    raise UnknownIdError("model", name, known)

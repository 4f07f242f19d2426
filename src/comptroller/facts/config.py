"""Models by id, by the name of a Hugging Face repository, or from a user's own `config.json`.

The files that ship hold the relevant keys of public `config.json` files verbatim, with their source, so that both go
through the same function, `model_from_config`.
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
from comptroller.facts.layers import DEFAULT_WIDTH, blocks
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
"""Ending of the name of a repository that no file lists -> the quantisation of the listed model it is named after."""

BLOCKWISE = {"quant_method": "fp8", "weight_block_size": [128, 128]}
"""FP8 with one scale per 128 x 128 weights (DeepSeek-V3, arXiv 2412.19437, section 3.3). `facts.checkpoint` only looks
at whether there is a block size, so twice this gives the same format."""

BLOCKWISE_PUBLISHERS = ("qwen/", "zai-org/", "deepseek-ai/", "minimaxai/")
"""Publishers, in lower case, whose FP8 repositories are scaled by blocks, as all of theirs that the files list are."""


@dataclass(frozen=True, config=_STRICT)
class RepositoryVariant:
    """A repository with the architecture of a listed model but other keys, mostly its `quantization_config`."""

    config: Mapping[str, Any]
    source: str


@dataclass(frozen=True, config=_STRICT)
class ModelFile:
    """The document of a model's file.

    config: the relevant keys of the public `config.json`, verbatim.  aliases: repositories with the same architecture
    and checkpoint format.  variants: repositories that differ in some keys.
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
    """The model that a public `config.json` describes; other keys are ignored.

    file: name of the file for error messages.

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
        norm_elements=_norm_elements(stack, hidden),
        vision_elements=_vision_elements(fields, hidden),
    )


def _ties_embedding(fields: ConfigFields) -> bool:
    for place in (fields.raw, fields.top):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    return fields.family.tied


def _norm_elements(stack: tuple[LayerBlock, ...], hidden: int) -> int:
    """Weights of the norms: one before each part of a layer and one before the head."""
    return hidden * (1 + sum(b.count * ((b.mixer is not None) + (b.ffn is not None)) for b in stack))


def _vision_elements(fields: ConfigFields, hidden: int) -> int:
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
    per_layer = 4 * width * width + 2 * width * vision.count("width", DEFAULT_WIDTH * width)
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


def _model_of_file(path: Path, variant_name: str = "") -> Model:
    file = read(ModelFile, path)
    variant = file.variants.get(variant_name)
    config = {**file.config, **(variant.config if variant else {})}
    return _with_provenance(model_from_config(config, variant_name or file.id, path.name), file, variant)


def _with_provenance(parsed: Model, file: ModelFile, variant: RepositoryVariant | None) -> Model:
    origin = {"config": "config"} | ({"variant": variant.source} if variant else {})
    return replace(
        parsed,
        name=parsed.id if variant else file.name,
        repository=parsed.id if variant else next((x for x in file.aliases if "/" in x), ""),
        family=file.family,
        published=file.published,
        sources=file.sources,
        provenance={**file.provenance, **origin},
    )


def _model_of_user(path: Path) -> Model:
    """The model of a user's own file; a file called `config.json` has the name of its folder as id."""
    if path.suffix == ".toml":
        return _model_of_file(path)
    name = path.resolve().parent.name if path.stem == "config" else path.stem
    return model_from_config(_read_json(path), name, str(path))


@lru_cache(maxsize=1)
def repositories() -> Mapping[str, tuple[str, str]]:
    """Repository name in lower case -> (id of the file that lists it, its name as a variant or "")."""
    index: dict[str, tuple[str, str]] = {}
    for stem in ids("models"):
        file = read(ModelFile, folder("models") / f"{stem}.toml")
        index |= {name.lower(): (stem, "") for name in file.aliases}
        index |= {name.lower(): (stem, name) for name in file.variants}
    return index


def _model_by_name(name: str) -> Model | None:
    """The model of an id, of a listed repository, or of one named as a quantised form of a listed one; else None."""
    path = folder("models") / f"{name}.toml"
    if "/" not in name and path.is_file():
        return _model_of_file(path)
    index = repositories()
    if listed := index.get(name.lower()):
        return _model_of_file(folder("models") / f"{listed[0]}.toml", listed[1])
    bases = {key.rpartition("/")[2]: listed for key, listed in index.items()}
    base = name.rpartition("/")[2].lower()
    if "/" not in name and base in bases and not bases[base][1]:
        return _model_of_file(folder("models") / f"{bases[base][0]}.toml")
    for ending, scheme in QUANTISED.items():
        if listed := bases.get(base.removesuffix(ending.lower())):
            return _quantised_model(name, listed, scheme)
    return None


def _quantised_model(name: str, listed: tuple[str, str], scheme: Mapping[str, Any]) -> Model | None:
    """The quantised form of a listed repository; `None` of one that is quantised already."""
    path = folder("models") / f"{listed[0]}.toml"
    file = read(ModelFile, path)
    own = file.variants[listed[1]].config if listed[1] else {}
    if "quantization_config" in own:
        return None
    blockwise = name.lower().startswith(BLOCKWISE_PUBLISHERS) and scheme == QUANTISED["-FP8"]
    keys = {"quantization_config": BLOCKWISE if blockwise else scheme}
    variant = RepositoryVariant(config=keys, source="the repository's name")
    return _with_provenance(model_from_config({**file.config, **own, **keys}, name, path.name), file, variant)


@lru_cache(maxsize=512)
def model(name: str) -> Model:
    """The model of an id, a Hugging Face repository or a path.

    name: an id; the name of a repository; or the path to a TOML file, a `config.json` or the folder of one.

    Raises:
        UnknownIdError: the name is none of these; lists the nearest.
        FactError: the file is malformed; names file and field.

    >>> model("meta-llama/Llama-3.1-70B-Instruct").id
    'llama_3_1_70b'
    """
    if named := _model_by_name(name):
        return named
    path = Path(name)
    if path.is_dir() and (path / "config.json").is_file():
        return _model_of_user(path / "config.json")
    if path.suffix in {".json", ".toml"} or path.is_file():
        return _model_of_user(path)
    raise UnknownIdError("model", name, repositories() if "/" in name else ids("models"))

"""Models by id, by the name of a Hugging Face repository, or from a user's own `config.json`.

The files that ship hold the relevant keys of public `config.json` files verbatim, with their source, so that both go
through the same function, `model_from_config`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from comptroller.errors import FactError
from comptroller.facts.checkpoint import checkpoint_formats
from comptroller.facts.exclusions import spared_elements
from comptroller.facts.families import ModelFamily, families
from comptroller.facts.fields import ConfigFields
from comptroller.facts.layers import blocks, layer_stack
from comptroller.facts.model import LayerBlock, MixtureOfExperts, Model, PublishedParameterCounts
from comptroller.facts.reader import (
    CATALOGUE,
    FACTS_KEPT,
    FactEntry,
    FactSource,
    fact_content,
    fact_of,
    ids,
    read_json,
    require_one_content,
    shipped_copy,
    shipped_entry,
    shipped_id,
    unknown_fact,
)
from comptroller.facts.repository_names import BLOCKWISE, RepositoryForm, is_blockwise, repository_forms
from comptroller.facts.shards import compare_with_files, total_size
from comptroller.facts.structure import doubt_of, refuse_unread, user_structure

_STRICT = ConfigDict(extra="forbid")

VISION_WIDTH = 4
"""Feed-forward width over hidden size of a vision tower whose config has none, as in ViT (arXiv 2010.11929, table 1).
At twice this such a tower would have two thirds more weights."""


@dataclass(frozen=True, config=_STRICT)
class RepositoryVariant:
    """A repository with the architecture of a listed model but other keys, mostly its `quantization_config`."""

    config: Mapping[str, Any]
    source: str


@dataclass(frozen=True, config=_STRICT)
class ModelFile:
    """The document of a model's file.

    config: the relevant keys of the public `config.json`, verbatim.  aliases: repositories with the same architecture
    and checkpoint format.  variants: repositories that differ in some keys.  repository, variant, doubt: of a resolved
    entry, what engines load, where it differs from the listed one, and what of it is taken on trust.  structure: what a
    user says of keys of the config.  total_size: bytes of the files beside a user's config, 0 where none lie there.
    """

    id: str
    name: str
    family: str
    config: Mapping[str, Any]
    sources: Mapping[str, FactSource]
    provenance: Mapping[str, str]
    aliases: tuple[str, ...] = ()
    variants: Mapping[str, RepositoryVariant] = Field(default_factory=dict)
    repository: str = ""
    variant: str = ""
    published: PublishedParameterCounts = Field(default_factory=PublishedParameterCounts)
    note: str = ""
    doubt: str = ""
    structure: Mapping[str, Any] = Field(default_factory=dict)
    total_size: int = 0


def model_from_config(
    config: Mapping[str, Any], id: str, file: str = "config.json", structure: Mapping[str, Any] | None = None
) -> Model:
    """The model that a public `config.json` describes.

    Keys that change no size are ignored; a key that looks like structure and that nothing here reads is an error. A
    `model_type` that the conformance suite does not know is read by its keys alone, and the model's `doubt` says so.

    file: name of the file for error messages.  structure: what a user says of keys (`[model.structure]`).

    Raises:
        FactError: names file, key and what is allowed where a key is missing, malformed or not supported.

    >>> tiny = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100,
    ...         "intermediate_size": 128, "max_position_embeddings": 512}
    >>> model_from_config(tiny, "tiny").kv_elements_per_token
    256
    """
    if not isinstance(config, Mapping) or not config:
        raise FactError(file, "file", "is not a table of keys")
    fields = ConfigFields.of(config, file, structure)
    layers = layer_stack(fields)
    stack = blocks(layers)
    weights, experts = checkpoint_formats(fields, any(isinstance(b.ffn, MixtureOfExperts) for b in stack))
    hidden = fields.count("hidden")
    parsed = Model(
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
        side_elements=_side_elements(fields, hidden),
        spared_elements=spared_elements(fields, layers, weights),
        doubt=doubt_of(fields),
    )
    refuse_unread(fields)
    return parsed


def _ties_embedding(fields: ConfigFields) -> bool:
    for place in (fields.raw, fields.top):
        if isinstance(place.get("tie_word_embeddings"), bool):
            return bool(place["tie_word_embeddings"])
    return fields.family.tied


def _norm_elements(stack: tuple[LayerBlock, ...], hidden: int) -> int:
    """Weights of the norms: one before each part of a layer and one before the head."""
    parts = (b.count * ((b.mixer is not None) + (b.ffn is not None)) for b in stack if not b.beside)
    return hidden * (1 + sum(parts))


def _side_elements(fields: ConfigFields, hidden: int) -> int:
    """Weights beside embedding and blocks: learned positions, and the streams and per-layer inputs of Gemma 3n.

    Gemma 3n has a table of V x (layers * P) per-layer embeddings and a projection of hidden to layers * P; its
    inputs - 1 further streams have a square matrix each at either end.
    """
    rows = fields.family.positions
    positions = 0 if rows is None else fields.count("context") + rows
    inputs = fields.count("hidden_size_per_layer_input", 0)
    inputs *= fields.count("layers") if inputs else 0
    table = fields.count("vocab_size_per_layer_input", 0)
    streams = 2 * (fields.count("altup_num_inputs", 1) - 1)
    return hidden * (positions + inputs + streams * hidden) + table * inputs


def _vision_elements(fields: ConfigFields, hidden: int) -> int:
    """Weights of a vision transformer: attention and two or three feed-forward matrices per layer, and the merger.

    The merger maps merge^2 patches to the text model's hidden size through one matrix of its own input size
    (once more for every tapped layer); a plain projection where nothing is merged.
    """
    config = fields.top.get("vision_config")
    if not isinstance(config, Mapping):
        return 0
    written = {key.removeprefix("vt_"): value for key, value in config.items() if value is not None}
    kind = config.get("model_type") or fields.top.get("model_type")
    family = families().get(str(kind), ModelFamily())
    vision = ConfigFields({**family.defaults, **written}, config, fields.file, family)
    if not vision.has("hidden"):
        return 0
    width = vision.count("hidden")
    layers = vision.count("layers", vision.count("depth", 1)) + vision.count("num_global_layers", 0)
    inner = vision.count("width", vision.count("mlp_ratio", VISION_WIDTH) * width)
    per_layer = 4 * width * width + (3 if family.vision_gated else 2) * width * inner
    merge = vision.count("spatial_merge_size", 1)
    merged = vision.count("vision_output_dim", width) * merge * merge
    tapped = len(vision.items("deepstack_visual_indexes", int))
    merger = merged * hidden + (merged * merged if merge > 1 else 0)
    return layers * per_layer + (1 + tapped) * merger


@lru_cache(maxsize=1)
def repositories() -> Mapping[str, tuple[str, str]]:
    """Repository name in lower case -> (id of the file that lists it, its name as a variant or "")."""
    index: dict[str, tuple[str, str]] = {}
    for stem in ids("models"):
        file = _model_file(stem)
        index |= {name.lower(): (stem, "") for name in file.aliases}
        index |= {name.lower(): (stem, name) for name in file.variants}
    return index


def _model_file(id: str) -> ModelFile:
    return fact_of(ModelFile, shipped_entry("models", id))


def model_entry(name: str, base: Path = Path()) -> FactEntry:
    """The model of an id, a Hugging Face repository, or a user's own file or folder. base: paths are relative to it.

    name: a repository with or without its organisation, in any case, also with an ending that names a quantisation
    (`-FP8`, `-AWQ`) or a release of a listed model (`-Instruct-2507`); or the path of a `config.json`, of a TOML file,
    or of the folder of a `config.json`.

    Raises:
        UnknownIdError: the name is none of these; lists the nearest.
        FactError: the file is malformed, or has the name of a model that ships and other content.

    >>> model_entry("meta-llama/Llama-3.1-70B-Instruct").id
    'llama_3_1_70b'
    """
    listed, own = _listed_entry(name), _own_entry(name, base)
    if own is not None:
        require_one_content(own, _listed_entry(own.id) if own.id in ids("models") else None)
        return own
    if listed is None:
        raise unknown_fact("models", name, repositories() if "/" in name else ids("models"))
    return listed


def _own_entry(name: str, base: Path) -> FactEntry | None:
    """The model of a user's own file; a file called `config.json` has the name of its folder as id."""
    path = base / Path(name).expanduser()
    if path.is_dir() and (path / "config.json").is_file():
        path = path / "config.json"
    if path.suffix not in {".json", ".toml"} or not path.is_file():
        return None
    if path.suffix == ".toml":
        document = fact_content(path)
        if "model" in document:
            return _structure_entry(path, name, document)
        return _with_variant(FactEntry.of("models", shipped_copy("models", path) or path.stem, name, document))
    return FactEntry.of("models", *_config_content(path, name))


def _structure_entry(path: Path, name: str, document: Mapping[str, Any]) -> FactEntry:
    """The model of a user's own TOML that says what keys of a config mean."""
    config, structure = user_structure(document, path)
    if isinstance(config, Mapping):
        content = {"family": str(config.get("model_type", "")), "config": config}
    else:
        content = _config_content(path.parent / str(config), name)[2]
    return FactEntry.of("models", path.stem, name, {**content, "name": path.stem, "structure": structure})


def _config_content(path: Path, name: str) -> tuple[str, str, dict[str, Any]]:
    """Id, origin and document of the model of a user's `config.json`; its id is the name of its folder."""
    config = _user_config(path)
    of_folder = path.stem == "config"
    id = path.resolve().parent.name if of_folder else path.stem
    told = str(config.get("_name_or_path") or "")
    content = {
        "name": id,
        "repository": str(path.parent) if of_folder else told if told.count("/") == 1 else "",
        "family": str(config.get("model_type", "")),
        "config": config,
        "total_size": total_size(path),
    }
    return id, name, content


def _user_config(path: Path) -> dict[str, Any]:
    """A user's `config.json`, with the quantisation of ModelOpt's own file beside it where it states none."""
    config, beside = read_json(path), path.parent / "hf_quant_config.json"
    if not isinstance(config, dict) or not config:
        raise FactError(str(path), "file", "is not a table of keys")
    if "quantization_config" not in config and beside.is_file():
        return {**config, "quantization_config": read_json(beside)}
    return config


def _listed_entry(name: str) -> FactEntry | None:
    """The model of an id, of a listed repository, or of one named as a form of a listed one; else None."""
    if "/" not in name and (known := shipped_id("models", name)):
        return _with_variant(shipped_entry("models", known))
    index = repositories()
    if listed := index.get(name.lower()):
        return _of_repository(name.lower(), *listed)
    by_base = {key.rpartition("/")[2]: key for key in index}
    for form in repository_forms(name):
        if repository := by_base.get(form.base):
            return _in_form(_of_repository(repository, *index[repository]), name, form)
    return None


def _of_repository(repository: str, id: str, variant_name: str) -> FactEntry:
    """The entry of a listed repository, which is what engines load. repository: in lower case."""
    entry = _with_variant(shipped_entry("models", id), variant_name)
    spelt = {name.lower(): name for name in _model_file(id).aliases}.get(repository, "")
    content = {**entry.content, "repository": spelt} if "/" in spelt else entry.content
    return FactEntry.of("models", entry.id, CATALOGUE, content)


def _with_variant(entry: FactEntry, variant_name: str = "") -> FactEntry:
    """The entry of a file, or of one of its variants, with the whole config and no list of others."""
    file = fact_of(ModelFile, entry)
    content = {key: value for key, value in entry.content.items() if key not in {"aliases", "variants"}}
    if not variant_name:
        content["repository"] = next((x for x in file.aliases if "/" in x), "")
        return FactEntry.of("models", entry.id, entry.origin, content)
    variant = file.variants[variant_name]
    content |= {"name": variant_name, "repository": variant_name, "variant": variant.source}
    content["config"] = {**file.config, **variant.config}
    return FactEntry.of("models", variant_name, entry.origin, content)


def _in_form(listed: FactEntry, name: str, form: RepositoryForm) -> FactEntry | None:
    """The entry of a repository that is named as a form of a listed one; `None` of a variant quantised already."""
    if form.scheme is None and not form.release:
        return listed
    config = dict(listed.content["config"])
    if form.scheme is not None:
        if form.scheme and "variant" in listed.content and "quantization_config" in config:
            return None
        config["quantization_config"] = BLOCKWISE if is_blockwise(name, form.scheme) else dict(form.scheme) or None
    content = {
        **listed.content,
        "name": name,
        "repository": name,
        "config": config,
        "variant": "the repository's name",
        "doubt": form.doubt(listed.content["repository"]),
    }
    return FactEntry.of("models", name, CATALOGUE, content)


@lru_cache(maxsize=FACTS_KEPT)
def model_of(entry: FactEntry) -> Model:
    """The model of an entry, whatever the catalogue holds now.

    Raises:
        FactError: the config is malformed, or not supported.
    """
    file = fact_of(ModelFile, entry)
    origin = {"config": "config"} | ({"variant": file.variant} if file.variant else {})
    parsed = model_from_config(file.config, entry.id, entry.file, file.structure)
    compared = compare_with_files(parsed, file.total_size, entry.file)
    return replace(
        compared,
        name=file.name,
        repository=file.repository,
        family=file.family,
        published=file.published,
        sources=file.sources,
        provenance={**file.provenance, **origin},
        doubt="; ".join(filter(None, (compared.doubt, file.doubt))),
    )


def model(name: str) -> Model:
    """The model of an id, a Hugging Face repository or a path; see `model_entry`.

    Raises:
        UnknownIdError: the name is none of these; lists the nearest.
        FactError: the file is malformed; names file and field.

    >>> model("meta-llama/Llama-3.1-70B-Instruct").id
    'llama_3_1_70b'
    """
    return model_of(model_entry(name))


@lru_cache(maxsize=FACTS_KEPT)
def listed_checkpoints(id: str) -> tuple[Model, ...]:
    """The repositories that a listed model's file names, one model each: its own, then its variants.

    id: of the model or of one of its variants; a model of a user's own has none.
    """
    stem = id if id in ids("models") else repositories().get(id.lower(), ("", ""))[0]
    if not stem:
        return ()
    variants = _model_file(stem).variants
    entries = [_with_variant(shipped_entry("models", stem), name) for name in ("", *variants)]
    return tuple(model_of(entry) for entry in entries)

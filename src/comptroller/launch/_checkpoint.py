"""The files that an engine is to load so that it serves what was planned: which they are, and how they are made."""

from __future__ import annotations

from dataclasses import dataclass, replace

from comptroller.costs.deployment import SIXTEEN_BIT, PrecisionRecipe, arithmetic
from comptroller.errors import UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.config import listed_checkpoints
from comptroller.facts.converter import CheckpointConverter, converter
from comptroller.facts.engine_formats import EngineFormats, Evidence, FormatSupport, engine_formats
from comptroller.facts.library import FactLibrary
from comptroller.facts.model import Model
from comptroller.facts.repository_names import repository_forms

PLAIN = SIXTEEN_BIT | {"fp32"}
"""Formats of checkpoints that no scheme quantised: engines read any of them as the 16-bit type that is asked for."""

GGUF = "GGUF"
"""How a row of `facts.engine_formats` names checkpoints that are one file, converted in any case."""


@dataclass(frozen=True)
class CheckpointConversion:
    """How a checkpoint is made: what it writes, the shell line, bytes of disk, seconds where a source has them.

    disk_bytes: the 16-bit weights, as often as they lie there, and the result.  time_s: in proportion to the
    parameters, from the time that the converter's source has for one model on one device.  timed: the step that it is
    of, empty for all.
    """

    tool: str
    install: str
    path: str
    command: str
    disk_bytes: float
    time_s: float | None
    timed: str = ""


@dataclass(frozen=True)
class LaunchCheckpoint:
    """What an engine loads. path: a repository, or what `conversion` writes.  flags: arguments that the format needs.

    listed: the repository is not the model's own, but stands in its file as a form of it.
    """

    path: str
    flags: tuple[str, ...]
    kernel: str
    evidence: Evidence
    conversion: CheckpointConversion | None = None
    listed: bool = False


@dataclass(frozen=True)
class FormatRows:
    """The rows of a recipe: of the weights, of the experts (the same for a dense model), and the cache's arguments."""

    weights: FormatSupport
    experts: FormatSupport
    cache: tuple[str, ...]

    @property
    def narrow(self) -> FormatSupport:
        """The row that decides about files: that of quantised experts, else of the weights."""
        return self.weights if self.experts.checkpoint == "16-bit" else self.experts


def rows_of(table: EngineFormats, version: str, model: Model, family: str, recipe: PrecisionRecipe) -> FormatRows:
    """The rows that hold a recipe.

    Raises:
        UnsupportedError: one of its formats has none; says which and why.
    """
    weights = table.support(recipe.weights, "weights", family, version)
    experts = table.support(recipe.experts, "experts", family, version) if model.is_moe else weights
    return FormatRows(weights, experts, table.cache_flags(recipe.kv, family, version))


def as_launched(
    program: str, version: str, model: Model, device: Accelerator, recipe: PrecisionRecipe, library: FactLibrary
) -> PrecisionRecipe:
    """The recipe with the activations that the engine's kernel takes.

    Raises:
        UnsupportedError: the engine cannot hold it, the device has no arithmetic for it, or is a what-if.
    """
    _require_machine(device)
    rows = rows_of(engine_formats(program), version, model, device.family, recipe)
    if rows.narrow.activations == "own" or recipe.activations in PLAIN:
        return recipe
    wide = next(name for name in ("bf16", "fp16") if name in {str(rate) for rate in device.peak_flops_per_s})
    for weights in (recipe.weights, recipe.experts):
        arithmetic(library.format(weights), library.format(wide), device)
    return replace(recipe, activations=wide)


def checkpoint_of(
    program: str, version: str, model: Model, device: Accelerator, recipe: PrecisionRecipe, library: FactLibrary
) -> LaunchCheckpoint:
    """What an engine loads on a device to serve a model in a recipe.

    Its own repository, if that is in these formats or is made so while it is loaded; else a listed repository in these
    formats; else what a converter writes.

    Raises:
        UnsupportedError: the engine cannot serve it so, no files are known, or the device is a what-if; says why.
    """
    _require_machine(device)
    rows = rows_of(engine_formats(program), version, model, device.family, recipe)
    _require_activations(program, rows, recipe, device)
    row = rows.narrow
    flags = tuple(word.format(repository=model.repository or model.id) for word in (*row.flags, *rows.cache))
    evidence = row.evidence(device.family)
    own = model.repository or model.id
    if row.checkpoint != GGUF and _is_in(model, recipe, row.casts):
        return LaunchCheckpoint(own, flags, row.kernel, evidence)
    if row.checkpoint != GGUF and (name := _repository_of(model, recipe, row.casts)):
        return LaunchCheckpoint(name, flags, row.kernel, evidence, listed=True)
    if not _is_convertible(model, recipe):
        raise UnsupportedError(_no_source(program, model, recipe, row))
    if row.while_loading:
        return LaunchCheckpoint(own, (*row.while_loading, *flags), row.kernel, evidence)
    if not row.converter:
        raise UnsupportedError(f"{program} wants {row.checkpoint} for {recipe.weights}; how to make one is not known")
    conversion = _conversion(converter(row.converter), model, recipe, row.checkpoint, library)
    return LaunchCheckpoint(conversion.path, flags, row.kernel, evidence, conversion)


def _require_machine(device: Accelerator) -> None:
    if device.what_if:
        raise UnsupportedError(f"{device.id}: {device.what_if.why}")


def _require_activations(program: str, rows: FormatRows, recipe: PrecisionRecipe, device: Accelerator) -> None:
    """Refuse activations that the kernels do not take, and two 16-bit types at once."""
    own = recipe.weights if rows.narrow is rows.weights else recipe.experts
    takes = f"in {own}" if rows.narrow.activations == "own" and own not in PLAIN else "in 16 bit"
    if recipe.activations != own if takes != "in 16 bit" else recipe.activations not in SIXTEEN_BIT:
        raise UnsupportedError(
            f"{program} on {device.family} takes activations {takes} for {own}, not in {recipe.activations}"
        )
    types = {recipe.weights, recipe.experts, recipe.activations, recipe.kv} & SIXTEEN_BIT
    if len(types) > 1:
        raise UnsupportedError(f"{program} computes in one 16-bit type, not in {' and '.join(sorted(types))}")


def _is_in(model: Model, recipe: PrecisionRecipe, casts: bool) -> bool:
    """Whether a model's checkpoint is in the formats of a recipe."""
    pairs = [(model.weights, recipe.weights)]
    pairs += [(model.experts, recipe.experts)] if model.is_moe else []
    return all(own == asked or (casts and {own, asked} <= PLAIN) for own, asked in pairs)


def _repository_of(model: Model, recipe: PrecisionRecipe, casts: bool) -> str:
    """A listed repository of the same release in the formats of a recipe; empty if there is none."""
    release = model.repository.rpartition("/")[2].lower()
    for other in listed_checkpoints(model.id):
        bases = {form.base for form in repository_forms(other.repository) if not form.release}
        if release in bases and _is_in(other, recipe, casts):
            return other.repository
    return ""


def _is_convertible(model: Model, recipe: PrecisionRecipe) -> bool:
    """Whether one scheme makes a recipe of the model's checkpoint: the checkpoint is wide, the recipe one format."""
    own = {model.weights, model.experts} if model.is_moe else {model.weights}
    return own <= PLAIN and (recipe.weights == recipe.experts or not model.is_moe)


def _no_source(program: str, model: Model, recipe: PrecisionRecipe, row: FormatSupport) -> str:
    """Why no files are known."""
    parts = {model.weights, model.experts} if model.is_moe else {model.weights}
    return (
        f"{program} wants {row.checkpoint} for {recipe.experts if model.is_moe else recipe.weights}; "
        f"{model.repository or model.id} is published in {' and '.join(sorted(parts))}, no repository of it in "
        f"{recipe.weights} is listed, and conversions start from 16-bit weights"
    )


def _conversion(
    tool: CheckpointConverter, model: Model, recipe: PrecisionRecipe, wanted: str, library: FactLibrary
) -> CheckpointConversion:
    """How a converter writes a model's weights in a format.

    Raises:
        UnsupportedError: it is not known to.
    """
    method, params, source = tool.method(recipe.weights), model.total_params, model.repository or model.id
    name = f"{model.id.rpartition('/')[2]}.{recipe.weights}.gguf" if wanted == GGUF else ""
    path = name or f"./{source.rpartition('/')[2]}-{recipe.weights}"
    return CheckpointConversion(
        tool=tool.name,
        install=tool.install,
        path=path,
        command=tool.command(recipe.weights, source, path),
        disk_bytes=params * (2.0 * tool.wide_copies + library.format(recipe.weights).bytes_per_element),
        time_s=None if method.reference_s is None else method.reference_s * params / tool.reference_params,
        timed=method.timed,
    )

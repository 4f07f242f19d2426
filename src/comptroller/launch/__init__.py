"""The command that starts a deployment, one file per engine; the file's stem is the engine's id."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from enum import StrEnum
from importlib import import_module, resources
from types import ModuleType
from typing import Any

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import UnknownIdError, UnsupportedError
from comptroller.facts.accelerator import Accelerator
from comptroller.facts.engine import EngineFacts, engine_facts
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.facts.model import Model
from comptroller.launch._checkpoint import CheckpointConversion, LaunchCheckpoint, as_launched, checkpoint_of
from comptroller.launch._manifest import ManifestReading
from comptroller.launch._manifest import lines_of_manifest as manifest_lines
from comptroller.launch._parse import LaunchFlags, LaunchStatement, read_line, starts_engine, without_shell
from comptroller.launch._statement import LaunchedReplica, launched_replica, model_of_path
from comptroller.launch._version import program_version, require_planned, stands_for

__all__ = [
    "WHAT_IF", "CheckpointConversion", "LaunchCheckpoint", "LaunchStatement", "LaunchedReplica",
    "ManifestReading", "ServingPhase", "adapter_words", "cadence_words", "checkpoint", "command",
    "eager_words", "engines", "image",
    "launchable", "launched_replica", "layout_problem", "line", "lines_of_manifest", "listening",
    "model_of_path", "offload_words", "policy_words", "require_version", "speculation_words", "splits", "spread",
    "starts", "statement", "weights_label", "with_policies",
]  # fmt: skip


class ServingPhase(StrEnum):
    """What a replica does: all, or prompts or tokens alone, whose caches are handed on."""

    MIXED = "mixed"
    PREFILL = "prefill"
    DECODE = "decode"


CADENCE = {"poll_steps": "to look at its queue every {} steps", "stream_interval": "to stream {} tokens at a time"}
"""Intervals of an engine, as `EngineSettings` names them -> what a value of them tells it."""

WHAT_IF = "# what-if: "
"""How the line of a deployment starts that cannot be launched: a comment of the shell, then the reason."""


def engines() -> list[str]:
    """Engines that can be launched, sorted."""
    folder = resources.files(__name__)
    return sorted(x.name[:-3] for x in folder.iterdir() if x.name.endswith(".py") and x.name[0] != "_")


def launchable(
    engine: EngineFacts | EngineSettings,
    model: Model,
    device: Accelerator,
    recipe: PrecisionRecipe,
    library: FactLibrary = SHIPPED,
) -> PrecisionRecipe:
    """The recipe as an engine runs it on a device, with the activations that its kernel takes.

    Raises:
        UnknownIdError: no table for the engine.
        UnsupportedError: the engine cannot load it there, or no files in these formats are known; says why.
    """
    place = (engine.launched_as, engine.version, model, device)
    found = as_launched(*place, recipe, library)
    checkpoint_of(*place, found, library)
    return found


def checkpoint(replica: ModelReplica) -> LaunchCheckpoint:
    """What the engine loads to serve a replica as it was planned.

    Raises:
        UnknownIdError: no table for the engine.
        UnsupportedError: it cannot; says why.
    """
    engine = replica.engine
    return checkpoint_of(
        engine.launched_as, engine.version, replica.model, replica.device, replica.recipe, replica.library
    )


def weights_label(replica: ModelReplica) -> str:
    """The format of a replica's weights, marked where nothing is known to launch it so."""
    try:
        checkpoint(replica)
    except UnsupportedError:
        return f"{replica.recipe.weights} (what-if)"
    return replica.recipe.weights


def command(replica: ModelReplica, context_tokens: int, phase: ServingPhase = ServingPhase.MIXED) -> str:
    """A shell line that starts one replica with the plan's settings, in the plan's number formats.

    context_tokens: the longest request, input and output, that it must hold.  phase: what it does.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine cannot serve these formats on the device, no files are known, or it is not known to
            hand caches on.
    """
    program = _file(replica.engine.launched_as)
    if problem := layout_problem(replica.engine.launched_as, replica.layout):
        raise UnsupportedError(problem)
    words = program.words(replica, checkpoint(replica), context_tokens)
    engine = replica.engine
    settings = (*speculation_words(engine), *adapter_words(engine), *offload_words(engine), *eager_words(engine))
    more = (*settings, *cadence_words(replica), *_phase_words(replica.engine.launched_as, phase))
    return shlex.join(str(word) for word in (*words, *more))


def speculation_words(engine: EngineSettings) -> list[str | int]:
    """Arguments of an engine for its speculative decoding; none where it uses none.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine, or its version, is not known to draft so.
    """
    if engine.speculation is None:
        return []
    words = getattr(_file(engine.launched_as), "speculation", None)
    if words is None:
        raise UnsupportedError(f"{engine.id}: how it is told to draft is not known; vllm and sglang are")
    found: list[str | int] = words(engine.speculation, engine.version)
    return found


def adapter_words(engine: EngineSettings) -> list[str | int]:
    """Arguments of an engine for its LoRA adapters; none where it serves none.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine is not known to serve them by arguments of its command.
    """
    if engine.adapters is None:
        return []
    words = getattr(_file(engine.launched_as), "adapters", None)
    if words is None:
        raise UnsupportedError(
            f"{engine.id}: how its command is told to serve many adapters is not known; vllm and sglang are"
        )
    found: list[str | int] = words(engine.adapters)
    return found


def offload_words(engine: EngineSettings) -> list[str | int | float]:
    """Arguments of an engine that keeps weights in the host's memory; none where all lie on the devices.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine is not known to read weights from there by an argument of its command.
    """
    if not engine.offload_bytes:
        return []
    words = getattr(_file(engine.launched_as), "offload", None)
    if words is None:
        raise UnsupportedError(f"{engine.id}: how its command keeps weights in the host's memory is not known; vllm is")
    found: list[str | int | float] = words(engine.offload_bytes)
    return found


def eager_words(engine: EngineSettings) -> tuple[str, ...]:
    """Arguments of an engine that captures no graphs; none where it does.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine is not known to run without by an argument of its command.
    """
    if not engine.eager:
        return ()
    words = getattr(_file(engine.launched_as), "EAGER", None)
    if words is None:
        raise UnsupportedError(
            f"{engine.id}: how its command runs without captured graphs is not known; vllm and sglang are"
        )
    found: tuple[str, ...] = words
    return found


def cadence_words(replica: ModelReplica) -> list[str | int]:
    """Arguments of an engine for intervals that are not its program's own: between looks at its queue, of streams.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine, its version or the layout is not known to take one by an argument of its command.
    """
    engine, words = replica.engine, list[str | int]()
    own = engine_facts(engine.launched_as)
    for name, told in CADENCE.items():
        asked = getattr(engine, name)
        if asked == getattr(own, name):
            continue
        flags = _cadence_flags(engine.launched_as)
        if name not in flags:
            known = " and ".join(other for other in engines() if name in _cadence_flags(other))
            raise UnsupportedError(
                f"{engine.id}: how its command is told {told.format(asked)} is not known; of {known} it is"
            )
        if problem := _file(engine.launched_as).cadence_problem(name, engine.version, replica.layout):
            raise UnsupportedError(f"{engine.id} cannot be told {told.format(asked)}: {problem}")
        words += [flags[name], asked]
    return words


def _cadence_flags(engine: str) -> dict[str, str]:
    """Interval -> the argument of an engine's command that sets it."""
    flags: dict[str, str] = getattr(_file(engine), "CADENCE", {})
    return flags


def policy_words(engine: str, policies: Mapping[str, str]) -> tuple[str, ...]:
    """Arguments with which the replicas of an engine batch and schedule by policies, decision -> id.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine is not known to follow one of them; says which it does.

    >>> policy_words("vllm", {"batching": "chunked", "routing": "least_request", "scheduling": "priority"})
    ('--scheduling-policy', 'priority')
    """
    words: list[str] = []
    for decision, rows in _file(engine).POLICIES.items():
        name = policies.get(decision, next(iter(rows)))
        if name not in rows:
            raise UnsupportedError(f"{engine} is not known to follow {decision} {name}; known: {', '.join(rows)}")
        words += rows[name]
    return tuple(words)


def with_policies(lines: str, policies: Mapping[str, str]) -> str:
    """Lines of a service whose replicas batch and schedule by policies, or comments that say why there are none.

    >>> with_policies("vllm serve m", {"scheduling": "shortest_job"})
    '# what-if: vllm is not known to follow scheduling shortest_job; known: fcfs, priority'
    """
    return "\n".join(text if text.startswith(WHAT_IF) else _with(text, policies) for text in lines.splitlines())


def _with(text: str, policies: Mapping[str, str]) -> str:
    try:
        words = policy_words(statement(text).engine, policies)
    except UnsupportedError as error:
        return f"{WHAT_IF}{error}"
    return shlex.join([*shlex.split(text), *(() if set(words) <= set(shlex.split(text)) else words)])


def splits(engine: str) -> bool:
    """Whether an engine is known to run prefill and decode apart."""
    return engine in engines() and bool(getattr(_file(engine), "PHASES", {}))


def _phase_words(engine: str, phase: ServingPhase) -> tuple[str, ...]:
    if phase == ServingPhase.MIXED:
        return ()
    if not splits(engine):
        raise UnsupportedError(f"{engine} is not known to hand caches from prefill to decode; vllm and sglang are")
    found: tuple[str, ...] = _file(engine).PHASES[phase.value]
    return found


def statement(text: str) -> LaunchStatement:
    """What a launch line states: the reverse of `command`.

    Raises:
        InputError: it cannot be read; names the flag, and what is known.

    >>> statement("vllm serve meta-llama/Llama-3.1-8B -tp 2 --max-num-seqs=64").values
    {'tp': '2', 'max_batch': '64'}
    """
    return read_line(without_shell(text), _tables())


def starts(text: str) -> bool:
    """Whether a line starts an engine that is known.

    >>> starts("exec vllm serve m"), starts("nginx -g 'daemon off;'")
    (True, False)
    """
    return starts_engine(without_shell(text), _tables())


def lines_of_manifest(documents: Sequence[Any]) -> ManifestReading:
    """What the containers of Kubernetes manifests start, and what of them was not read.

    Raises:
        InputError: none of them starts an engine that is known.
    """
    return manifest_lines(documents, starts)


def _tables() -> dict[str, LaunchFlags]:
    return {engine: _file(engine).FLAGS for engine in engines()}


def line(replica: ModelReplica, context_tokens: int, phase: ServingPhase = ServingPhase.MIXED) -> str:
    """The command, or a comment that says why there is none: what was planned is then a what-if.

    Raises:
        UnknownIdError: no file for the engine.
    """
    try:
        return command(replica, context_tokens, phase)
    except UnsupportedError as error:
        return f"{WHAT_IF}{error}"


def image(engine: str, device: Accelerator, planned: str) -> str:
    """The engine's own container image for a device's family, or for its vendor, of a version that was planned.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine publishes no image for the device, or none of that version, that we know of.
    """
    images: dict[str, str] = getattr(_file(engine), "IMAGES", {})
    key = device.family if device.family in images else device.vendor
    if key not in images:
        known = ", ".join(sorted(images)) or "none"
        raise UnsupportedError(f"no container image of {engine} is known for {device.id}; known: {known}")
    first = key in getattr(_file(engine), "FIRST_IMAGES", ())
    if not stands_for(images[key], planned, first):
        raise UnsupportedError(f"the plan is for {engine} {planned}; the image that is known is {images[key]}")
    return images[key]


def listening(engine: str, host: str, port: int) -> list[str]:
    """Arguments with which an engine listens on an address.

    Raises:
        UnknownIdError: no file for the engine.

    >>> listening("vllm", "0.0.0.0", 8000)
    ['--host', '0.0.0.0', '--port', '8000']
    """
    host_flag, port_flag = getattr(_file(engine), "ADDRESS", ("--host", "--port"))
    return [host_flag, host, port_flag, str(port)]


def spread(engine: str, nodes: int) -> str:
    """What the command of a replica over several nodes adds, in shell: $RANK of a node, $LEADER is the first's address.

    Raises:
        UnknownIdError: no file for the engine.
        UnsupportedError: the engine is not known to span nodes by itself.
    """
    flags: str | None = getattr(_file(engine), "SPREAD", None)
    if flags is None:
        raise UnsupportedError(
            f"{engine}: how a replica spans {nodes} nodes is not known; use one node's devices, or vllm"
        )
    return flags.format(nodes=nodes)


def layout_problem(engine: str, layout: ParallelLayout) -> str:
    """Why an engine's command cannot set a layout; empty where it can, or where nothing launches the engine.

    >>> layout_problem("trtllm", ParallelLayout(tp=4)), layout_problem("trtllm", ParallelLayout(dp=8))
    ('', 'the command of trtllm sets ep, pp, tp, and no dp')
    """
    if engine not in engines():
        return ""
    known: frozenset[str] = _file(engine).DEGREES
    wide = {name for name in ("tp", "pp", "dp", "ep") if getattr(layout, name) > 1}
    if wide - known:
        return f"the command of {engine} sets {', '.join(sorted(known))}, and no {min(wide - known)}"
    together = len(wide) > 1 and not _file(engine).TOGETHER
    return f"the command of {engine} sets one of {' and '.join(sorted(wide))}, and not both" if together else ""


def require_version(engine: str, planned: str) -> None:
    """Refuse an engine that is not installed on this machine in the version that a plan was made for.

    Raises:
        UnknownIdError: no file for the engine.
        InputError: it is not there, or of another version; says both.
    """
    require_planned(engine, planned, program_version(_file(engine).VERSION))


def _file(engine: str) -> ModuleType:
    if engine not in engines():
        raise UnknownIdError("engine", engine, engines())
    return import_module(f"{__name__}.{engine}")

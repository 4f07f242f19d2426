"""From rows of measured runs to observations: names become facts, and what a file does not state comes from options."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from math import isfinite, isnan
from pathlib import Path

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.errors import ComptrollerError, InputError
from comptroller.facts.accelerator import Accelerator, accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import EngineFacts, engine_facts
from comptroller.facts.format import format_
from comptroller.facts.library import FactLibrary
from comptroller.facts.model import Model
from comptroller.measure.log_replay import windows_of
from comptroller.measure.observations import ExclusionReport, RunObservation
from comptroller.measure.request_log import RequestLog
from comptroller.measure.run_readers import read_run_file
from comptroller.measure.run_rows import NEEDED, SERVER, RunFile, RunRow

LAYOUT = ("tp", "pp", "dp", "ep")
EXACT = (*LAYOUT, "accelerator", "engine", "weights", "experts", "activations", "kv")
"""What a file and an option may not state differently. A model is compared as what it is; the rest an option sets."""


@dataclass(frozen=True, slots=True)
class FactLookup:
    """Where names become facts; a user with files of their own passes their own."""

    model: Callable[[str], Model] = model
    accelerator: Callable[[str], Accelerator] = accelerator
    engine: Callable[[str], EngineFacts] = engine_facts

    @classmethod
    def of(cls, library: FactLibrary) -> FactLookup:
        """Facts as a library has them: those that travel in a plan."""
        return cls(library.model, library.accelerator, library.engine)


@dataclass(frozen=True, slots=True)
class ServerStatement:
    """What a user says of the server that was measured, where its files do not.

    given: by the names of `SERVER`.  clients: requests in flight, where a file does not state them.  columns: of a
    table, our name -> the file's.

    Raises:
        InputError: a name is none of `SERVER`.
    """

    given: Mapping[str, str] = field(default_factory=dict)
    clients: float | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unknown = [name for name in self.given if name not in SERVER]
        if unknown:
            raise InputError(f"{unknown[0]} says nothing of a server; known: {', '.join(SERVER)}")


NOTHING_STATED = ServerStatement()


@dataclass(frozen=True, slots=True)
class RunData:
    """Observations of all files, what was left out, and what to say of the files."""

    observations: tuple[RunObservation, ...]
    left_out: ExclusionReport
    remarks: tuple[str, ...]


def read_runs(
    paths: Sequence[Path], statement: ServerStatement = NOTHING_STATED, lookup: FactLookup | None = None
) -> RunData:
    """The runs of files in any known format (`measure.run_readers`); bad rows are named one by one and left out.

    Formats that nobody states are the checkpoint's own, what the device takes, and 16 bit for the cache.

    Raises:
        FactError, RecordError: a file as a whole cannot be read; says what it is.
        InputError: a file does not state the model, the accelerator, the engine or the clients, and no option does; or
            an option says otherwise than the file.
    """
    report, kept, remarks = ExclusionReport(), list[RunObservation](), list[str]()
    for path in paths:
        found = read_run_file(path, statement.columns)
        where = f"{path.name}: " if len(paths) > 1 else ""
        require_statement(found, statement)
        left_out = list(found.left_out)
        if found.log is not None:
            kept += _of_log(found, found.log, statement, lookup or FactLookup())
        for row in found.rows:
            try:
                kept.append(_observation(row, found, statement, lookup or FactLookup()))
            except (ComptrollerError, ValueError) as error:
                left_out.append((row.number, str(error).partition("; known")[0]))
        for number, problem in sorted(left_out):
            report.add(number, where + problem)
        remarks += [f"{path.name}: {remark}" for remark in found.remarks]
    return RunData(tuple(kept), report, tuple(remarks))


def require_statement(found: RunFile, statement: ServerStatement) -> None:
    """Checks that what the rows need is stated somewhere.

    Raises:
        InputError: it is not; names what is missing and the options that say it.
    """
    for row in (*found.rows, *([RunRow(1, {}, clients=1.0)] if found.log is not None else [])):
        missing = [f"--{name}" for name in NEEDED if not row.stated.get(name) and not statement.given.get(name)]
        if isnan(row.clients) and statement.clients is None:
            missing.append("--clients")
        if missing:
            names = ", ".join(option.removeprefix("--") for option in missing)
            raise InputError(f"{found.path.name} ({found.format}) does not state {names}: give {' '.join(missing)}")


def _observation(row: RunRow, found: RunFile, statement: ServerStatement, lookup: FactLookup) -> RunObservation:
    known = _server_of(row, statement, lookup)
    clients = _positive("clients", row.clients if isfinite(row.clients) else statement.clients or row.clients)
    return RunObservation(
        number=row.number,
        replica=_replica(known, clients, lookup),
        input_tokens=_positive("input_tokens", row.input_tokens),
        output_tokens=_positive("output_tokens", row.output_tokens),
        concurrency=clients,
        ttft_s=row.ttft_s,
        tpot_s=row.tpot_s,
        source=found.path.name,
        group=f"{found.path.name} {row.number}",
        version=known.get("version", ""),
        measured=date.fromisoformat(known["measured"]) if known.get("measured") else None,
    )


def _of_log(found: RunFile, log: RequestLog, statement: ServerStatement, lookup: FactLookup) -> list[RunObservation]:
    """Windows of a log as steady runs, by replaying it on the server that was stated."""
    replica = _replica(statement.given, 1.0, lookup)
    measured = statement.given.get("measured")
    return [
        RunObservation(
            number=number,
            replica=replica,
            input_tokens=window.input_tokens,
            output_tokens=window.output_tokens,
            concurrency=window.clients,
            ttft_s=window.ttft_s,
            tpot_s=window.tpot_s,
            source=found.path.name,
            group=f"{found.path.name} {number}",
            version=statement.given.get("version", ""),
            measured=date.fromisoformat(measured) if measured else None,
        )
        for number, window in enumerate(windows_of(log, replica), 1)
    ]


def _server_of(row: RunRow, statement: ServerStatement, lookup: FactLookup) -> dict[str, str]:
    """What file and options say together.

    Raises:
        InputError: they contradict each other.
    """
    for name in EXACT:
        ours, theirs = statement.given.get(name), row.stated.get(name)
        if ours and theirs and ours != theirs:
            raise InputError(f"{name} is {theirs} in the file and {ours} by --{name}")
    ours, theirs = statement.given.get("model"), row.stated.get("model")
    if theirs and not ours and _model_or_none(theirs, lookup) is None:
        raise InputError(f"the file's model {theirs!r} is none that is known here: --model says what it is")
    if ours and theirs and (stated := _model_or_none(theirs, lookup)) and not _alike(stated, lookup.model(ours)):
        raise InputError(f"model is {theirs} in the file and {ours} by --model")
    return {**row.stated, **statement.given}


def _model_or_none(name: str, lookup: FactLookup) -> Model | None:
    """What a file's name of a model stands for; a path on another machine or a served name stands for none here."""
    try:
        return lookup.model(name)
    except ComptrollerError:
        return None


def _alike(one: Model, other: Model) -> bool:
    """Whether two names stand for one architecture; their formats may differ."""
    return (one.layers, one.hidden, one.vocabulary) == (other.layers, other.hidden, other.vocabulary)


def _replica(known: Mapping[str, str], clients: float, lookup: FactLookup) -> ModelReplica:
    model, device = lookup.model(known["model"]), lookup.accelerator(known["accelerator"])
    weights = known.get("weights") or model.weights
    experts = known.get("experts") or (model.experts if not known.get("weights") else weights)
    activations = known.get("activations") or _activations(experts, device)
    recipe = PrecisionRecipe(weights, experts, activations, known.get("kv") or "bf16")
    if "gpu_layers" in known and int(known["gpu_layers"]) < model.layers:
        raise InputError(f"only {known['gpu_layers']} of {model.layers} layers ran on the accelerator")
    layout = ParallelLayout(*(_count(known, name) for name in LAYOUT))
    engine = EngineSettings.default(lookup.engine(known["engine"]))
    engine = replace(
        engine,
        version=known.get("version", ""),
        memory_fraction=float(known.get("memory_fraction") or engine.memory_fraction),
        max_batch=int(known.get("max_batch") or max(engine.max_batch, int(clients))),
        chunk_tokens=int(known.get("chunk_tokens") or engine.chunk_tokens),
    )
    return ModelReplica(model, device, recipe, layout, engine)


def _activations(experts: str, device: Accelerator) -> str:
    """What the matrices take: their own format where the device multiplies it, 16 bit elsewhere."""
    fmt = format_(experts)
    return experts if "activations" in fmt.roles and fmt.support(device) == "native" else "bf16"


def _positive(name: str, value: float) -> float:
    if not value >= 1:
        raise InputError(f"{name} is {value:g}; it must be at least 1")
    return value


def _count(known: Mapping[str, str], name: str) -> int:
    text = known.get(name) or "1"
    if not text.isdecimal():
        raise InputError(f"{name} is {text!r}; it must be a whole number of devices")
    return int(text)

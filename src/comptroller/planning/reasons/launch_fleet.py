"""The fleet of today from the lines that start it: a launch command, or Kubernetes manifests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comptroller import launch
from comptroller.errors import InputError
from comptroller.facts.library import SHIPPED, FactLibrary, resolve
from comptroller.facts.reader import FactEntry
from comptroller.facts.site import Term
from comptroller.planning.reasons.current_fleet import CurrentFleet, CurrentService, MovingTerms

COUNTS = ("max_batch", "chunk_tokens", "poll_steps", "stream_interval")
"""Whole numbers of a line that set its engine."""


@dataclass(frozen=True, slots=True)
class LaunchPlace:
    """What a line does not say: the accelerator, empty where the manifest has its label; site, term, replicas."""

    accelerator: str
    site: str
    term: Term = "on_demand"
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class LaunchReading:
    """A fleet that was read from lines, and remarks on what was read by a rule or could not be read."""

    fleet: CurrentFleet
    remarks: tuple[str, ...]


def fleet_of_lines(lines: Sequence[tuple[str, int, str, str]], place: LaunchPlace) -> LaunchReading:
    """The fleet that lines start. lines: a name, replicas, the accelerator's label where there is one, the line.

    Raises:
        InputError: a line cannot be read, or it is not known what it runs on.
        UnknownIdError: a model, an accelerator or the site is not known.
        UnsupportedError: the engine cannot hold such weights on the accelerator.
    """
    entries: list[FactEntry] = []
    services: dict[CurrentService, int] = {}
    remarks: list[str] = []
    for name, replicas, label, text in lines:
        service, count, said = _service(text, label or place.accelerator, place, entries)
        services[service] = services.get(service, 0) + replicas * count
        about = f"{name}: " if name else ""
        remarks += [f"{about}read as {_words(service)}", *(f"{about}{remark}" for remark in said)]
    counted = tuple(_with_replicas(service, count) for service, count in services.items())
    return LaunchReading(CurrentFleet(counted, SHIPPED.with_entries(entries), MovingTerms()), tuple(remarks))


def _with_replicas(service: CurrentService, count: int) -> CurrentService:
    values = {name: getattr(service, name) for name in service.__dataclass_fields__}
    return CurrentService(**(values | {"replicas": count}))


def _service(
    text: str, on: str, place: LaunchPlace, entries: list[FactEntry]
) -> tuple[CurrentService, int, tuple[str, ...]]:
    """A service of one replica, how many the line starts, and remarks."""
    if not on:
        raise InputError("a launch line does not say what it runs on: --launch-on ACCELERATOR")
    said = launch.statement(text)
    name, files, told = launch.model_of_path(said.model, said.engine)
    for kind, what in (("models", name), ("accelerators", on), ("engines", said.engine), ("sites", place.site)):
        entries.append(resolve(kind, what))
    model_id, device, engine, site = (entry.id for entry in entries[-4:])
    library: FactLibrary = SHIPPED.with_entries(entries)
    found = launch.launched_replica(said, library.model(model_id), files, library.accelerator(device))
    recipe, layout = found.recipe, found.layout
    settings: dict[str, Any] = {name: said.count(name) for name in COUNTS if name in said.values}
    if text_of := said.values.get("memory_fraction"):
        settings["memory_fraction"] = _share(text_of)
    service = CurrentService(
        model=model_id, accelerator=device, site=site, replicas=1, engine=engine, term=place.term,
        tp=layout.tp, pp=layout.pp, dp=layout.dp, ep=layout.ep, weights=recipe.weights, experts=recipe.experts,
        activations=recipe.activations, kv=recipe.kv, **settings,
    )  # fmt: skip
    return service, found.device_groups, (*((told,) if told else ()), *found.remarks)


def _share(text: str) -> float:
    """A share of the memory.

    Raises:
        InputError: it is none.
    """
    try:
        value = float(text)
    except ValueError as error:
        raise InputError(f"share of memory {text!r}: a number above 0 and up to 1") from error
    if not 0 < value <= 1:
        raise InputError(f"share of memory {text}: a number above 0 and up to 1")
    return value


def _words(service: CurrentService) -> str:
    degrees = (f"{name}{getattr(service, name)}" for name in ("tp", "pp", "dp", "ep") if getattr(service, name) > 1)
    formats = f"{service.weights}, act {service.activations}, kv {service.kv}"
    return f"{service.model} on {service.accelerator}, {'-'.join(degrees) or 'tp1'}, {formats}, {service.engine}"

"""Today's fleet: the services that run, what is paid for them, and what a move to another fleet costs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.errors import FactError, InputError, UnknownIdError, one_error
from comptroller.facts.library import SHIPPED, FactLibrary, resolve
from comptroller.facts.reader import FactEntry, build, fault_lines, parse_toml
from comptroller.facts.site import COMPANIES, AcceleratorOffer, SellerAllowlist, Site, Term
from comptroller.planning.ground.nouns import Deployment
from comptroller.quantities import HOUR_S
from comptroller.work.workload_names import name_faults

OVERLAP_H = 1.0
"""Hours for which what comes runs beside what goes, unless the file says otherwise: to fetch weights, load, warm up and
shift the traffic. An assumption, told as one; twice as long makes the rent of a move twice as dear."""

SPREAD_H = 730.0
"""Hours over which the cost of a move is spread, unless the file says otherwise: a month, the term of a bill. Over
twice as many a move costs half per hour, and smaller savings are worth it."""

SETTINGS = ("max_batch", "chunk_tokens", "memory_fraction", "poll_steps", "stream_interval")
"""Fields of a service that set its engine, which starts by itself without them."""

_STRICT = ConfigDict(extra="forbid")
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@validated(frozen=True, config=_STRICT)
class CurrentService:
    """One service of today's fleet.

    usd_per_device_h: what is paid for a device; if not given, what so many cost by the offer of the site that is
    cheapest for all of them, with what comes together.  provider: whose offer; of those that a company can rent from,
    if not given.
    poll_steps: decode steps between two looks at the queue of new requests, the engine's own if not given.
    stream_interval: tokens of a streamed piece, the engine's own if not given.
    """

    model: str
    accelerator: str
    site: str
    replicas: int = Field(ge=1)
    engine: str = "vllm"
    term: Term = "on_demand"
    tp: int = 1
    pp: int = 1
    dp: int = 1
    ep: int = 1
    weights: str = "bf16"
    experts: str | None = None
    activations: str = "bf16"
    kv: str = "bf16"
    max_batch: int | None = None
    chunk_tokens: int | None = None
    poll_steps: Annotated[int, Field(ge=1)] | None = None
    stream_interval: Annotated[int, Field(ge=1)] | None = None
    memory_fraction: Annotated[float, Field(gt=0, le=1)] | None = None
    usd_per_device_h: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    provider: str = ""


@validated(frozen=True, config=_STRICT)
class MovingTerms:
    """What a move to another fleet costs.

    overlap_h: hours for which replicas that come are paid beside those that go.  usd: for everything else, such as
    people's time.  spread_h: hours over which the cost is spread.
    """

    overlap_h: NotNegative = OVERLAP_H
    usd: NotNegative = 0.0
    spread_h: Annotated[float, Field(gt=0, allow_inf_nan=False)] = SPREAD_H


@validated(frozen=True, config=_STRICT)
class CurrentFleetFile:
    """Today's fleet, as a TOML file lists it under `[[services]]`, and what moving from it costs (`[moving]`)."""

    services: tuple[CurrentService, ...] = Field(min_length=1)
    moving: MovingTerms = MovingTerms()


@dataclass(frozen=True, slots=True)
class CurrentFleet:
    """Today's fleet by ids, with the facts that they stand for, and what moving from it costs."""

    services: tuple[CurrentService, ...]
    library: FactLibrary
    moving: MovingTerms

    def __post_init__(self) -> None:
        for service in self.services:
            if what_if := self.library.accelerator(service.accelerator).what_if:
                raise InputError(f"a fleet of today does not run on {service.accelerator}: {what_if.why}")

    def with_moving_usd(self, usd: float) -> CurrentFleet:
        """The fleet, from which a move costs so many dollars beside the rent of the overlap.

        Raises:
            InputError: it is no amount.
        """
        if not 0 <= usd < float("inf"):
            raise InputError(f"--moving-usd {usd:g}: an amount of 0 or more")
        return replace(self, moving=replace(self.moving, usd=usd))


NAMED = {"model": "models", "accelerator": "accelerators", "engine": "engines", "site": "sites"}
"""Field of a service -> kind of fact that it names."""


def _fleet_file(path: Path) -> CurrentFleetFile:
    """The file by its schema.

    Raises:
        FactError: every fault of it, and every name that stands for nothing.
    """
    document = parse_toml(path)
    unknown = name_faults(_names(document.get("services")), path)
    try:
        found = build(CurrentFleetFile, document, path.name)
    except FactError as error:
        raise one_error([*error.faults, *unknown]) from error
    if unknown:
        raise one_error(unknown)
    return found


def _names(services: Any) -> Iterator[tuple[str, str, str]]:
    """Field, kind of fact and name, of what a file has for services."""
    for place, service in enumerate(services if isinstance(services, list) else ()):
        for field, kind in NAMED.items():
            if isinstance(service, Mapping) and isinstance(name := service.get(field), str):
                yield f"services.{place}.{field}", kind, name


def load_current(path: Path) -> CurrentFleet:
    """Today's fleet from its file; paths in it are relative to the file.

    Raises:
        FactError: names file, line, field and what is allowed, for all faults; among them names that are neither an id,
            a repository nor a file.
    """
    with fault_lines(path):
        file = _fleet_file(path)
    entries: list[FactEntry] = []

    def id_of(kind: str, name: str) -> str:
        entries.append(resolve(kind, name, path.parent))
        return entries[-1].id

    services = tuple(
        replace(
            service,
            model=id_of("models", service.model),
            accelerator=id_of("accelerators", service.accelerator),
            engine=id_of("engines", service.engine),
            site=id_of("sites", service.site),
        )
        for service in file.services
    )
    return CurrentFleet(services, SHIPPED.with_entries(entries), file.moving)


def deployment_of(running: CurrentService, library: FactLibrary) -> Deployment:
    """A service of today as a deployment, at the price that is paid.

    Raises:
        UnsupportedError: it has no price, or does not fit.
    """
    place, facts = library.site(running.site), library.engine(running.engine)
    engine = EngineSettings.default(facts)
    said = {name: getattr(running, name) for name in SETTINGS}
    engine = replace(engine, **{name: value for name, value in said.items() if value})
    replica = ModelReplica(
        library.model(running.model),
        library.accelerator(running.accelerator),
        PrecisionRecipe(running.weights, running.experts or running.weights, running.activations, running.kv),
        ParallelLayout(running.tp, running.pp, running.dp, running.ep),
        engine,
        library,
    )
    return Deployment(replica, memory(replica), place, _offer(running, place, replica))


def _offer(running: CurrentService, place: Site, replica: ModelReplica) -> AcceleratorOffer:
    """The price that is paid: the fleet's own, else the site's offer.

    Raises:
        UnsupportedError: the fleet states none and the site has none.
        UnknownIdError: nobody of the provider's name rents anything out there.
    """
    if running.usd_per_device_h is None:
        if running.provider and running.provider not in place.providers:
            raise UnknownIdError("provider", running.provider, place.providers, f"a provider of {place.id}")
        sellers = SellerAllowlist((running.provider,)) if running.provider else COMPANIES
        replicas = running.replicas, replica.layout.devices
        return place.offer_for_fleet(replica.device, running.term, replicas, sellers)
    own = running.usd_per_device_h / HOUR_S
    return AcceleratorOffer(running.accelerator, running.term, own, date.min, "as the fleet's file states")

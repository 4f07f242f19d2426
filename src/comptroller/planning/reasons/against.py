"""Compare a plan with the fleet that runs today: what it costs, whether it carries the demand, what changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.costs.timing import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.facts.library import SHIPPED, FactLibrary, resolve
from comptroller.facts.reader import FactEntry, build, parse_toml
from comptroller.facts.site import Term
from comptroller.planning.ground.executor import no_progress
from comptroller.planning.ground.nouns import Deployment, Goal
from comptroller.planning.offer.deployments import RejectionTally
from comptroller.planning.offer.evaluation import build_table
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.offer.requests import load_of, once_space
from comptroller.planning.solve.highs import EXACT, solve
from comptroller.planning.solve.program import pose
from comptroller.planning.solve.search import PlanSearch
from comptroller.work.demand import TrafficDemand

MOST = 1024.0
"""Factor on the demand beyond which it does not matter how much more is carried."""

PRECISION = 1e-3
"""Of the factor: a tenth of a per cent is less than the model's own error by a factor of ten at least."""

_STRICT = ConfigDict(extra="forbid")


@validated(frozen=True, config=_STRICT)
class CurrentService:
    """One service of today's fleet."""

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


@validated(frozen=True, config=_STRICT)
class CurrentFleetFile:
    """Today's fleet, as a TOML file lists it under `[[services]]`."""

    services: tuple[CurrentService, ...] = Field(min_length=1)


@dataclass(frozen=True, slots=True)
class CurrentFleet:
    """Today's fleet by ids, with the facts that they stand for."""

    services: tuple[CurrentService, ...]
    library: FactLibrary


@dataclass(frozen=True, slots=True)
class FleetComparison:
    """Today's fleet beside the plan.

    usd_per_h: what it costs.  carries: demand it can carry within the objectives, as a share of the workload's.
    changes: one line per service that goes, comes or is resized.  saves_usd_per_h: positive if the plan is cheaper.
    """

    usd_per_h: float
    carries: float
    changes: tuple[str, ...]
    saves_usd_per_h: float


def load_current(path: Path) -> CurrentFleet:
    """Today's fleet from its file; paths in it are relative to the file.

    Raises:
        FactError: names file, field and what is allowed.
        UnknownIdError: a name is neither an id, a repository nor a file.
    """
    file = build(CurrentFleetFile, parse_toml(path), path.name)
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
    return CurrentFleet(services, SHIPPED.with_entries(entries))


def compare(
    current: CurrentFleet,
    planned: dict[str, int],
    usd_per_h: float,
    problem: tuple[TrafficDemand, Goal],
    calibration: TimingCalibration,
) -> FleetComparison:
    """Price today's fleet at today's offers and see what share of the demand it carries.

    planned: replicas by deployment id of the plan.  usd_per_h: the plan's price.  problem: what must be carried.
    """
    traffic, goal = problem
    deployments = [_deployment(x, current.library) for x in current.services]
    counts = [x.replicas for x in current.services]
    table = build_table(deployments, load_of(traffic), goal.targets, calibration, RejectionTally(), no_progress)
    search = PlanSearch(once_space(DeploymentOffers(table), traffic))
    price = sum(
        x.offer.usd_per_s * 3600.0 * x.replica.layout.devices * n for x, n in zip(deployments, counts, strict=True)
    )
    have: dict[str, int] = {}
    for deployment, count in zip(deployments, counts, strict=True):
        have[deployment.id] = have.get(deployment.id, 0) + count
    carries = carried_demand_factor(search, goal, counts)
    return FleetComparison(price, carries, _changes(have, planned), price - usd_per_h)


def carried_demand_factor(search: PlanSearch, goal: Goal, replicas: Sequence[int]) -> float:
    """Largest factor on the demand that so many replicas of each deployment carry, by bisection to one per mille."""
    low, high = 0.0, 1.0
    while _carries(search, goal, replicas, high) and high < MOST:
        low, high = high, high * 2
    while high - low > PRECISION * high and high > PRECISION:
        middle = (low + high) / 2
        low, high = (middle, high) if _carries(search, goal, replicas, middle) else (low, middle)
    return low


def _carries(search: PlanSearch, goal: Goal, replicas: Sequence[int], demand: float) -> bool:
    """Whether replicas carry a demand within the objectives: parts of a rented unit count, for they are there."""
    try:
        case, _ = search.case(replace(goal, demand=demand, limits=()))
    except InfeasibleError:
        return False
    ((model, offers),) = search.space.offers.items()
    market = offers.market(case.goal)
    market = market.only(np.flatnonzero(market.fits.all(axis=0)))
    units = np.array(replicas) / offers.unit.replicas
    posed = pose(case.with_markets({model: market}))
    program = posed.fixed({model: units[market.rows][None]}).relaxation
    return solve(program, EXACT).values is not None


def _changes(have: dict[str, int], planned: dict[str, int]) -> tuple[str, ...]:
    lines = []
    for name in dict.fromkeys((*have, *planned)):
        before, after = have.get(name, 0), planned.get(name, 0)
        if before != after:
            verb = "add" if not before else "remove" if not after else "resize"
            lines.append(f"{verb} {name}: {before} -> {after} replicas")
    return tuple(lines)


def _deployment(running: CurrentService, library: FactLibrary) -> Deployment:
    place, facts = library.site(running.site), library.engine(running.engine)
    engine = EngineSettings.default(facts)
    if running.max_batch:
        engine = replace(engine, max_batch=running.max_batch)
    replica = ModelReplica(
        library.model(running.model),
        library.accelerator(running.accelerator),
        PrecisionRecipe(running.weights, running.experts or running.weights, running.activations, running.kv),
        ParallelLayout(running.tp, running.pp, running.dp, running.ep),
        engine,
        library,
    )
    return Deployment(replica, memory(replica), place, place.offer(running.accelerator, running.term))

"""Compare a plan with the fleet that runs today: what it costs, whether it carries the demand, what changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass as validated

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.deployment import EngineSettings, ModelReplica, ParallelLayout, PrecisionRecipe
from comptroller.costs.memory import memory
from comptroller.costs.timing import TimingCalibration
from comptroller.errors import InfeasibleError
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.reader import build, parse_toml
from comptroller.facts.site import Term, site
from comptroller.planning.candidates import Deployment, RejectionTally
from comptroller.planning.search import FleetSearch, Goal
from comptroller.planning.table import build_table

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
class CurrentFleet:
    """Today's fleet, as a TOML file lists it under `[[services]]`."""

    services: tuple[CurrentService, ...] = Field(min_length=1)


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
    """Today's fleet from its file.

    Raises:
        FactError: names file, field and what is allowed.
    """
    return build(CurrentFleet, parse_toml(path), path.name)


def compare(
    current: CurrentFleet,
    planned: dict[str, int],
    usd_per_h: float,
    load: SlicedLoad,
    goal: Goal,
    calibration: TimingCalibration,
) -> FleetComparison:
    """Price today's fleet at today's offers and see what share of the demand it carries.

    planned: replicas by candidate id of the plan; usd_per_h: the plan's price.
    """
    candidates = [_candidate(x) for x in current.services]
    counts = [x.replicas for x in current.services]
    search = FleetSearch(build_table(candidates, load, goal.targets, calibration, RejectionTally(), _quiet))
    price = sum(
        c.offer.usd_per_s * 3600.0 * c.replica.layout.devices * n for c, n in zip(candidates, counts, strict=True)
    )
    have: dict[str, int] = {}
    for candidate, count in zip(candidates, counts, strict=True):
        have[candidate.id] = have.get(candidate.id, 0) + count
    return FleetComparison(
        price, _carried_demand_factor(search, goal, counts), _changes(have, planned), price - usd_per_h
    )


def _carried_demand_factor(search: FleetSearch, goal: Goal, counts: list[int]) -> float:
    """Largest factor on the demand that the fleet carries, by bisection to one per mille."""
    low, high = 0.0, 1.0
    while _holds(search, goal, counts, high) and high < 1024:
        low, high = high, high * 2
    while high - low > 1e-3 * high and high > 1e-3:
        middle = (low + high) / 2
        low, high = (middle, high) if _holds(search, goal, counts, middle) else (low, middle)
    return low


def _holds(search: FleetSearch, goal: Goal, counts: list[int], demand: float) -> bool:
    try:
        search.solve(replace(goal, demand=demand, limits=()), most=counts)
    except InfeasibleError:
        return False
    return True


def _changes(have: dict[str, int], planned: dict[str, int]) -> tuple[str, ...]:
    lines = []
    for name in dict.fromkeys((*have, *planned)):
        before, after = have.get(name, 0), planned.get(name, 0)
        if before != after:
            verb = "add" if not before else "remove" if not after else "resize"
            lines.append(f"{verb} {name}: {before} -> {after} replicas")
    return tuple(lines)


def _candidate(running: CurrentService) -> Deployment:
    place, facts = site(running.site), engine_facts(running.engine)
    engine = EngineSettings.default(facts)
    if running.max_batch:
        engine = replace(engine, max_batch=running.max_batch)
    replica = ModelReplica(
        model(running.model),
        accelerator(running.accelerator),
        PrecisionRecipe(running.weights, running.experts or running.weights, running.activations, running.kv),
        ParallelLayout(running.tp, running.pp, running.dp, running.ep),
        engine,
    )
    return Deployment(replica, memory(replica), place, place.offer(running.accelerator, running.term))


def _quiet(done: int, total: int) -> None:
    """No progress for a handful of candidates."""

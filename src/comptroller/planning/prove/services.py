"""The services of a fleet: what each deployment in use gets to do, and where it operates then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from math import lcm
from typing import Literal

import numpy as np

from comptroller.costs.capacity import SlicedLoad
from comptroller.costs.deployment import ClockSetting, PrefixStore, SpeculativeDecoding
from comptroller.costs.money import carbon_g
from comptroller.costs.operating import OperatingPoint, operating_point
from comptroller.costs.replica_timer import TimingCalibration
from comptroller.costs.split_pools import prompt_pool_replica
from comptroller.launch import ServingPhase, line
from comptroller.launch import with_policies as launched_by
from comptroller.planning.ground.nouns import Bools, Deployment, Fleet, Floats, Goal, Ints
from comptroller.planning.ground.service_document import (
    AdapterDocument,
    CacheTierDocument,
    DeploymentDocument,
    EngineDocument,
    PoolDocument,
    PriceDocument,
    RecipeDocument,
    ServiceDocument,
    SliceDocument,
    SpeculationDocument,
)
from comptroller.planning.offer.evaluation import DeploymentTable
from comptroller.planning.offer.intervals import ReplicaIntervals
from comptroller.planning.offer.market import DeploymentOffers
from comptroller.planning.solve.problem import PlanningProblem
from comptroller.quantities import short

LEAST_CALLS_PER_S = 1e-9
"""Calls below this are rounding of the solver, not a share of a service."""

LEAST_RATE_PER_S = 1e-12
"""In place of a rate of zero, where something is divided by it."""

SHARING = "bounded_hash"
"""Routing where calls on a question find each other's cache: a question's calls go to one replica while that is not far
busier than the others, as the gateway sends them."""


@dataclass(frozen=True)
class ModelServices:
    """The own services of one model: what stands in the plan, where each operates, its deployment, its calls."""

    services: tuple[ServiceDocument, ...]
    states: tuple[OperatingPoint, ...]
    deployments: tuple[Deployment, ...]
    calls_per_s: Floats

    @property
    def residence_s(self) -> float:
        """The longest mean time of a call on one of the services."""
        return max(
            s.ttft_s.value + s.tpot_s.value * s.output_tokens_per_s / max(s.rate_per_s, LEAST_RATE_PER_S)
            for s in self.services
        )


@dataclass(frozen=True)
class ServiceLoad:
    """What the deployments of one model get: loads by bucket and, (buckets, deployments), calls per second of each.

    longest_tokens: the longest request, input and output, that every service must take.  calibration: what priced them.
    """

    offers: DeploymentOffers
    load: SlicedLoad
    calls_per_s: Floats
    longest_tokens: float
    calibration: TimingCalibration


def services_of(problem: PlanningProblem, fleet: Fleet) -> dict[int, ModelServices]:
    """The own services of every model, at the calls they get at the demand itself."""
    shared = bool(shared_block_tokens(problem, fleet))
    return {model: _of_model(problem, fleet, model, shared) for model in fleet.units}


def _of_model(problem: PlanningProblem, fleet: Fleet, model: int, shared: bool) -> ModelServices:
    buckets = problem.space.buckets[model]
    calls = fleet.calls_per_s[model][0] / problem.goal.sizing
    load = replace(buckets.load, rate_per_s=np.maximum(calls.sum(axis=1), LEAST_RATE_PER_S))
    offers = problem.space.offers[model]
    what = ServiceLoad(offers, load, calls, buckets.longest_tokens, problem.steps)
    return model_services(problem, what, fleet.units[model][0], shared)


def model_services(problem: PlanningProblem, what: ServiceLoad, units: Ints, shared: bool) -> ModelServices:
    """Units, (deployments,), as the services of one model. shared: whether calls find each other's blocks."""
    rows, offers, calls = np.flatnonzero(units), what.offers, what.calls_per_s
    pairs = [service_of(what, int(row), int(units[row]), problem.goal) for row in rows]
    chosen = ({"routing": SHARING} if shared else {}) | problem.workload.policies.by_decision
    services = tuple(with_policies(service, chosen) for service, _ in pairs)
    deployments = tuple(offers.deployments[row] for row in rows)
    return ModelServices(services, tuple(state for _, state in pairs), deployments, calls.sum(axis=0)[rows])


def shared_block_tokens(problem: PlanningProblem, fleet: Fleet) -> int:
    """Tokens of the prefix blocks that calls of the plan share on its fleets; 0 where none are found."""
    blocks = [
        problem.space.buckets[model].block_tokens
        for model, calls in fleet.calls_per_s.items()
        if cached_share(problem, model, calls[0]) > 0
    ]
    return lcm(*blocks) if blocks else 0


def cached_share(problem: PlanningProblem, model: int, calls_per_s: Floats) -> float:
    """Share of the prompt tokens of a model's calls, (buckets, deployments), that is found in a cache."""
    return cached_share_of(problem.space.buckets[model].load, problem.space.offers[model].deployments, calls_per_s)


def cached_share_of(load: SlicedLoad, deployments: Sequence[Deployment], calls_per_s: Floats) -> float:
    """The same of calls in the slices of a load on any deployments."""
    requests = load.requests
    keeps = np.array([item.replica.prefix_block_tokens > 0 for item in deployments])
    cached = (calls_per_s[:, keeps].sum(axis=1) * requests.cached_tokens).sum()
    return float(cached / max((calls_per_s.sum(axis=1) * requests.input_tokens).sum(), LEAST_RATE_PER_S))


def with_policies(service: ServiceDocument, chosen: Mapping[str, str]) -> ServiceDocument:
    """The service with some decisions made by other policies, and the lines that start it so.

    A policy that its engine is not known to follow makes it a what-if.
    """
    policies = tuple((decision, chosen.get(decision, name)) for decision, name in service.deployment.policies)
    deployment = service.deployment.model_copy(update={"policies": policies})
    lines = launched_by(service.launch, dict(policies))
    return service.model_copy(update={"deployment": deployment, "launch": lines})


def service_of(what: ServiceLoad, row: int, units: int, goal: Goal) -> tuple[ServiceDocument, OperatingPoint]:
    """One deployment with its units as a service, and where it operates."""
    table, load = what.offers.table, what.load
    per_replica, column = table.best(goal.targets)
    capacity = per_replica[row, : len(load.rate_per_s)]
    replicas = round(units * what.offers.unit.replicas[row])
    deployment = what.offers.deployments[row].with_batch(int(table.cap[row, column[row]]))
    rate = what.calls_per_s[:, row]
    served = rate > LEAST_CALLS_PER_S * np.maximum(load.rate_per_s, 1.0)
    own = SlicedLoad(
        load.requests.only(served), rate[served] / replicas, load.arrival_cv, working_tokens=load.working_tokens
    )
    state = operating_point(table.ready[row], own, goal.targets, deployment.site.pue, deployment.pools)
    watts, bands = state.w * replicas, ReplicaIntervals.of(deployment.replica, what.calibration)
    offer = deployment.offer
    service = ServiceDocument(
        id=deployment.id,
        deployment=_deployment_document(deployment, replicas, int(what.longest_tokens)),
        price=PriceDocument(
            provider=offer.provider,
            instance=offer.instance,
            term=offer.term,
            usd_per_device_h=short(offer.usd_per_s * 3600.0),
            since=offer.since.isoformat(),
        ),
        usd_per_h=short(what.offers.unit.usd_per_h[row] * units),
        rate_per_s=short(rate.sum()),
        utilisation=short(_utilisation(table, goal, row, rate, served) / replicas),
        batch=short(state.batch),
        kv_capacity_tokens=deployment.memory.kv_capacity_tokens,
        ttft_s=bands.ttft.around(state.ttft_s),
        tpot_s=bands.tpot.around(state.tpot_s),
        output_tokens_per_s=short(float((rate * load.requests.output_tokens).sum())),
        w=bands.w.around(watts),
        gco2e_per_h=short(float(carbon_g(watts * 3600.0, deployment.site.grid_gco2e_per_j))),
        slices=tuple(_slices(load, rate, capacity)),
        launch=launch_of(deployment, int(what.longest_tokens)),
    )
    return service, state


def _utilisation(table: DeploymentTable, goal: Goal, row: int, rate: Floats, served: Bools) -> float:
    """Replicas that a service's calls fill; of split pools those of the fuller one."""
    per_replica, column = table.best(goal.targets)
    busy = float((rate[served] / per_replica[row, : len(rate)][served]).sum())
    return max(busy, float((rate / table.prefill_per_s[row, : len(rate), column[row]]).sum()))


def _phases(deployment: Deployment, replicas: int) -> tuple[tuple[Literal["mixed", "prefill", "decode"], int], ...]:
    """The pools of a service and their replicas."""
    if deployment.pools is None:
        return (("mixed", replicas),)
    ratio = deployment.pools.ratio
    return (("prefill", ratio.prefill * replicas), ("decode", ratio.decode * replicas))


def launch_of(deployment: Deployment, context_tokens: int) -> str:
    """The command of a replica; of split pools a line for each."""
    if deployment.pools is None:
        return line(deployment.replica, context_tokens)
    prompts = prompt_pool_replica(deployment.replica)
    return "\n".join(
        line(replica, context_tokens, phase)
        for replica, phase in ((prompts, ServingPhase.PREFILL), (deployment.replica, ServingPhase.DECODE))
    )


def _speculation_document(drafts: SpeculativeDecoding | None) -> SpeculationDocument | None:
    if drafts is None:
        return None
    draft = drafts.draft.id if drafts.draft else None
    return SpeculationDocument(tokens=drafts.tokens, acceptance=drafts.acceptance, draft=draft)


def _slices(load: SlicedLoad, rate: Floats, capacity: Floats) -> Iterator[SliceDocument]:
    share = rate / load.rate_per_s
    for i in np.flatnonzero(share > LEAST_CALLS_PER_S):
        yield SliceDocument(
            input_tokens=short(load.requests.input_tokens[i]),
            output_tokens=short(load.requests.output_tokens[i]),
            rate_per_s=short(load.rate_per_s[i]),
            share=short(share[i]),
            capacity_per_replica_per_s=short(capacity[i]),
        )


def _tier_documents(store: PrefixStore | None) -> tuple[CacheTierDocument, ...]:
    return () if store is None else (CacheTierDocument(tier=store.name, gb=short(store.size_bytes / 1e9)),)


def _deployment_document(deployment: Deployment, replicas: int, context_tokens: int) -> DeploymentDocument:
    replica = deployment.replica
    recipe, engine, layout = replica.recipe, replica.engine, replica.layout
    setting, own = replica.clock or ClockSetting(), replica.library.engine(engine.id)
    return DeploymentDocument(
        model=replica.model.id,
        recipe=RecipeDocument(
            weights=recipe.weights, experts=recipe.experts, activations=recipe.activations, kv=recipe.kv
        ),
        engine=EngineDocument(
            id=engine.id,
            version=engine.version,
            max_batch=engine.max_batch,
            chunk_tokens=engine.chunk_tokens,
            memory_fraction=short(engine.memory_fraction),
            context_tokens=context_tokens,
            speculation=_speculation_document(engine.speculation),
            adapters=AdapterDocument(**asdict(engine.adapters)) if engine.adapters else None,
            eager=engine.eager,
            poll_steps=engine.poll_steps if engine.poll_steps != own.poll_steps else None,
            stream_interval=engine.stream_interval if engine.stream_interval != own.stream_interval else None,
            offload_gib=short(engine.offload_bytes / 2**30) if engine.offload_bytes else None,
        ),
        pools=tuple(
            PoolDocument(
                phase=phase,
                accelerator=replica.device.id,
                tp=layout.tp,
                pp=layout.pp,
                dp=layout.dp,
                ep=layout.ep,
                replicas=count,
                clock_mhz=setting.clock_hz and short(setting.clock_hz / 1e6),
                power_limit_w=setting.limit_w,
            )
            for phase, count in _phases(deployment, replicas)
        ),
        policies=(("batching", "chunked"), ("routing", "least_request"), ("scheduling", "fcfs")),
        site=deployment.site.id,
        cache_tiers=_tier_documents(engine.prefix_store),
    )

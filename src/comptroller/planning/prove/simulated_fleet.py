"""From a plan's services to a fleet that can be simulated, and to the calls it will get."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.memory import memory
from comptroller.costs.replica_timer import TimingCalibration, replica_timer
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import SiteRates, tabulate
from comptroller.errors import UnknownIdError
from comptroller.facts.library import SHIPPED, FactLibrary
from comptroller.planning.ground.plan_calibration import replica_of_pool
from comptroller.planning.ground.service_document import PoolDocument, ServiceDocument
from comptroller.planning.prove.cache_stores import require_one_pool, stores_of_tiers
from comptroller.planning.prove.pool_links import transfer_bytes_per_s
from comptroller.serving.fleet import BlockStore, ServingPolicies, SimulatedFleet, SimulatedReplica
from comptroller.serving.fleet import SimulatedService as Simulated
from comptroller.serving.jobs import calls_of as whole
from comptroller.serving.state import PoolRole
from comptroller.work.call import CallTable
from comptroller.work.trace import NO_SESSION, RequestTrace

DECISIONS = ("routing", "batching", "scheduling", "handoff")
"""What a plan may name a policy for; `handoff` is routing within the decode pools."""

PHASES = {"mixed": PoolRole.MIXED, "prefill": PoolRole.PROMPT, "decode": PoolRole.TOKEN}


class StepTableCache:
    """Step tables of pools, each made once: fleets that are tried one after the other share most of them.

    library: the facts that the ids in the services stand for.
    """

    def __init__(self, calibration: TimingCalibration, library: FactLibrary = SHIPPED) -> None:
        self.library, self._calibration = library, calibration
        self._known: dict[tuple[object, ...], StepTable] = {}

    def of(self, service: ServiceDocument, pool: PoolDocument) -> StepTable:
        """The step table of one data-parallel rank of a replica; dollars and watts shared among ranks."""
        deployment = service.deployment
        one = pool.model_copy(update={"replicas": 1})
        shape = (deployment.model, deployment.recipe, deployment.engine, deployment.site, one, len(deployment.pools))
        if len(deployment.pools) > 1 or shape not in self._known:
            self._known[shape] = table_of(service, pool, self._calibration, self.library)
        usd_per_s = _usd_per_s(service, pool) / pool.dp
        held = _usual_kv_tokens(service)
        return replace(self._known[shape], in_flight=service.batch, usual_kv_tokens=held, usd_per_s=usd_per_s)


def fleet_of(
    services: Sequence[ServiceDocument],
    calibration: TimingCalibration,
    library: FactLibrary = SHIPPED,
    prefix_block_tokens: int = 0,
) -> SimulatedFleet:
    """The services as the simulator runs them: a step table for each pool, replicas, policies.

    library: the facts that the ids in the services stand for.

    Raises:
        InputError: an id in the plan is unknown, a policy has no file, or prefill and decode pools do not pair up.
        UnsupportedError: no known link joins the pools of a split service.
    """
    return fleet_of_tables(services, StepTableCache(calibration, library), prefix_block_tokens)


def fleet_of_tables(
    services: Sequence[ServiceDocument], tables: StepTableCache, prefix_block_tokens: int = 0
) -> SimulatedFleet:
    """The same, with step tables that may be known; raises as `fleet_of`."""
    require_one_pool(services)
    simulated = tuple(Simulated(service.id, _replicas(service, tables)) for service in services)
    policies = _policies(dict(services[0].deployment.policies))
    shared = _tier_stores(services[0], services[0].deployment.pools[0], tables)[1]
    return SimulatedFleet(simulated, policies, prefix_block_tokens=prefix_block_tokens, shared_store=shared)


def _tier_stores(
    service: ServiceDocument, pool: PoolDocument, tables: StepTableCache
) -> tuple[tuple[BlockStore, ...], BlockStore | None]:
    """The stores of each rank of a pool's replicas, and the one that is shared."""
    tiers = service.deployment.cache_tiers
    if not tiers:
        return (), None
    device = tables.library.accelerator(pool.accelerator)
    return stores_of_tiers(tiers, device, tables.of(service, pool), pool.dp)


def fleet_for_prefixes(
    services: Sequence[ServiceDocument], tables: StepTableCache, trace: RequestTrace
) -> SimulatedFleet:
    """The fleet that keeps the blocks of a trace where its engines keep prefixes by default; raises as `fleet_of`."""
    if trace.blocks is None:
        return fleet_of_tables(services, tables)
    return with_default_prefix_caching(fleet_of_tables(services, tables, trace.blocks.tokens), services, tables.library)


def with_default_prefix_caching(
    fleet: SimulatedFleet, services: Sequence[ServiceDocument], library: FactLibrary
) -> SimulatedFleet:
    """The fleet in which only such replicas keep prefixes whose engine does by default, with their model."""
    kept = [
        [
            bool(replica_of_pool(service.deployment, pool, library).prefix_block_tokens)
            for pool in service.deployment.pools
        ]
        for service in services
    ]
    simulated = tuple(
        replace(one, replicas=tuple(replace(replica, prefixes=all(keeps)) for replica in one.replicas))
        for one, keeps in zip(fleet.services, kept, strict=True)
    )
    return replace(fleet, services=simulated)


def _policies(chosen: Mapping[str, str]) -> ServingPolicies:
    unknown = set(chosen) - set(DECISIONS)
    if unknown:
        raise UnknownIdError("decision for a policy", min(unknown), DECISIONS)
    return ServingPolicies(*(chosen.get(decision, getattr(ServingPolicies(), decision)) for decision in DECISIONS))


def _replicas(service: ServiceDocument, tables: StepTableCache) -> tuple[SimulatedReplica, ...]:
    replicas: list[SimulatedReplica] = []
    for pool in service.deployment.pools:
        table = tables.of(service, pool)
        drafts = service.deployment.engine.speculation
        one = SimulatedReplica(table, ranks=pool.dp, pool=PHASES[pool.phase])
        if PHASES[pool.phase] != PoolRole.TOKEN:  # only prompts have beginnings to load
            one = replace(one, stores=_tier_stores(service, pool, tables)[0])
        if drafts is not None:
            one = replace(one, draft_tokens=drafts.tokens, acceptance=drafts.acceptance)
        replicas += [one] * pool.replicas
    return tuple(replicas)


def _usual_kv_tokens(service: ServiceDocument) -> float:
    """Cached tokens of the requests that a replica holds on average: prompts, and half of what is written."""
    rate = sum(part.rate_per_s for part in service.slices)
    tokens = sum(part.rate_per_s * (part.input_tokens + part.output_tokens / 2) for part in service.slices)
    return service.batch * tokens / rate if rate else 0.0


def table_of(
    service: ServiceDocument, pool: PoolDocument, calibration: TimingCalibration, library: FactLibrary
) -> StepTable:
    """The step table of one data-parallel rank of a replica; dollars and watts shared among ranks."""
    deployment = service.deployment
    priced = replica_of_pool(deployment, pool, library)
    place, held = library.site(deployment.site), memory(priced)
    terms = SiteRates(_usd_per_s(service, pool), place.pue, place.grid_gco2e_per_j * 1.0)
    longest = deployment.engine.context_tokens or priced.model.context_tokens
    ready = replica_timer(priced, calibration)
    table = tabulate(ready, held, terms, int(min(longest, held.longest_tokens)))
    table = replace(table, serving=ready.serving, in_flight=service.batch, usual_kv_tokens=_usual_kv_tokens(service))
    if len(deployment.pools) > 1:
        table = replace(table, transfer_bytes_per_s=transfer_bytes_per_s(service, pool, library))
    if pool.dp == 1:
        return table
    share = 1.0 / pool.dp
    return replace(
        table,
        decode_s=_per_rank(table.decode_s, table.max_batch, pool.dp),
        decode_j=_per_rank(table.decode_j, table.max_batch, pool.dp) * share,
        kv_knots_tokens=table.kv_knots_tokens * share,
        kv_capacity_tokens=table.kv_capacity_tokens // pool.dp,
        footprint=table.footprint and table.footprint.share(pool.dp),
        mixed_j=table.mixed_j * share,
        pair_j=table.pair_j * share,
        token_knots=table.token_knots * share,
        pair_knots=table.pair_knots * share,
        idle_w=table.idle_w * share,
        usd_per_s=table.usd_per_s * share,
    )


def _usd_per_s(service: ServiceDocument, pool: PoolDocument) -> float:
    """Rent of a replica: the service's, shared among its pools by devices and their prices."""
    rents = [
        other.devices * (other.usd_per_device_h or service.price.usd_per_device_h) for other in service.deployment.pools
    ]
    mine = pool.devices * (pool.usd_per_device_h or service.price.usd_per_device_h) / sum(rents)
    return service.usd_per_h * mine / 3600.0 / pool.replicas


def _per_rank(rows: npt.NDArray[np.float64], most: int, ranks: int) -> npt.NDArray[np.float64]:
    """Rows by the batch of one rank, where rows by the batch of all ranks are known: n x B, interpolated."""
    batch = np.minimum(np.arange(most + 1) * ranks, most)
    return rows[batch]


def calls_of(services: Sequence[ServiceDocument], trace: RequestTrace, rng: np.random.Generator) -> CallTable:
    """The requests of a trace, each sent to a service with the probability that the plan gives its size.

    The size of a request is the plan's slice whose mean input and output are nearest on a log scale. A session stays
    with the service that its first request is sent to, or no cache would know it again.
    """
    chosen = PlanCallRouter(services).services(trace.input_tokens, trace.output_tokens, rng)
    if trace.session is not None:
        _, first, member = np.unique(trace.session, return_index=True, return_inverse=True)
        chosen = np.where(trace.session == NO_SESSION, chosen, chosen[first][member])
    calls = whole(trace)
    names = {**calls.names, "service": tuple(service.id for service in services)}
    return CallTable({**calls.columns, "service": chosen}, names, calls.block_ids, calls.block_starts)


class PlanCallRouter:
    """Which service of a plan a call goes to, by its size: the slices' mean sizes and the services' shares of each."""

    def __init__(self, services: Sequence[ServiceDocument]) -> None:
        shares_by_size: dict[tuple[float, float], npt.NDArray[np.float64]] = {}
        for place, service in enumerate(services):
            for part in service.slices:
                row = shares_by_size.setdefault((part.input_tokens, part.output_tokens), np.zeros(len(services)))
                row[place] += part.share
        rows = np.array(list(shares_by_size.values()))
        self._sizes = np.log(np.array(list(shares_by_size), float))
        self._edges = (rows / rows.sum(axis=1, keepdims=True)).cumsum(axis=1)
        self._by_size = bool((self._edges != self._edges[0]).any())

    def services(
        self, inputs: npt.ArrayLike, outputs: npt.ArrayLike, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        """Places of the services that calls are sent to."""
        if self._edges.shape[1] == 1:
            return np.zeros(len(np.asarray(inputs)), np.int64)
        asked = np.log(np.stack([np.asarray(inputs), np.maximum(outputs, 1)], axis=1).astype(float))
        nearest = np.zeros(len(asked), np.int64)
        for part in range(0, len(asked) if self._by_size else 0, 65536):
            inputs_, outputs_ = (asked[part : part + 65536, None, k] - self._sizes[None, :, k] for k in (0, 1))
            nearest[part : part + 65536] = (inputs_ * inputs_ + outputs_ * outputs_).argmin(axis=1)
        drawn = (rng.uniform(size=len(asked))[:, None] > self._edges[nearest]).sum(axis=1)
        chosen: npt.NDArray[np.int64] = np.minimum(drawn, self._edges.shape[1] - 1)
        return chosen

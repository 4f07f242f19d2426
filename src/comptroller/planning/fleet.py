"""From a plan's services to a fleet that can be simulated, and to the calls it will get."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from comptroller.costs.deployment import Engine, Layout, Recipe
from comptroller.costs.deployment import Replica as Priced
from comptroller.costs.memory import memory
from comptroller.costs.steptable import StepTable
from comptroller.costs.tabulate import Terms, tabulate
from comptroller.costs.timing import Calibration, timed
from comptroller.facts.accelerator import accelerator
from comptroller.facts.config import model
from comptroller.facts.engine import engine_facts
from comptroller.facts.site import site
from comptroller.planning.plan import DeploymentDocument, PoolDocument, Service
from comptroller.serving.fleet import Fleet, Policies, Replica
from comptroller.serving.fleet import Service as Simulated
from comptroller.work.call import Calls
from comptroller.work.trace import Trace


def fleet_of(services: Sequence[Service], calibration: Calibration, prefix_block_tokens: int = 0) -> Fleet:
    """The services as the simulator runs them: a step table for each, replicas, policies.

    Raises:
        InputError: an id in the plan is unknown, or a policy has no file.
    """
    simulated = []
    for service in services:
        pool = service.deployment.pools[0]
        table = table_of(service, calibration)
        simulated.append(Simulated(service.id, (Replica(table, ranks=pool.dp),) * pool.replicas))
    chosen = dict(services[0].deployment.policies)
    policies = Policies(chosen["routing"], chosen["batching"], chosen["scheduling"])
    return Fleet(tuple(simulated), policies, prefix_block_tokens=prefix_block_tokens)


def table_of(service: Service, calibration: Calibration) -> StepTable:
    """The step table of one data-parallel rank of a service's replica; dollars and watts shared among ranks."""
    deployment = service.deployment
    pool = deployment.pools[0]
    priced = _priced(deployment, pool)
    place = site(deployment.site)
    terms = Terms(service.usd_per_h / 3600.0 / pool.replicas, place.pue, place.grid_gco2e_per_j * 1.0)
    table = tabulate(timed(priced, calibration), memory(priced), terms)
    if pool.dp == 1:
        return table
    share = 1.0 / pool.dp
    return replace(
        table,
        decode_s=_per_rank(table.decode_s, table.max_batch, pool.dp),
        decode_j=_per_rank(table.decode_j, table.max_batch, pool.dp) * share,
        kv_knots_tokens=table.kv_knots_tokens * share,
        kv_capacity_tokens=table.kv_capacity_tokens // pool.dp,
        mixed_j=table.mixed_j * share,
        pair_j=table.pair_j * share,
        token_knots=table.token_knots * share,
        pair_knots=table.pair_knots * share,
        idle_w=table.idle_w * share,
        usd_per_s=table.usd_per_s * share,
    )


def _per_rank(rows: npt.NDArray[np.float64], most: int, ranks: int) -> npt.NDArray[np.float64]:
    """Rows by the batch of one rank, where rows by the batch of all ranks are known: n x B, interpolated."""
    batch = np.minimum(np.arange(most + 1) * ranks, most)
    return rows[batch]


def calls_of(services: Sequence[Service], trace: Trace, rng: np.random.Generator) -> Calls:
    """The requests of a trace, each sent to a service with the probability that the plan gives its size.

    The size of a request is the plan's slice whose mean input and output are nearest on a log scale.
    """
    sizes, shares = _shares(services)
    asked = np.log(np.stack([trace.input_tokens, np.maximum(trace.output_tokens, 1)], axis=1).astype(float))
    nearest = np.empty(len(asked), np.int64)
    for part in range(0, len(asked), 65536):
        gap = asked[part : part + 65536, None, :] - np.log(sizes)[None, :, :]
        nearest[part : part + 65536] = (gap**2).sum(axis=2).argmin(axis=1)
    edges = shares.cumsum(axis=1)
    chosen = (rng.uniform(size=len(asked))[:, None] > edges[nearest]).sum(axis=1)
    blocks = None if trace.blocks is None else (trace.blocks.ids, trace.blocks.offsets)
    return Calls.of(
        names={"service": tuple(service.id for service in services)},
        blocks=blocks,
        arrival_s=trace.arrival_s,
        input_tokens=trace.input_tokens,
        output_tokens=trace.output_tokens,
        service=np.minimum(chosen, len(services) - 1),
    )


def _shares(services: Sequence[Service]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean sizes of the plan's slices, and the share of each slice that each service carries."""
    found: dict[tuple[float, float], npt.NDArray[np.float64]] = {}
    for place, service in enumerate(services):
        for part in service.slices:
            row = found.setdefault((part.input_tokens, part.output_tokens), np.zeros(len(services)))
            row[place] += part.share
    rows = np.array(list(found.values()))
    return np.array(list(found), float), rows / rows.sum(axis=1, keepdims=True)


def _priced(deployment: DeploymentDocument, pool: PoolDocument) -> Priced:
    recipe, settings = deployment.recipe, deployment.engine
    engine = replace(
        Engine.default(engine_facts(settings.id)),
        version=settings.version,
        max_batch=settings.max_batch,
        chunk_tokens=settings.chunk_tokens,
        memory_fraction=settings.memory_fraction,
    )
    return Priced(
        model(deployment.model),
        accelerator(pool.accelerator),
        Recipe(recipe.weights, recipe.experts, recipe.activations, recipe.kv),
        Layout(pool.tp, pool.pp, pool.dp, pool.ep),
        engine,
    )

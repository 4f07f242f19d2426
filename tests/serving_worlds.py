"""Random fleets and workloads for the tests of the simulator."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from hypothesis import strategies as st

from comptroller.costs.steptable import SequenceFootprint, StepTable
from comptroller.costs.timing import ServingOverheads
from comptroller.serving.fleet import (
    BlockStore,
    RouterTelemetry,
    ServingPolicies,
    SimulatedFleet,
    SimulatedReplica,
    SimulatedService,
    SplitThresholds,
)
from comptroller.serving.policies import names
from comptroller.serving.state import PoolRole
from comptroller.work.call import CallTable


def table(
    seed: int = 0, max_batch: int = 8, capacity: int = 512, block: int = 4, chunk: int = 32, context: int | None = None
) -> StepTable:
    """A step table with crooked rows."""
    rng = np.random.default_rng(seed)
    kv = np.array([0.0, 37.0, 120.0, 400.0, 3000.0])
    batches = np.arange(max_batch + 1)[:, None]
    rises = np.cumsum(rng.uniform(1e-6, 3e-5, (max_batch + 1, kv.size)) * np.diff(kv, prepend=0), axis=1)
    decode_s = 5e-3 + 2e-4 * batches + rises
    tokens, pairs = np.array([0.0, 16.0, 64.0, 4096.0]), np.array([0.0, 500.0, 1e6])
    mixed_s = 5e-3 + np.cumsum(rng.uniform(1e-5, 1e-4, 4) * np.diff(tokens, prepend=0))
    pair_s = np.cumsum(rng.uniform(1e-8, 1e-6, 3) * np.diff(pairs, prepend=0))
    return StepTable(
        kv_knots_tokens=kv,
        decode_s=decode_s,
        decode_j=decode_s * rng.uniform(300, 900, decode_s.shape).cumsum(axis=1),
        token_knots=tokens,
        mixed_s=mixed_s,
        mixed_j=mixed_s * 700,
        pair_knots=pairs,
        pair_s=pair_s,
        pair_j=pair_s * 900,
        idle_w=120.0,
        devices=1,
        kv_capacity_tokens=capacity,
        kv_block_tokens=block,
        max_batch=max_batch,
        chunk_tokens=chunk,
        kv_bytes_per_token=1e5,
        swap_bytes_per_s=2e9,
        transfer_bytes_per_s=4e9,
        usd_per_s=1e-3,
        gco2e_per_j=1e-4,
        context_tokens=context,
    )


@st.composite
def footprints(draw: st.DrawFn, made: StepTable) -> StepTable:
    """The table, or one whose sequences have windows, states, or both, and as much room as before."""
    if draw(st.booleans()):
        return made
    full, slid, state = draw(st.sampled_from([(3, 7, 0), (3, 7, 11), (0, 5, 0), (2, 0, 9), (0, 0, 4)]))
    parts = ((1 << 40, full), *(((draw(st.integers(1, 9)), slid),) if slid else ()))
    block = full + slid or 1
    room = state + made.kv_capacity_tokens // made.kv_block_tokens * block
    return dataclasses.replace(made, footprint=SequenceFootprint(room, block, state, parts))


@st.composite
def stores(draw: st.DrawFn) -> tuple[BlockStore, ...]:
    """None, or up to two, small enough to forget; their loads, and writes that take time, last from a step to many."""
    rates = draw(st.lists(st.sampled_from([1e8, 1e9]), max_size=draw(st.sampled_from([0, 0, 2]))))
    return tuple(
        BlockStore(draw(st.sampled_from([0, 16, 48, 4000])), rate, 1e-4, "store", *draw(writes())) for rate in rates
    )


def writes() -> st.SearchStrategy[tuple[float, bool]]:
    """Bytes/s at which a store is written, and whether loads do not wait for that."""
    return st.tuples(st.sampled_from([math.inf, 3e7, 5e8]), st.booleans())


def pools() -> st.SearchStrategy[BlockStore | None]:
    """A store that all share, or none."""
    return st.one_of(st.none(), st.none(), writes().map(lambda own: BlockStore(400, 3e8, 0.0, "pool", *own)))


@st.composite
def replicas(draw: st.DrawFn, block: int, pool: PoolRole = PoolRole.MIXED) -> SimulatedReplica:
    """One engine of any kind."""
    drafts = draw(st.sampled_from([0, 0, 0, 3]))
    swap = draw(st.sampled_from([0, 0, 30, 100, 10_000]))
    made = table(
        draw(st.integers(0, 5)),
        draw(st.integers(1, 6)),
        draw(st.sampled_from([64, 96, 200, 2000])),
        block,
        draw(st.sampled_from([4, 16, 64])),
        draw(st.sampled_from([None, 90])),
    )
    return SimulatedReplica(
        draw(footprints(made)),
        ranks=draw(st.sampled_from([1, 1, 1, 2, 3])),
        pool=pool,
        draft_tokens=drafts,
        acceptance=draw(st.sampled_from([0.0, 0.6, 1.0])) if drafts else 0.0,
        swap_tokens=swap,
        weight=draw(st.sampled_from([1.0, 2.5])),
        stores=draw(stores()),
        adapter_slots=0 if swap else draw(st.sampled_from([0, 0, 1, 2])),
        adapter_load_s=draw(st.sampled_from([0.0, 0.03])),
    )


@st.composite
def services(draw: st.DrawFn, name: str, block: int) -> SimulatedService:
    """Mixed, split into pools, or split over shared stores."""
    kind = draw(st.sampled_from(["mixed", "mixed", "split", "shared"]))
    if kind == "mixed":
        found = draw(st.lists(replicas(block), min_size=1, max_size=3))
        return SimulatedService(name, tuple(dataclasses.replace(one, prefixes=draw(st.booleans())) for one in found))
    if kind == "split":
        pools = [PoolRole.PROMPT, PoolRole.TOKEN, *draw(st.lists(st.sampled_from(list(PoolRole)), max_size=2))]
        return SimulatedService(name, tuple(draw(replicas(block, pool)) for pool in pools))
    pairs = []
    for storage in range(draw(st.integers(1, 2))):
        one = dataclasses.replace(draw(replicas(block, PoolRole.PROMPT)), ranks=1, storage=storage)
        batch = draw(st.integers(1, 6))
        decoder = dataclasses.replace(
            one.table,
            max_batch=batch,
            decode_s=_rows(one.table.decode_s, batch),
            decode_j=_rows(one.table.decode_j, batch),
        )
        pairs += [one, dataclasses.replace(one, pool=PoolRole.TOKEN, table=decoder)]
    return SimulatedService(name, tuple(pairs))


def _rows(values: np.ndarray, batch: int) -> np.ndarray:
    return np.vstack([values] * 7)[: batch + 1]


@st.composite
def fleets(draw: st.DrawFn) -> SimulatedFleet:
    """Any fleet the nouns allow, small enough to be short of memory."""
    block = draw(st.sampled_from([1, 4]))
    policies = ServingPolicies(
        routing=draw(st.sampled_from(names("routing"))),
        batching=draw(st.sampled_from(names("batching"))),
        scheduling=draw(st.sampled_from(names("scheduling"))),
        handoff=draw(st.sampled_from(names("routing"))),
        bound=draw(st.sampled_from([1.0, 1.25])),
        overlap=draw(st.sampled_from([0.5, 1.0])),
        evict_for_priority=draw(st.booleans()),
        seed=draw(st.integers(0, 99)),
    )
    period = draw(st.sampled_from([0.0, 0.0, 0.03, 0.2]))
    telemetry = RouterTelemetry(period, draw(st.sampled_from([0.0, 0.1])) if period else 0.0)
    made = tuple(draw(services(name, block)) for name in ("a", "b")[: draw(st.integers(1, 2))])
    split = SplitThresholds(draw(st.sampled_from([40, 8192])), draw(st.sampled_from([8, 2048])))
    prefix = draw(st.sampled_from([0, 4, 8]))
    if any(one.pool or one.storage is not None for service in made for one in service.replicas):
        policies = dataclasses.replace(policies, scheduling=policies.scheduling.replace("vtc", "fair_share"))
    shared = draw(pools())
    return SimulatedFleet(made, policies, telemetry, split, prefix, tenants=3, shared_store=shared)


@st.composite
def workloads(draw: st.DrawFn, fleet: SimulatedFleet, most: int = 25) -> CallTable:
    """Calls of all sorts: bursts, equal arrivals, waits, children, prefixes, some too long to serve."""
    count = draw(st.integers(1, most))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    rate = draw(st.sampled_from([2.0, 20.0, 200.0]))
    arrival = rng.exponential(1 / rate, count).cumsum()
    if draw(st.booleans()):
        arrival = np.round(arrival * 8) / 8
    if draw(st.booleans()):
        rng.shuffle(arrival)
    longest = draw(st.sampled_from([12, 40, 90]))
    waits = rng.random(count) < 0.1
    prompt = np.where(waits, 0, rng.integers(1, longest, count))
    output = np.where(waits, 0, rng.integers(1, longest, count))
    parent = np.where(
        rng.random(count) < draw(st.sampled_from([0.0, 0.3])), rng.integers(-1, np.arange(count) + 1) - 1, -1
    )
    named = any(replica.pool for _, replica in fleet.replicas()) and len(fleet.services) > 1
    services = tuple(service.name for service in fleet.services)
    starts, ids = _blocks(rng, prompt, output, fleet.prefix_block_tokens)
    ids <<= draw(st.sampled_from([0, 0, 20, 44]))
    return CallTable.of(
        {"service": services if named else ("", *services), "key": ("k0", "k1", "k2"), "adapter": ("", "x", "y", "z")},
        (ids, starts),
        arrival_s=arrival,
        wait_s=np.where(waits, rng.exponential(0.1, count), 0.0),
        input_tokens=prompt,
        output_tokens=output,
        predicted_tokens=np.where(rng.random(count) < 0.5, -1, rng.integers(0, longest, count)),
        parent=np.maximum(parent, -1),
        priority=rng.integers(0, 3, count),
        session=rng.integers(-1, 4, count),
        service=rng.integers(0, len(services) + (not named), count),
        key=rng.integers(0, 3, count),
        adapter=rng.integers(0, 4, count),
    )


@st.composite
def plain_fleets(draw: st.DrawFn) -> SimulatedFleet:
    """Fleets that `serving_reference` covers: mixed replicas of one rank, no drafts, swapping or old telemetry."""
    block = draw(st.sampled_from([1, 4]))
    engines = st.tuples(st.sampled_from([96, 200, 2000]), st.sampled_from([4, 16, 64]))
    members = tuple(
        SimulatedReplica(
            draw(footprints(table(draw(st.integers(0, 5)), draw(st.integers(1, 6)), capacity, block, chunk))),
            weight=draw(st.sampled_from([1.0, 2.5])),
            prefixes=draw(st.booleans()),
            stores=draw(stores()),
            adapter_slots=draw(st.sampled_from([0, 0, 1, 2])),
            adapter_load_s=0.03,
        )
        for capacity, chunk in draw(st.lists(engines, min_size=1, max_size=3))
    )
    policies = ServingPolicies(
        routing=draw(st.sampled_from(names("routing"))),
        batching=draw(st.sampled_from(names("batching"))),
        scheduling=draw(st.sampled_from(["fcfs", "priority", "shortest_job", "vtc"])),
        bound=draw(st.sampled_from([1.0, 1.25])),
        overlap=draw(st.sampled_from([0.5, 1.0])),
        seed=draw(st.integers(0, 99)),
    )
    prefix = draw(st.sampled_from([0, 4, 8]))
    shared = draw(pools())
    return SimulatedFleet(
        (SimulatedService("a", members),), policies, prefix_block_tokens=prefix, tenants=3, shared_store=shared
    )


@st.composite
def plain_workloads(draw: st.DrawFn, fleet: SimulatedFleet) -> CallTable:
    """Calls that every replica of the fleet holds, without waits and parents."""
    calls = draw(workloads(fleet))
    longest = min(replica.table.kv_capacity_tokens - replica.table.kv_block_tokens for _, replica in fleet.replicas())
    prompt, output = (np.clip(calls[name], 1, longest // 2) for name in ("input_tokens", "output_tokens"))
    alone = {"wait_s": np.zeros(len(calls)), "parent": np.full(len(calls), -1)}
    return calls.with_columns(input_tokens=prompt, output_tokens=output, **alone)


@st.composite
def waiting_workloads(draw: st.DrawFn, fleet: SimulatedFleet) -> CallTable:
    """The same, many of which wait for the reply to one before and for a tool."""
    calls = draw(plain_workloads(fleet))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    parent = np.where(rng.random(len(calls)) < 0.6, rng.integers(-1, np.arange(len(calls))), -1)
    wait_s = rng.exponential(draw(st.sampled_from([0.0, 0.01, 1.0])), len(calls))
    return calls.with_columns(parent=parent, wait_s=np.where(parent >= 0, wait_s, 0.0))


@st.composite
def server_overheads(draw: st.DrawFn) -> ServingOverheads:
    """What servers take around the engine, of prompts that are slower and faster than their steps."""
    host_s, client_s = draw(st.floats(0, 0.2)), draw(st.floats(0, 0.01))
    return ServingOverheads(host_s=host_s, client_s=client_s, prefill=draw(st.sampled_from([0.5, 0.9, 1.0, 1.4])))


def _blocks(
    rng: np.random.Generator, prompt: np.ndarray, output: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """Prefix trees: a call's blocks follow one of a few paths and then leave it."""
    ids, starts, fresh = [], [0], 1000
    for p, o in zip(prompt, output, strict=True):
        count = (p + o * (rng.random() < 0.5)) // size if size else 0
        path, shared = rng.integers(0, 3), rng.integers(0, 12)
        for place in range(int(count)):
            fresh += 1
            ids.append(path * 100 + place if place < shared else fresh)
        starts.append(len(ids))
    return np.array(starts), np.array(ids, np.int64)

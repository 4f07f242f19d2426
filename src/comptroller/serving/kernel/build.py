"""From a fleet to the arrays the kernel works on."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np

from comptroller.serving.fleet import SimulatedFleet, SimulatedReplica, stores_of
from comptroller.serving.kernel.ranks import PREEMPTS
from comptroller.serving.kernel.stores import ADAPTER, CHAIN
from comptroller.serving.own_policies import policy_number
from comptroller.serving.policies import module, needs
from comptroller.serving.policies.view import CAPACITY, COLUMNS, WEIGHT
from comptroller.serving.state import (
    CANCELS,
    CLOCK,
    JOB,
    LEVEL_FIELDS,
    NEVER,
    RANK,
    REQUEST,
    RESULT,
    STORE,
    TICKS_PER_S,
    ArrayArena,
    KernelWorld,
    PoolRole,
    records,
    ticks,
)
from comptroller.serving.ticks import TickTable


def build(fleet: SimulatedFleet, sample_s: float) -> KernelWorld:
    """The world at second 0, without requests."""
    ints, floats = ArrayArena(np.int64), ArrayArena(np.float64)
    placed = fleet.replicas()
    tables = {id(t): TickTable.of(t) for _, replica in placed for t in (*replica.tables, *replica.beside)}
    packed = {key: _pack(table, ints, floats) for key, table in tables.items()}
    levels = {id(replica): _pack_levels(replica, packed, ints) for _, replica in placed}
    ranks = records(RANK, sum(replica.ranks for _, replica in placed))
    stores = _stores(fleet)
    first = own = 0
    for service, replica in placed:
        for r in range(first, first + replica.ranks):
            rank = ranks[r]
            rank.leader, rank.ranks = first, replica.ranks
            rank.service = fleet.services.index(service)
            _describe(rank, fleet, replica)
            for name, value in packed[id(replica.table)].items():
                setattr(rank, name, value)
            rank.levels, rank.besides = levels[id(replica)], len(replica.beside)
            _allot(rank, fleet, replica, ints, floats)
            own = _join_stores(rank, own, replica, stores)
            rank.lanes = ints.room(2 * (len(replica.stores) + 1))
        first += replica.ranks
    _pair_stores(ranks, fleet)
    for store in stores:
        _allot_entries(store, int(store.entry_count), ints)
    clock = records(CLOCK, 1)
    _set_clock(clock[0], fleet, ranks, sample_s)
    _allot_clock(clock[0], fleet, ranks, (ints, floats))
    return KernelWorld(
        records(JOB, 1),
        records(RESULT, 1),
        records(REQUEST, 0),
        ranks,
        clock,
        stores,
        ints.array(),
        floats.array(),
        np.zeros(1, np.int64),
    )


def _pack(table: TickTable, ints: ArrayArena, floats: ArrayArena) -> dict[str, int]:
    return {
        "nk": table.knots.size,
        "nt": table.mixed.knots.size,
        "np": table.pairs.knots.size,
        "kv_x": ints.put(table.knots),
        "kv_v": ints.put(table.value),
        "kv_m": ints.put(table.slope),
        "kv_a": floats.put(table.intercept_j),
        "kv_b": floats.put(table.slope_j),
        "tokens": floats.put(table.mixed.packed()),
        "pairs": floats.put(table.pairs.packed()),
    }


def _pack_levels(replica: SimulatedReplica, packed: dict[int, dict[str, int]], ints: ArrayArena) -> int:
    """Where the step tables of a replica's levels stand, then those beside the other engine of its storage."""
    tables = (*replica.tables, *replica.beside)
    return ints.put([[packed[id(table)][name] for name in LEVEL_FIELDS] for table in tables])


def _describe(rank: Any, fleet: SimulatedFleet, replica: SimulatedReplica) -> None:
    table = replica.table
    rank.pool = rank.own_pool = replica.pool
    rank.peer = -1
    rank.max_batch = table.max_batch
    rank.chunk = fleet.chunk_tokens(replica)
    rank.block = table.kv_block_tokens
    rank.block_units = 1 if table.footprint is None else table.footprint.block_bytes
    rank.capacity = table.kv_capacity_tokens // table.kv_block_tokens
    if table.footprint is not None:
        rank.capacity = table.footprint.capacity_bytes
    rank.context = replica.context_tokens
    rank.verify = replica.verify_tokens
    rank.chance = replica.acceptance
    rank.host = replica.swap_tokens // table.kv_block_tokens * rank.block_units
    rank.prefix_tokens = fleet.prefix_block_tokens
    shared = 1 if table.footprint is None else table.footprint.full_block_bytes
    rank.cache_blocks = fleet.prefix_block_tokens // table.kv_block_tokens * shared if replica.prefixes else 0
    rank.idle_w = table.idle_w
    rank.swap_ticks = table.kv_bytes_per_token / table.swap_bytes_per_s * TICKS_PER_S
    rank.swap_chunk, rank.swap_beside = replica.swap_chunk_tokens, replica.swap_beside
    rank.swap_chunk_ticks = ticks(replica.swap_chunk_s)
    rank.move_ticks = table.kv_bytes_per_token / table.transfer_bytes_per_s * TICKS_PER_S
    rank.usd_per_s = table.usd_per_s
    rank.server_s, rank.server_share, rank.server_chunk = table.server_s, table.server_share, table.chunk_tokens
    rank.queue = rank.intake = rank.landed = rank.oldest = rank.newest = -1
    rank.loaded = rank.store = rank.shared_store = rank.last_turn = -1
    rank.slots = replica.adapter_slots
    rank.adapter_ticks = ticks(replica.adapter_load_s)


def _allot(rank: Any, fleet: SimulatedFleet, replica: SimulatedReplica, ints: ArrayArena, floats: ArrayArena) -> None:
    table = replica.table
    rank.run, rank.due = ints.room(table.max_batch + 1), ints.room(table.max_batch + 1)
    rank.pre = ints.room(table.max_batch + 1)
    rank.hist = ints.room(table.kv_block_tokens)
    if table.footprint is not None:
        rank.fixed, rank.parts = table.footprint.state_bytes, len(table.footprint.parts)
        rank.part_table = ints.put(table.footprint.parts)
    rank.tags = floats.room(fleet.tenants)
    count = rank.capacity // rank.cache_blocks if rank.cache_blocks else 0
    rank.entry_count = count
    _allot_entries(rank, int(count), ints)
    slots = np.zeros((replica.adapter_slots, 4), np.int64)
    slots[:, ADAPTER] = -1
    rank.slot_table = ints.put(slots)
    rank.turns, rank.counters = ints.put([[-1, 0, 0]] * fleet.tenants), floats.room(fleet.tenants)


def _allot_entries(table: Any, count: int, ints: ArrayArena) -> None:
    """Buckets and entries of a rank's cache or of a store."""
    # A power of two of buckets, two to four for each entry: chains then hold less than half an entry in the mean.
    table.bucket_mask = (1 << max(1, 2 * count).bit_length()) - 1
    table.buckets = ints.room(int(table.bucket_mask) + 1, -1) if count else 0
    entries = np.zeros((count, 5), np.int64)
    entries[:, CHAIN] = np.arange(1, count + 1)
    table.entries = ints.put(entries)


def _stores(fleet: SimulatedFleet) -> Any:
    found, size = stores_of(fleet), fleet.prefix_block_tokens
    stores = records(STORE, len(found))
    for record, (store, replica) in zip(stores, found, strict=True):
        record.oldest = record.newest = record.next = -1
        record.entry_count = store.tokens // size if size else 0
        block_bytes = size * replica.table.kv_bytes_per_token
        record.block_ticks, record.write_ticks = ticks(store.block_s(block_bytes)), ticks(store.write_s(block_bytes))
        record.duplex = store.duplex
    if fleet.shared_store:
        stores[-1].shared = 1
    return stores


def _join_stores(rank: Any, own: int, replica: SimulatedReplica, stores: Any) -> int:
    """Chain a rank's stores, the shared one after its own; the next one's place."""
    after = own + len(replica.stores)
    shared = len(stores) - 1 if len(stores) and stores[-1].shared else -1
    chain = [*range(own, after), *([shared] if shared >= 0 else [])]
    for place, following in pairwise(chain):
        stores[place].next = following
    rank.store, rank.shared_store = chain[0] if chain else -1, shared
    rank.own_stores = len(replica.stores)
    rank.timed_writes = any(stores[place].write_ticks > 0 for place in chain)
    return after


def _pair_stores(ranks: Any, fleet: SimulatedFleet) -> None:
    seen: dict[tuple[str, int], int] = {}
    r = 0
    for service, replica in fleet.replicas():
        if replica.storage is not None:
            key = (service.name, replica.storage)
            if key in seen:
                ranks[r].peer, ranks[seen[key]].peer = seen[key], r
            seen[key] = r
        r += replica.ranks


def _set_clock(clock: Any, fleet: SimulatedFleet, ranks: Any, sample_s: float) -> None:
    policies = fleet.policies
    clock.timed = clock.spare = clock.out_first = -1
    clock.ranks, clock.services = len(ranks), len(fleet.services)
    clock.routing = policy_number("routing", policies.routing)
    clock.handoff = policy_number("routing", policies.handoff)
    clock.batching = policy_number("batching", policies.batching)
    clock.scheduling = policy_number("scheduling", policies.scheduling)
    scheduler = module("scheduling", policies.scheduling)
    clock.seed = policies.seed
    clock.evicts = PREEMPTS if getattr(scheduler, "PREEMPTS", False) else int(policies.evict_for_priority)
    clock.every = getattr(scheduler, "EVERY_STEPS", 0)
    clock.tenants, clock.counts = fleet.tenants, needs("scheduling", policies.scheduling, "counter")
    clock.input_weight = getattr(scheduler, "INPUT_WEIGHT", 1.0)
    clock.output_weight = getattr(scheduler, "OUTPUT_WEIGHT", 1.0)
    clock.bound, clock.overlap = policies.bound, policies.overlap
    clock.max_pending = fleet.split.max_pending_tokens
    used = {policies.routing} | ({policies.handoff} if (ranks.own_pool == PoolRole.TOKEN).any() else set())
    clock.needs_kv = any(needs("routing", name, "kv") for name in used)
    clock.needs_match = any(needs("routing", name, "match") for name in used)
    # A sequence takes at most the blocks of all layers, and its state, for each block of tokens.
    held = ((ranks.capacity - ranks.fixed) // ranks.block_units * ranks.block - ranks.verify - ranks.block).min()
    clock.shortest = min(held, ranks.context.min())
    clock.sample_every = clock.next_sample = ticks(sample_s)


def _allot_clock(clock: Any, fleet: SimulatedFleet, ranks: Any, arenas: tuple[ArrayArena, ArrayArena]) -> None:
    ints, floats = arenas
    count = len(ranks)
    leaves = 1 << max(0, count - 1).bit_length()
    clock.leaves, clock.tree = leaves, ints.room(2 * leaves, NEVER)
    clock.scratch, clock.pokes = ints.room(count), ints.room(count)
    clock.cancels = ints.room(CANCELS)
    table = []
    for service in range(-1, len(fleet.services)):
        members = np.arange(count) if service < 0 else np.flatnonzero(ranks.service == service)
        split = (ranks.own_pool[members] == PoolRole.TOKEN).any()
        table.append([ints.put(members), members.size, int(split), 0])
    clock.candidates = ints.put(table)
    view = np.zeros((count, COLUMNS))
    view[:, CAPACITY] = ranks.capacity * ranks.block // ranks.block_units
    weights = [replica.weight for _, replica in fleet.replicas() for _ in range(replica.ranks)]
    view[:, WEIGHT] = weights
    # By column, so that a policy that compares one column of many ranks reads it in one go.
    clock.seen = floats.put(view.T)
    telemetry = fleet.telemetry
    clock.snapshot_every = clock.next_snapshot = ticks(telemetry.period_s)
    clock.snapshot_delay = ticks(telemetry.delay_s)
    if clock.snapshot_every:
        # Those taken while the one that is read was on its way, that one, and the one being written.
        clock.snapshot_depth = math.ceil(telemetry.delay_s / telemetry.period_s) + 2
        clock.snapshots = floats.put(np.tile(view.T, (int(clock.snapshot_depth), 1)))
        clock.snapshot_count = 1

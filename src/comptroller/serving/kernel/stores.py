"""Stores of cached blocks outside a rank's device, and its slots of adapters: what is found, loaded and forgotten.

A store keeps blocks in order of last use. What a device evicts goes to the rank's first store, what that evicts to the
next; the last may be shared by all ranks, and then gets blocks as soon as they are computed. Loads of a rank pass its
link one after another. What is written to a store passes the rank's lane to it, one block after another, and can be
loaded once it is there; where the lane has one direction for both, loads and writes wait for each other.
"""

from __future__ import annotations

from typing import Any

from comptroller.serving.jit import jit
from comptroller.serving.state import KernelWorld

MIX = -7046029254386353131
"""2^64 over the golden ratio, as 64 signed bits: multiples of it spread evenly over the buckets (Knuth, 6.4)."""

ID, REFS, OLDER, NEWER, CHAIN = range(5)
"""Fields of an entry, five numbers each in the arena."""
THERE = REFS
"""Of an entry in a store, where nobody counts uses: the tick from which on it can be loaded."""

ADAPTER, USERS, TURN, READY = range(4)
"""Fields of a slot, four numbers each in the arena: who is in it, requests that use it, its last use, when it is in."""


@jit
def bucket_of(table: Any, block: int) -> int:
    """Where the chain of a block starts; by the upper half of a product, or ids that differ in their upper bits alone
    would share one chain (Knuth, multiplicative hashing)."""
    return int(table.buckets + (((block * MIX) >> 32) & table.bucket_mask))


@jit
def _find(w: KernelWorld, s: int, block: int) -> int:
    """The entry of a block in a store, or -1."""
    store = w.stores[s]
    entry = w.ints[bucket_of(store, block)]
    while entry >= 0 and w.ints[store.entries + 5 * entry + ID] != block:
        entry = w.ints[store.entries + 5 * entry + CHAIN]
    return int(entry)


@jit
def _unlink(w: KernelWorld, s: int, entry: int) -> None:
    store = w.stores[s]
    older, newer = w.ints[store.entries + 5 * entry + OLDER], w.ints[store.entries + 5 * entry + NEWER]
    if older >= 0:
        w.ints[store.entries + 5 * older + NEWER] = newer
    else:
        store.oldest = newer
    if newer >= 0:
        w.ints[store.entries + 5 * newer + OLDER] = older
    else:
        store.newest = older


@jit
def _make_newest(w: KernelWorld, s: int, entry: int) -> None:
    store = w.stores[s]
    w.ints[store.entries + 5 * entry + OLDER] = store.newest
    w.ints[store.entries + 5 * entry + NEWER] = -1
    if store.newest >= 0:
        w.ints[store.entries + 5 * store.newest + NEWER] = entry
    else:
        store.oldest = entry
    store.newest = entry


@jit
def unchain(w: KernelWorld, table: Any, entry: int) -> None:
    """Take an entry out of its bucket's chain and put it among the spare ones; of a store or of a rank."""
    base = table.entries + 5 * entry
    bucket = bucket_of(table, w.ints[base + ID])
    if w.ints[bucket] == entry:
        w.ints[bucket] = w.ints[base + CHAIN]
    else:
        other = w.ints[bucket]
        while w.ints[table.entries + 5 * other + CHAIN] != entry:
            other = w.ints[table.entries + 5 * other + CHAIN]
        w.ints[table.entries + 5 * other + CHAIN] = w.ints[base + CHAIN]
    w.ints[base + CHAIN] = table.spare
    table.spare = entry


@jit
def _lane(w: KernelWorld, r: int, s: int) -> int:
    """Where it stands until when a rank's lane to a store is taken by loads; by writes, one further if it is duplex."""
    rank = w.ranks[r]
    place = rank.own_stores if w.stores[s].shared else s - rank.store
    return int(rank.lanes + 2 * place)


@jit
def _write(w: KernelWorld, r: int, s: int, since: int) -> int:
    """When a block that a rank sends to a store from a tick on is there."""
    store = w.stores[s]
    if store.write_ticks == 0:
        return since
    lane = _lane(w, r, s) + store.duplex
    w.ints[lane] = max(since, w.ints[lane]) + store.write_ticks
    return int(w.ints[lane])


@jit
def put(w: KernelWorld, r: int, first: int, block: int) -> None:
    """A block comes from a rank to a store as the newest; what has to go for it goes to the next."""
    s, since = first, w.clock[0].now >> 2
    while s >= 0:
        store = w.stores[s]
        if store.entry_count == 0:
            s = store.next
            continue
        entry = _find(w, s, block)
        if entry >= 0:
            _unlink(w, s, entry)
            _make_newest(w, s, entry)
            return
        gone, left, forgets = 0, since, store.count == store.entry_count
        if forgets:
            entry = store.oldest
            gone = w.ints[store.entries + 5 * entry + ID]
            left = max(since, w.ints[store.entries + 5 * entry + THERE])
            _unlink(w, s, entry)
            unchain(w, store, entry)
            store.count -= 1
            store.evictions += 1
        entry = store.spare
        base = store.entries + 5 * entry
        store.spare = w.ints[base + CHAIN]
        bucket = bucket_of(store, block)
        w.ints[base + ID] = block
        w.ints[base + THERE] = _write(w, r, s, since)
        w.ints[base + CHAIN] = w.ints[bucket]
        w.ints[bucket] = entry
        _make_newest(w, s, entry)
        store.count += 1
        store.writes += 1
        if not forgets:
            return
        block, s, since = gone, store.next, left


@jit
def store_with(w: KernelWorld, first: int, block: int) -> int:
    """The first store of a chain that has a block, or -1."""
    s = first
    while s >= 0:
        if w.stores[s].entry_count > 0 and _find(w, s, block) >= 0:
            return int(s)
        s = w.stores[s].next
    return -1


@jit
def load_block(w: KernelWorld, r: int, s: int, block: int, since: int) -> int:
    """When a block is in the device that a rank loads from a tick on out of a store, where it is now the newest."""
    store, lane = w.stores[s], _lane(w, r, s)
    entry = _find(w, s, block)
    _unlink(w, s, entry)
    _make_newest(w, s, entry)
    store.loads += 1
    w.ints[lane] = max(since, w.ints[lane], w.ints[store.entries + 5 * entry + THERE]) + store.block_ticks
    return int(w.ints[lane])


@jit
def slot_for(w: KernelWorld, r: int, adapter: int) -> int:
    """The slot that has an adapter, else the one unused for longest that nobody uses, else -1."""
    rank = w.ranks[r]
    chosen, oldest = -1, 0
    for slot in range(rank.slots):
        base = rank.slot_table + 4 * slot
        if w.ints[base + ADAPTER] == adapter:
            return slot
        if w.ints[base + USERS] == 0 and (chosen < 0 or w.ints[base + TURN] < oldest):
            chosen, oldest = slot, w.ints[base + TURN]
    return chosen


@jit
def claim_slot(w: KernelWorld, r: int, i: int, tick: int) -> int:
    """Give a request its adapter's slot, which is free for it; when the adapter is in."""
    rank, request = w.ranks[r], w.requests[i]
    slot = slot_for(w, r, request.adapter)
    base = rank.slot_table + 4 * slot
    rank.slot_turn += 1
    if w.ints[base + ADAPTER] != request.adapter:
        w.ints[base + ADAPTER] = request.adapter
        rank.load_free = max(tick, rank.load_free) + rank.adapter_ticks
        w.ints[base + READY] = rank.load_free
        rank.adapter_loads += 1
        request.adapter_loads += 1
    w.ints[base + USERS] += 1
    w.ints[base + TURN] = rank.slot_turn
    request.adapter_slot = slot
    return int(w.ints[base + READY])


@jit
def leave_slot(w: KernelWorld, i: int) -> None:
    """A request no longer uses its adapter's slot, if it has one."""
    request = w.requests[i]
    if request.adapter_slot >= 0:
        w.ints[w.ranks[request.home].slot_table + 4 * request.adapter_slot + USERS] -= 1
        request.adapter_slot = -1

"""Paged memory of a rank, and its prefix cache: blocks by id, the idle ones in order of last use."""

from __future__ import annotations

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.draws import accepted_drafts
from comptroller.serving.kernel.queues import run_sift
from comptroller.serving.kernel.stores import (
    CHAIN,
    ID,
    NEWER,
    OLDER,
    REFS,
    bucket_of,
    leave_slot,
    put,
    store_with,
    unchain,
)
from comptroller.serving.policies.draw import draw
from comptroller.serving.state import KernelWorld


@jit
def pages(w: KernelWorld, r: int, tokens: int) -> int:
    """What so many tokens of a sequence take on a rank: blocks, or bytes where its table has a footprint."""
    rank = w.ranks[r]
    blocks = (tokens + rank.block - 1) // rank.block
    if rank.parts == 0:
        return int(blocks)
    total = rank.fixed if tokens > 0 else 0
    for place in range(rank.part_table, rank.part_table + 2 * rank.parts, 2):
        total += min(blocks, w.ints[place]) * w.ints[place + 1]
    return int(total)


@jit
def occupied_blocks(w: KernelWorld, r: int) -> int:
    """Blocks of a rank that running requests hold."""
    rank = w.ranks[r]
    return int(rank.used + rank.held_entries * rank.cache_blocks)


@jit
def _growth_by_request(w: KernelWorld, r: int, tokens: int) -> int:
    """The same where a sequence that is past a window grows by less: one request after the other."""
    rank = w.ranks[r]
    total = 0
    for place in range(rank.batch):
        context = w.requests[w.ints[rank.run + place]].base + rank.g
        total += pages(w, r, context + tokens) - pages(w, r, context)
    return int(total)


@jit
def growth(w: KernelWorld, r: int, tokens: int) -> int:
    """Blocks (or bytes, see `pages`) that the decoding requests of a rank take up over their next `tokens` tokens."""
    rank = w.ranks[r]
    if rank.parts > 0:
        return int(_growth_by_request(w, r, tokens))
    if tokens == 1:
        return int(w.ints[rank.hist + rank.phase])
    total = tokens // rank.block * rank.batch
    place = rank.phase
    for _ in range(tokens % rank.block):
        total += w.ints[rank.hist + place]
        place = place - 1 if place > 0 else rank.block - 1
    return int(total)


@part
def move_on(w: KernelWorld, r: int, steps: int) -> None:
    """Let the decoding requests of a rank have taken so many steps: tokens and blocks."""
    rank = w.ranks[r]
    rank.used += growth(w, r, steps)
    rank.g += steps
    rank.phase = (rank.phase - steps) % rank.block
    if rank.verify > 1 and steps > 0:
        _keep_drafts(w, r)
    trim(w, r)


@jit
def _keep_drafts(w: KernelWorld, r: int) -> None:
    """Beside its token of the step, each decoding request has the draft tokens that were accepted."""
    rank = w.ranks[r]
    for place in range(rank.batch):
        i = w.ints[rank.run + place]
        request = w.requests[i]
        drawn = draw(w.clock[0].seed, request.id, request.steps + rank.g - request.entered)
        kept = accepted_drafts(drawn, rank.chance, rank.verify - 1)
        if kept > 0:
            context = request.base + rank.g
            rank.used += pages(w, r, context + kept) - pages(w, r, context)
            w.ints[rank.hist + request.base % rank.block] -= 1
            request.base += kept
            w.ints[rank.hist + request.base % rank.block] += 1
            rank.sum += kept
            # Energy is booked by what was cached from the start on; these tokens were not.
            request.j_decode -= kept * (rank.a0 - request.a0)
            request.target -= kept
            w.ints[rank.due + place] = request.target
            run_sift(w, r, place)


@jit
def free(w: KernelWorld, r: int) -> int:
    """Blocks a rank may take, idle cached ones included; of a shared store, what the other leaves."""
    rank = w.ranks[r]
    left = rank.capacity - occupied_blocks(w, r)
    if rank.peer >= 0:
        left -= occupied_blocks(w, rank.peer) + in_flight(w, rank.peer)
    return int(left)


@jit
def room_beside_idle(w: KernelWorld, r: int) -> int:
    """Blocks that a rank may take before an idle cached one has to go, of its own or of its peer's."""
    rank = w.ranks[r]
    idle = rank.idle_entries * rank.cache_blocks
    if rank.peer >= 0:
        idle += w.ranks[rank.peer].idle_entries * rank.cache_blocks
    return int(free(w, r) - idle)


@jit
def in_flight(w: KernelWorld, r: int) -> int:
    """Blocks that the decode step under way on a rank will have taken up at its end."""
    rank = w.ranks[r]
    if rank.kind < 2 or rank.batch == 0 or rank.step_decode == 0:
        return 0
    return int(growth(w, r, rank.verify))


@jit
def find(w: KernelWorld, r: int, block: int) -> int:
    """The entry of a block on a rank, or -1."""
    rank = w.ranks[r]
    entry = w.ints[bucket_of(rank, block)]
    while entry >= 0 and w.ints[rank.entries + 5 * entry + ID] != block:
        entry = w.ints[rank.entries + 5 * entry + CHAIN]
    return int(entry)


@jit
def _unlink(w: KernelWorld, r: int, entry: int) -> None:
    rank = w.ranks[r]
    older = w.ints[rank.entries + 5 * entry + OLDER]
    newer = w.ints[rank.entries + 5 * entry + NEWER]
    if older >= 0:
        w.ints[rank.entries + 5 * older + NEWER] = newer
    else:
        rank.oldest = newer
    if newer >= 0:
        w.ints[rank.entries + 5 * newer + OLDER] = older
    else:
        rank.newest = older
    rank.idle_entries -= 1


@jit
def hold(w: KernelWorld, r: int, entry: int) -> None:
    """One more request uses an entry."""
    rank = w.ranks[r]
    if w.ints[rank.entries + 5 * entry + REFS] == 0:
        _unlink(w, r, entry)
        rank.held_entries += 1
    w.ints[rank.entries + 5 * entry + REFS] += 1


@jit
def drop(w: KernelWorld, r: int, entry: int) -> None:
    """One request fewer uses an entry; without any it is idle, and the last to be evicted."""
    rank = w.ranks[r]
    w.ints[rank.entries + 5 * entry + REFS] -= 1
    if w.ints[rank.entries + 5 * entry + REFS] > 0:
        return
    rank.held_entries -= 1
    rank.idle_entries += 1
    w.ints[rank.entries + 5 * entry + OLDER] = rank.newest
    w.ints[rank.entries + 5 * entry + NEWER] = -1
    if rank.newest >= 0:
        w.ints[rank.entries + 5 * rank.newest + NEWER] = entry
    else:
        rank.oldest = entry
    rank.newest = entry


@jit
def _insert(w: KernelWorld, r: int, block: int) -> None:
    rank = w.ranks[r]
    entry = rank.spare
    base = rank.entries + 5 * entry
    rank.spare = w.ints[base + CHAIN]
    bucket = bucket_of(rank, block)
    w.ints[base + ID] = block
    w.ints[base + REFS] = 1
    w.ints[base + CHAIN] = w.ints[bucket]
    w.ints[bucket] = entry
    rank.held_entries += 1


@jit
def _evict(w: KernelWorld, r: int) -> None:
    rank = w.ranks[r]
    entry = rank.oldest
    _unlink(w, r, entry)
    block = w.ints[rank.entries + 5 * entry + ID]
    unchain(w, rank, entry)
    if rank.store >= 0:
        put(w, r, rank.store, block)
    rank.evictions += 1


@jit
def trim(w: KernelWorld, r: int) -> None:
    """Evict idle blocks, least recently used first, until everything fits; then the peer's."""
    rank = w.ranks[r]
    if rank.cache_blocks == 0:
        return
    room = rank.capacity - occupied_blocks(w, r)
    other = 0
    if rank.peer >= 0:
        room -= occupied_blocks(w, rank.peer)
        other = w.ranks[rank.peer].idle_entries
    while rank.idle_entries > 0 and (rank.idle_entries + other) * rank.cache_blocks > room:
        _evict(w, r)
    if rank.peer >= 0:
        peer = w.ranks[rank.peer]
        while peer.idle_entries > 0 and (rank.idle_entries + peer.idle_entries) * rank.cache_blocks > room:
            _evict(w, rank.peer)


@jit
def matched_blocks(w: KernelWorld, r: int, i: int, tokens: int) -> int:
    """Leading blocks of a request that a rank has cached, leaving at least one of `tokens` to compute."""
    rank, request = w.ranks[r], w.requests[i]
    if rank.cache_blocks == 0:
        return 0
    most = min(request.block_count, (tokens - 1) // rank.prefix_tokens)
    count = 0
    while count < most and find(w, r, w.blocks[request.blocks + count]) >= 0:
        count += 1
    return int(count)


@jit
def reachable_blocks(w: KernelWorld, r: int, i: int, tokens: int) -> int:
    """The same, with those that lie in the rank's stores."""
    rank, request = w.ranks[r], w.requests[i]
    count = matched_blocks(w, r, i, tokens)
    if rank.store < 0 or rank.cache_blocks == 0:
        return int(count)
    most = min(request.block_count, (tokens - 1) // rank.prefix_tokens)
    while count < most:
        block = w.blocks[request.blocks + count]
        if find(w, r, block) < 0 and store_with(w, rank.store, block) < 0:
            break
        count += 1
    return int(count)


@jit
def share(w: KernelWorld, r: int, i: int) -> None:
    """Send the blocks that a request holds, computed by now, to the store that all ranks share, if there is one."""
    rank, request = w.ranks[r], w.requests[i]
    if rank.shared_store >= 0:
        for back in range(request.held):
            put(w, r, rank.shared_store, w.blocks[request.blocks + request.held - 1 - back])


@jit
def publish(w: KernelWorld, r: int, i: int, tokens: int) -> None:
    """Make a request's full blocks up to `tokens` findable where its prompt is computed; a copy somebody else
    made first is shared. Blocks are findable from the step on that computes them, for whoever is in it."""
    rank, request = w.ranks[r], w.requests[i]
    if rank.cache_blocks == 0:
        return
    home = request.home
    for place in range(request.held, min(request.block_count, tokens // rank.prefix_tokens)):
        block = w.blocks[request.blocks + place]
        entry = find(w, home, block)
        if entry >= 0:
            hold(w, home, entry)
        else:
            _insert(w, home, block)
        rank.used -= rank.cache_blocks
        request.held += 1


@jit
def release(w: KernelWorld, r: int, i: int, blocks: int) -> None:
    """Give back a request's private blocks on a rank and its hold on cached ones, tail first."""
    w.ranks[r].used -= blocks
    request = w.requests[i]
    leave_slot(w, i)
    if request.held > 0:
        home = request.home
        for back in range(request.held):
            place = request.held - 1 - back
            drop(w, home, find(w, home, w.blocks[request.blocks + place]))
        request.held = 0

"""Ends and counts: what is reported when a request ends, who it releases, what the router can see."""

from __future__ import annotations

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.curves import server_ticks
from comptroller.serving.kernel.queues import push
from comptroller.serving.policies.view import ACTIVE, PENDING, QUEUED, RESERVED
from comptroller.serving.state import TICKS_PER_S, KernelWorld, PoolRole, RequestState

DONE, CANCELLED = int(RequestState.DONE), int(RequestState.CANCELLED)
BLOCKED, TIMED = int(RequestState.BLOCKED), int(RequestState.TIMED)
MIXED = int(PoolRole.MIXED)


@jit
def see(w: KernelWorld, r: int, column: int, change: float) -> None:
    """Change one entry of the view."""
    w.floats[w.clock[0].seen + column * w.clock[0].ranks + r] += change


@jit
def poke(w: KernelWorld, group: int) -> None:
    """There may be something new to do for a group; it is looked at when the event at hand is over."""
    leader, clock = w.ranks[group], w.clock[0]
    if not leader.poked:
        leader.poked = 1
        w.ints[clock.pokes + clock.poke_count] = group
        clock.poke_count += 1


@jit
def poke_peer(w: KernelWorld, r: int) -> None:
    """The same for whoever shares a rank's store."""
    if w.ranks[r].peer >= 0:
        poke(w, w.ranks[r].peer)


@jit
def count_waiting(w: KernelWorld, r: int, change: int) -> None:
    """A request joins or leaves a rank's queue."""
    w.ranks[r].waiting += change
    see(w, r, QUEUED, change)


@part
def count_dispatch(w: KernelWorld, i: int) -> None:
    """Count a request on the ranks it was sent to."""
    request = w.requests[i]
    expected = request.prompt + request.predicted
    see(w, request.prompt_rank, ACTIVE, 1)
    see(w, request.prompt_rank, PENDING, request.prompt)
    request.prompt_held = 1
    if request.prompt_rank == request.token_rank:
        see(w, request.prompt_rank, RESERVED, expected)
        return
    see(w, request.prompt_rank, RESERVED, request.prompt)
    see(w, request.token_rank, ACTIVE, 1)
    see(w, request.token_rank, RESERVED, expected)


@jit
def _at_home(w: KernelWorld, r: int) -> None:
    """A replica drawn into the mixed pool goes back to its own when it is free."""
    rank = w.ranks[r]
    if rank.pool == MIXED and w.floats[w.clock[0].seen + ACTIVE * w.clock[0].ranks + r] == 0:
        rank.pool = rank.own_pool


@jit
def off_prompt(w: KernelWorld, i: int) -> None:
    """A split request no longer counts on its prompt rank."""
    request = w.requests[i]
    if request.prompt_held and request.prompt_rank != request.token_rank:
        request.prompt_held = 0
        see(w, request.prompt_rank, ACTIVE, -1)
        see(w, request.prompt_rank, RESERVED, -request.prompt)
        _at_home(w, request.prompt_rank)


@jit
def take_slot(w: KernelWorld, id_: int) -> int:
    """A slot for a request, filled from its job."""
    clock, job = w.clock[0], w.jobs[id_]
    i = clock.spare
    request, result = w.requests[i], w.results[id_]
    clock.spare = request.right
    clock.spares -= 1
    result.slot = i
    request.id, request.state, request.arrival = id_, result.state, result.arrival
    request.watched = job.watched
    request.prompt, request.output, request.predicted = job.prompt, job.output, job.predicted
    request.session, request.priority, request.tenant = job.session, job.priority, job.tenant
    request.blocks, request.block_count, request.awaits = job.blocks, job.block_count, job.awaits
    request.started, request.first, request.child, request.sibling = -1, -1, -1, -1
    request.prompt_rank, request.token_rank, request.held, request.high = -1, -1, 0, 0
    request.generated, request.steps, request.cached, request.computed = 0, 0, 0, 0
    request.recomputed, request.preemptions, request.cancelled, request.heaped = 0, 0, 0, 0
    request.j_prefill, request.j_decode, request.j_waste = 0.0, 0.0, 0.0
    request.device_s, request.usd = 0.0, 0.0
    request.adapter, request.adapter_slot, request.loaded, request.adapter_loads = job.adapter, -1, 0, 0
    request.copied, request.epoch = 0, 0
    return int(i)


@jit
def give_slot(w: KernelWorld, i: int) -> None:
    """The slot is free for another request."""
    clock = w.clock[0]
    w.requests[i].right = clock.spare
    clock.spare = i
    clock.spares += 1


@part
def _record(w: KernelWorld, i: int, tick: int) -> None:
    """Write down what became of a request, and report it if somebody waits for it."""
    clock, request = w.clock[0], w.requests[i]
    result = w.results[request.id]
    result.arrival, result.started, result.first, result.last = (request.arrival, request.started, request.first, tick)
    result.j_prefill, result.j_decode, result.j_waste = request.j_prefill, request.j_decode, request.j_waste
    result.device_s, result.usd = request.device_s, request.usd
    result.generated, result.cached, result.computed = request.generated, request.cached, request.computed
    result.recomputed, result.preemptions, result.steps = (request.recomputed, request.preemptions, request.steps)
    result.prompt_rank, result.token_rank, result.state = (request.prompt_rank, request.token_rank, request.state)
    result.loaded, result.adapter_loads = request.loaded, request.adapter_loads
    result.slot = -1
    if request.watched:
        if clock.out_first < 0:
            clock.out_first, clock.out_key = request.id, clock.now
        else:
            w.results[clock.out_last].slot = request.id
        clock.out_last = request.id


@jit
def time_out(w: KernelWorld, i: int, tick: int) -> None:
    """Something comes for a request at this tick."""
    w.clock[0].timed = push(w.requests, w.clock[0].timed, i, 0.0, tick)


@jit
def free_child(w: KernelWorld, child: int, tick: int, server: int) -> None:
    """A request whose parent has ended may arrive, one with tokens after its own wait.

    server: ticks that the parent's server takes after its end, or less it took before than its steps say.
    """
    request = w.requests[child]
    if request.state == BLOCKED:
        request.state = TIMED
        wait = int(w.jobs[request.id].wait_s * TICKS_PER_S + 0.5) if request.prompt > 0 else 0
        request.arrival = max(request.arrival, tick + max(wait + server, 0))
        time_out(w, child, request.arrival)
    else:
        give_slot(w, child)


@part
def _count_down(w: KernelWorld, awaited: int, tick: int) -> None:
    """One less of those that a request awaits; after the last it may arrive."""
    slot = int(w.results[awaited].slot)
    w.requests[slot].awaits -= 1
    if w.requests[slot].awaits == 0:
        free_child(w, slot, tick, 0)


@part
def _cancel_children(w: KernelWorld, i: int, tick: int) -> None:
    stack, node = -1, i
    while True:
        child = w.requests[node].child
        while child >= 0:
            if w.requests[child].state == BLOCKED:
                w.requests[child].left = stack
                stack = child
            else:
                give_slot(w, child)
            child = w.requests[child].sibling
        if node != i:
            w.requests[node].state = CANCELLED
            _record(w, node, tick)
            give_slot(w, node)
        if stack < 0:
            return
        node = stack
        stack = w.requests[node].left


@jit
def close(w: KernelWorld, i: int, tick: int, state: int) -> None:
    """A request has ended in a final state."""
    request = w.requests[i]
    blocked = request.state == BLOCKED
    request.state = state
    if request.prompt_rank >= 0:
        if request.first < 0:
            see(w, request.prompt_rank, PENDING, -request.prompt)
        off_prompt(w, i)
        see(w, request.token_rank, ACTIVE, -1)
        see(w, request.token_rank, RESERVED, -(request.prompt + request.predicted))
        _at_home(w, request.token_rank)
    _record(w, i, tick)
    if state == DONE and w.jobs[request.id].joins > 0:
        _count_down(w, w.jobs[request.id].joins - 1, tick)
    if request.child >= 0:
        if state == DONE:
            child = request.child
            server = server_ticks(w, i) if w.clock[0].server_waits else 0
            while child >= 0:
                after = w.requests[child].sibling
                free_child(w, child, tick, server)
                child = after
        else:
            _cancel_children(w, i, tick)
    if not blocked and not request.heaped:
        give_slot(w, i)

"""Who is on a rank: joining and leaving batches, preemption, admission, and the make-up of the next step."""

from __future__ import annotations

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.books import close, count_waiting, give_slot, off_prompt, time_out
from comptroller.serving.kernel.cache import find, free, growth, hold, matched_blocks, pages, publish, release, trim
from comptroller.serving.kernel.loads import load
from comptroller.serving.kernel.queues import pop, run_sift
from comptroller.serving.kernel.stores import slot_for
from comptroller.serving.kernel.swaps import stall, swap_in_beside, swap_out
from comptroller.serving.kernel.turns import (
    count_decoding,
    count_service,
    dequeue,
    enqueue,
    leave_queue,
    next_in_turn,
    rank_anew,
)
from comptroller.serving.state import TICKS_PER_S, KernelWorld, RequestState

PREFILL, DECODE = int(RequestState.PREFILL), int(RequestState.DECODE)
QUEUED, SWAPPED, HANDED = int(RequestState.QUEUED), int(RequestState.SWAPPED), int(RequestState.HANDED)
CANCELLED = int(RequestState.CANCELLED)
LOADING = int(RequestState.LOADING)
PREEMPTS = 2
"""Of `clock.evicts`: any request that the policy puts behind gives way; 1, one of lower priority that goes behind."""


@jit
def join_decode(w: KernelWorld, r: int, i: int, context: int) -> None:
    """A request with so many cached tokens decodes from the next step on."""
    rank, request = w.ranks[r], w.requests[i]
    request.state = DECODE
    request.rank = r
    request.base = context - rank.g
    request.target = rank.g + request.output - request.generated
    request.entered = rank.g
    request.a0, request.a1, request.even, request.share = rank.a0, rank.a1, rank.even, rank.share
    rank.sum += request.base
    w.ints[rank.hist + request.base % rank.block] += 1
    w.ints[rank.run + rank.batch] = i
    w.ints[rank.due + rank.batch] = request.target
    rank.batch += 1
    run_sift(w, r, rank.batch - 1)
    if w.clock[0].counts:
        count_decoding(w, r, request.tenant, 1)


@jit
def leave_decode(w: KernelWorld, r: int, place: int) -> int:
    """Take the request at a place of the heap out of the batch and book what it used; its cached tokens."""
    rank = w.ranks[r]
    i = w.ints[rank.run + place]
    request = w.requests[i]
    rank.batch -= 1
    if place < rank.batch:
        w.ints[rank.run + place] = w.ints[rank.run + rank.batch]
        w.ints[rank.due + place] = w.ints[rank.due + rank.batch]
        run_sift(w, r, place)
    context = request.base + rank.g
    rank.sum -= request.base
    w.ints[rank.hist + request.base % rank.block] -= 1
    made = min(request.output, request.output - request.target + rank.g) - request.generated
    request.generated += made
    if w.clock[0].counts:
        count_decoding(w, r, request.tenant, -1)
        count_service(w, r, request.tenant, w.clock[0].output_weight * (made - (rank.g - request.entered)))
    rank.decode_done += made
    request.high = max(request.high, context)
    request.steps += rank.g - request.entered
    request.j_decode += request.base * (rank.a0 - request.a0) + (rank.a1 - request.a1)
    request.j_decode += rank.even - request.even
    seconds = (rank.share - request.share) / TICKS_PER_S
    request.device_s += seconds
    request.usd += seconds * rank.usd_per_s
    if rank.batch == 0:
        rank.a0, rank.a1, rank.even, rank.share = 0.0, 0.0, 0.0, 0.0
    return int(context)


@jit
def leave_prefill(w: KernelWorld, r: int, place: int) -> None:
    """Take the request at a place of the prompt list out of it."""
    rank = w.ranks[r]
    request = w.requests[w.ints[rank.pre + place]]
    rank.pre_left -= request.goal - request.done
    rank.pre_count -= 1
    for later in range(place, rank.pre_count):
        w.ints[rank.pre + later] = w.ints[rank.pre + later + 1]


@jit
def private(w: KernelWorld, r: int, i: int, context: int) -> int:
    """Blocks of a request beyond the cached ones it shares."""
    rank = w.ranks[r]
    return int(pages(w, r, context) - w.requests[i].held * rank.cache_blocks)


@part
def _drop_cancelled(w: KernelWorld, r: int, tick: int) -> None:
    rank = w.ranks[r]
    rank.freed = 1
    place = 0
    while rank.cancels > 0 and place < rank.pre_count:
        i = w.ints[rank.pre + place]
        if w.requests[i].cancelled:
            rank.cancels -= 1
            leave_prefill(w, r, place)
            release(w, r, i, private(w, r, i, w.requests[i].goal))
            close(w, i, tick, CANCELLED)
        else:
            place += 1
    while rank.cancels > 0:
        # In order of id: the order of a heap says nothing, and blocks become idle in the order of leaving.
        chosen = -1
        for place in range(rank.batch):
            i = w.ints[rank.run + place]
            if w.requests[i].cancelled and (chosen < 0 or w.requests[i].id < w.requests[w.ints[rank.run + chosen]].id):
                chosen = place
        if chosen < 0:
            return
        i = w.ints[rank.run + chosen]
        rank.cancels -= 1
        context = leave_decode(w, r, chosen)
        release(w, r, i, private(w, r, i, context))
        close(w, i, tick, CANCELLED)


@jit
def _worse(w: KernelWorld, a: int, b: int) -> bool:
    """Whether request a goes behind request b."""
    first, second = w.requests[a], w.requests[b]
    if first.rank_key != second.rank_key:
        return bool(first.rank_key > second.rank_key)
    if first.arrival != second.arrival:
        return bool(first.arrival > second.arrival)
    return bool(first.id > second.id)


@jit
def _victim(w: KernelWorld, r: int) -> int:
    """The place of whoever goes behind all others: in the heap from 0, in the prompt list from -1 down."""
    rank = w.ranks[r]
    chosen, worst = 0, -1
    for place in range(rank.batch):
        i = w.ints[rank.run + place]
        if worst < 0 or _worse(w, i, worst):
            chosen, worst = place, i
    for place in range(rank.pre_count):
        i = w.ints[rank.pre + place]
        if worst < 0 or _worse(w, i, worst):
            chosen, worst = -1 - place, i
    return chosen


@jit
def _set_aside(w: KernelWorld, r: int, place: int, tick: int) -> None:
    """Preempt: the victim's blocks are freed, its cache goes to the host if there is room or is forgotten, it queues
    again."""
    rank = w.ranks[r]
    rank.disturbed, rank.freed = 1, 1
    if place < 0:
        i = w.ints[rank.pre - 1 - place]
        leave_prefill(w, r, -1 - place)
        release(w, r, i, private(w, r, i, w.requests[i].goal))
        w.requests[i].state = QUEUED
    else:
        i = w.ints[rank.run + place]
        context = leave_decode(w, r, place)
        release(w, r, i, private(w, r, i, context))
        w.requests[i].state = QUEUED
        w.requests[i].goal = context
        if rank.swapped + pages(w, r, context) <= rank.host:
            w.requests[i].state = SWAPPED
            rank.swapped += pages(w, r, context)
            swap_out(w, r, i, tick)
    request = w.requests[i]
    request.preemptions += 1
    enqueue(w, r, i)
    count_waiting(w, r, 1)


@jit
def _gives_way(w: KernelWorld, victim: int, i: int) -> bool:
    """Whether a running request is set aside for a waiting one."""
    if w.clock[0].evicts == PREEMPTS:
        return bool(w.requests[victim].rank_key > w.requests[i].rank_key)
    return bool(w.requests[victim].priority < w.requests[i].priority and _worse(w, victim, i))


@part
def _make_room(w: KernelWorld, r: int, tick: int) -> None:
    """Preempt until the decoding requests can take their next step."""
    rank = w.ranks[r]
    while rank.batch > 0 and growth(w, r, rank.verify) > free(w, r):
        _set_aside(w, r, _victim(w, r), tick)


@part
def _first(w: KernelWorld, r: int) -> int:
    """The first request in a rank's queue, or -1; those cancelled meanwhile are dropped."""
    rank = w.ranks[r]
    while True:
        i = next_in_turn(w, r) if w.clock[0].counts else rank.queue
        if i < 0 or w.requests[i].state in (QUEUED, SWAPPED):
            return int(i)
        dequeue(w, r, i)
        give_slot(w, i)


@jit
def full(w: KernelWorld, r: int) -> bool:
    """Whether a rank has no seat for another request."""
    rank = w.ranks[r]
    return bool(rank.batch + rank.pre_count + rank.moving + rank.arrived >= rank.max_batch)


@part
def _fits(w: KernelWorld, r: int, i: int) -> bool:
    """Whether a queued request can have its seat and its blocks now."""
    rank, request = w.ranks[r], w.requests[i]
    if full(w, r) or (rank.slots > 0 and request.adapter > 0 and slot_for(w, r, request.adapter) < 0):
        return False
    room = free(w, r) - growth(w, r, rank.verify)
    if request.state == SWAPPED:
        return bool(pages(w, r, request.goal + rank.verify) <= room)
    goal = request.prompt + request.generated
    hits = matched_blocks(w, r, i, goal)
    need = pages(w, r, goal) - hits * rank.cache_blocks
    for place in range(hits):
        entry = find(w, r, w.blocks[request.blocks + place])
        if w.ints[rank.entries + 5 * entry + 1] == 0:
            need += rank.cache_blocks
    return bool(need <= room)


@jit
def _begin_prompt(w: KernelWorld, r: int, i: int, hits: int) -> None:
    """A request whose first blocks are in the device's cache is computed from there on."""
    rank, request = w.ranks[r], w.requests[i]
    request.done = hits * rank.prefix_tokens
    if request.preemptions == 0:
        # The last token is computed in any case: from it comes the next one.
        request.done = max(request.done, min(w.jobs[request.id].kept, request.goal - 1))
    request.cached += max(0, request.done - request.high)
    request.high = max(request.high, request.done)
    request.state = PREFILL
    w.ints[rank.pre + rank.pre_count] = i
    rank.pre_count += 1
    rank.pre_left += request.goal - request.done


@part
def _start_prefill(w: KernelWorld, r: int, i: int, tick: int) -> None:
    rank, request = w.ranks[r], w.requests[i]
    request.goal = request.prompt + request.generated
    request.home = r
    hits = matched_blocks(w, r, i, request.goal)
    for place in range(hits):
        hold(w, r, find(w, r, w.blocks[request.blocks + place]))
    request.held = request.ready = hits
    due = load(w, r, i, tick)
    if due > tick:
        request.state = LOADING
        rank.moving += 1
        rank.used += private(w, r, i, request.goal)
        trim(w, r)
        time_out(w, i, due)
        return
    before = rank.pre_left
    _begin_prompt(w, r, i, hits)
    take = max(0, min(request.goal - request.done, rank.budget - before))
    rank.used += private(w, r, i, request.goal)
    trim(w, r)
    publish(w, r, i, request.done + take)


@part
def _admit(w: KernelWorld, r: int, tick: int) -> None:
    """Take requests from the queue as long as seats, blocks and the step's budget last."""
    rank = w.ranks[r]
    while True:
        i = _first(w, r)
        if i < 0 or (w.requests[i].state == QUEUED and rank.budget <= rank.pre_left):
            return
        request = w.requests[i]
        if not _fits(w, r, i):
            if not w.clock[0].evicts or rank.batch + rank.pre_count == 0:
                return
            place = _victim(w, r)
            victim = w.ints[rank.run + place] if place >= 0 else w.ints[rank.pre - 1 - place]
            if not _gives_way(w, victim, i):
                return
            _set_aside(w, r, place, tick)
            continue
        leave_queue(w, r, i)
        count_waiting(w, r, -1)
        request.rank = r
        rank.virtual = max(rank.virtual, request.fair_start)
        if request.started < 0:
            request.started = tick
        if request.state == SWAPPED:
            rank.used += pages(w, r, request.goal)
            rank.swapped -= pages(w, r, request.goal)
            request.home = r
            if rank.swap_beside:
                swap_in_beside(w, r, i, tick)
            else:
                stall(w, r, i, request.goal)
                join_decode(w, r, i, request.goal)
        else:
            _start_prefill(w, r, i, tick)
        trim(w, r)


@part
def _land(w: KernelWorld, r: int) -> None:
    """Requests whose cache has arrived over a link join the batch; those whose blocks and adapter have, the prompts."""
    rank = w.ranks[r]
    while rank.landed >= 0:
        i = rank.landed
        rank.landed = w.requests[i].left
        rank.arrived -= 1
        join_decode(w, r, i, w.requests[i].goal)
    while rank.loaded >= 0:
        i = rank.loaded
        rank.loaded = w.requests[i].left
        rank.arrived -= 1
        if w.requests[i].ready < 0:
            join_decode(w, r, i, w.requests[i].goal)
        else:
            publish(w, r, i, w.requests[i].ready * rank.prefix_tokens)
            _begin_prompt(w, r, i, w.requests[i].ready)


@part
def _take_shared(w: KernelWorld, r: int) -> None:
    """Of a shared store: requests whose prompt is done join the batch, their blocks stay where they are."""
    rank = w.ranks[r]
    if rank.peer < 0:
        return
    while rank.intake >= 0 and not full(w, r):
        i = rank.intake
        rank.intake = pop(w.requests, i)
        request = w.requests[i]
        if request.state != HANDED:
            give_slot(w, i)
            continue
        count_waiting(w, r, -1)
        blocks = private(w, r, i, request.goal)
        w.ranks[request.rank].used -= blocks
        rank.used += blocks
        off_prompt(w, i)
        join_decode(w, r, i, request.goal)


@part
def compose(w: KernelWorld, r: int, tick: int) -> None:
    """Settle who is in a rank's batch before anybody is admitted."""
    rank = w.ranks[r]
    rank.stall, rank.disturbed = 0, 0
    rank.step_prompt, rank.step_pairs, rank.step_decode = 0, 0.0, 0
    _land(w, r)
    if w.clock[0].every > 0:
        rank_anew(w, r)
    if rank.cancels > 0:
        _drop_cancelled(w, r, tick)
    _take_shared(w, r)
    _make_room(w, r, tick)
    while rank.peer >= 0 and rank.batch == 0 and rank.intake >= 0 and not full(w, r):
        # Whoever was set aside made room for the next, who holds blocks already.
        _take_shared(w, r)
        _make_room(w, r, tick)


@part
def fill(w: KernelWorld, r: int, tick: int, mixes: bool) -> None:
    """Admit what fits and count the step's prompt tokens and query-key pairs."""
    rank = w.ranks[r]
    if not rank.disturbed and rank.waiting > 0:
        _admit(w, r, tick)
    left, pairs = rank.budget, 0.0
    for place in range(rank.pre_count):
        request = w.requests[w.ints[rank.pre + place]]
        take = min(request.goal - request.done, left)
        left -= take
        pairs += take * (request.done + 0.5 * (take + 1))
        publish(w, r, w.ints[rank.pre + place], request.done + take)
    rank.step_prompt = rank.budget - left
    rank.step_pairs = pairs
    rank.step_decode = 1 if rank.batch > 0 and (mixes or rank.step_prompt == 0) else 0

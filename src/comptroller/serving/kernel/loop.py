"""The event loop: what happens next, until somebody has to be told."""

from __future__ import annotations

from pathlib import Path

from comptroller.serving import policies
from comptroller.serving.jit import entry, jit, part
from comptroller.serving.kernel.books import (
    close,
    count_waiting,
    free_child,
    give_slot,
    poke,
    poke_peer,
    take_slot,
    time_out,
)
from comptroller.serving.kernel.cache import pages, release
from comptroller.serving.kernel.groups import end, land, look, meter, settle, start
from comptroller.serving.kernel.loads import arrive_loaded
from comptroller.serving.kernel.queues import first_group, pop
from comptroller.serving.kernel.ranks import private
from comptroller.serving.kernel.routes import dispatch, refresh, snapshot
from comptroller.serving.kernel.turns import count_in_queue
from comptroller.serving.state import (
    ARRIVE,
    END,
    FOREVER,
    NEVER,
    OVER,
    TICKS_PER_S,
    KernelWorld,
    RequestState,
    ReturnReason,
)

PENDING, BLOCKED, TIMED = int(RequestState.PENDING), int(RequestState.BLOCKED), int(RequestState.TIMED)
WAITS, MOVING = int(RequestState.WAITS), int(RequestState.MOVING)
LOADING = int(RequestState.LOADING)
QUEUED, SWAPPED, HANDED = int(RequestState.QUEUED), int(RequestState.SWAPPED), int(RequestState.HANDED)
DONE, CANCELLED = int(RequestState.DONE), int(RequestState.CANCELLED)
IDLE, REACHED, COMPLETED = int(ReturnReason.IDLE), int(ReturnReason.REACHED), int(ReturnReason.COMPLETED)
SAMPLE, CROWDED = int(ReturnReason.SAMPLE), int(ReturnReason.CROWDED)


@jit
def _slot(w: KernelWorld, id_: int) -> int:
    """The slot of a request that has not ended."""
    slot = int(w.results[id_].slot)
    return slot if slot >= 0 else int(take_slot(w, id_))


@part
def _enter(w: KernelWorld, id_: int) -> None:
    """Take in a job: calls in order of arrival wait in a row, others by the clock or for their parent."""
    clock, job, result = w.clock[0], w.jobs[id_], w.results[id_]
    now, parent = (clock.now + 2) >> 2, int(job.parent)
    result.arrival = max(now, int(job.arrival_s * TICKS_PER_S + 0.5))
    result.started, result.first, result.last = -1, -1, -1
    result.slot, result.prompt_rank, result.token_rank = -1, -1, -1
    if job.awaits > 0:
        result.state = BLOCKED
        take_slot(w, id_)
    elif parent >= 0 and w.results[parent].state < DONE:
        result.state = BLOCKED
        child, of = take_slot(w, id_), _slot(w, parent)
        w.requests[child].sibling = w.requests[of].child
        w.requests[of].child = child
    elif parent >= 0:
        result.state = BLOCKED
        child = take_slot(w, id_)
        if w.results[parent].state == DONE:
            free_child(w, child, now, 0)
        else:
            close(w, child, now, CANCELLED)
            give_slot(w, child)
    elif result.arrival >= clock.stream_last:
        result.state = PENDING
        clock.stream_last = result.arrival
    else:
        result.state = TIMED
        time_out(w, take_slot(w, id_), result.arrival)


@jit
def _cancel(w: KernelWorld, id_: int) -> None:
    """End a request that nobody wants any more: at once where it waits, after the step where it runs."""
    if w.results[id_].state >= DONE:
        return
    i = _slot(w, id_)
    request = w.requests[i]
    now, state = w.clock[0].now >> 2, request.state
    if request.cancelled:
        return
    if state < QUEUED:
        close(w, i, now, CANCELLED)
    elif state in (QUEUED, SWAPPED):
        count_waiting(w, request.rank, -1)
        count_in_queue(w, request.rank, i, -1)
        if state == SWAPPED:
            rank = w.ranks[request.rank]
            rank.swapped -= pages(w, request.rank, request.goal)
        close(w, i, now, CANCELLED)
    elif state == HANDED:
        count_waiting(w, request.token_rank, -1)
        if w.ranks[request.rank].peer >= 0:
            settle(w, w.ranks[request.rank].peer, now)
        release(w, request.rank, i, private(w, request.rank, i, request.goal))
        poke(w, w.ranks[request.rank].leader)
        poke_peer(w, request.rank)
        close(w, i, now, CANCELLED)
    else:
        request.cancelled = 1
        if state not in (MOVING, LOADING):
            w.ranks[request.rank].cancels += 1
            poke(w, w.ranks[request.rank].leader)
    look(w, now)


@part
def _next_arrival(w: KernelWorld) -> tuple[int, int]:
    """The request that something comes for next and its tick: an id if the row is first, else -1."""
    clock = w.clock[0]
    while clock.stream < clock.count and w.results[clock.stream].state != PENDING:
        clock.stream += 1
    while clock.timed >= 0 and w.requests[clock.timed].state >= DONE:
        i = clock.timed
        clock.timed = pop(w.requests, i)
        give_slot(w, i)
    id_, tick = -1, NEVER >> 2
    if clock.stream < clock.count:
        id_, tick = clock.stream, w.results[clock.stream].arrival
    if clock.timed >= 0:
        request = w.requests[clock.timed]
        if request.order < tick or (request.order == tick and request.id < id_):
            id_, tick = -1, request.order
    return id_, tick


@part
def _arrive(w: KernelWorld, id_: int, tick: int) -> None:
    """What a request waited for has come: its arrival, the end of a wait, its cache."""
    clock = w.clock[0]
    if id_ >= 0:
        clock.stream += 1
        i = _slot(w, id_)
    else:
        i = clock.timed
        clock.timed = pop(w.requests, i)
    request = w.requests[i]
    if request.state == MOVING:
        land(w, i, tick)
    elif request.state == LOADING:
        arrive_loaded(w, i, tick)
    elif request.state == WAITS:
        request.first = tick
        close(w, i, tick, DONE)
    elif request.prompt == 0:
        request.state = WAITS
        w.results[request.id].state = WAITS
        request.started = tick
        time_out(w, i, tick + int(w.jobs[request.id].wait_s * TICKS_PER_S + 0.5))
    else:
        w.results[request.id].state = QUEUED
        dispatch(w, i, tick)
    look(w, tick)


@part
def _observe(w: KernelWorld, last: int) -> int:
    """Take the snapshot or the sample that is due first by then: 0 if none is, 1 a snapshot, 2 a sample."""
    clock = w.clock[0]
    shot = clock.next_snapshot if clock.snapshot_every > 0 else NEVER >> 2
    sample = clock.next_sample if clock.sample_every > 0 else NEVER >> 2
    first = min(shot, sample)
    if 4 * first + ARRIVE > last:
        return 0
    clock.now = 4 * first + ARRIVE
    if first == shot:
        snapshot(w, first)
        return 1
    refresh(w, first)
    meter(w, first)
    clock.next_sample += clock.sample_every
    return 2


@part
def _take_in(w: KernelWorld, cancels: int) -> bool:
    """Enter the new jobs, then cancel so many requests; false if slots ran out."""
    clock = w.clock[0]
    while clock.count < clock.entering:
        if clock.spares < 2:
            return False
        _enter(w, clock.count)
        clock.count += 1
    for place in range(cancels):
        _cancel(w, w.ints[clock.cancels + place])
    # Groups whose level was set; a run of theirs goes no further than the step under way.
    look(w, clock.now >> 2)
    return True


def _advance(w: KernelWorld, cancels: int, until: int) -> int:
    """Enter the new jobs, cancel so many requests (their ids at `cancels`), then let happen what happens up
    to a tick. Why it returned."""
    clock = w.clock[0]
    if not _take_in(w, cancels):
        return CROWDED
    while True:
        id_, tick = _next_arrival(w)
        group_key = w.ints[clock.tree + 1]
        key = min(group_key, 4 * tick + ARRIVE)
        if clock.out_first >= 0 and key > clock.out_key:
            return COMPLETED
        if clock.spares < 2:
            return CROWDED
        seen = _observe(w, min(key, 4 * until + ARRIVE)) if key < NEVER else 0
        if seen == 2:
            return SAMPLE
        if seen == 1:
            continue
        if key >> 2 > until or key >= NEVER:
            if until < FOREVER:
                clock.now = max(clock.now, 4 * until + OVER)
            return IDLE if key >= NEVER else REACHED
        clock.now = key
        if group_key > key:
            _arrive(w, id_, tick)
        elif key & 3 == END:
            end(w, first_group(w), key >> 2)
            look(w, key >> 2)
        else:
            start(w, first_group(w), key >> 2)
            look(w, key >> 2)


_HERE = Path(__file__).parent
SOURCES = [
    *(_HERE.parent / name for name in ("jit.py", "pointers.py", "state.py")),
    *_HERE.glob("*.py"),
    *(
        file
        for file in Path(policies.__file__).parent.rglob("*.py")
        if file.parent.name not in ("scaling", "spot", "power", "pools")
    ),
]
advance = entry(_advance, SOURCES)

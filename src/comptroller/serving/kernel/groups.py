"""Groups of ranks in lockstep: starting a step or a run, cutting a run short, ending it."""

from __future__ import annotations

from typing import Any

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.books import close, count_waiting, give_slot, off_prompt, poke, poke_peer, see, time_out
from comptroller.serving.kernel.cache import free, growth, move_on, pages, publish, release, share, trim
from comptroller.serving.kernel.decisions import budget
from comptroller.serving.kernel.queues import pop, push, set_key
from comptroller.serving.kernel.ranks import compose, fill, full, join_decode, leave_decode, leave_prefill, private
from comptroller.serving.kernel.runs import run_length
from comptroller.serving.kernel.steps import (
    decode_ticks,
    meter_part,
    pass_run,
    prompt_ticks,
    spend_step,
    take_level,
    walk_group,
)
from comptroller.serving.kernel.turns import count_service, enqueue
from comptroller.serving.policies.view import PENDING
from comptroller.serving.state import END, NEVER, OVER, START, TICKS_PER_S, GroupActivity, KernelWorld, RequestState

IDLE, READY, STEP, RUN = (
    int(GroupActivity.IDLE),
    int(GroupActivity.READY),
    int(GroupActivity.STEP),
    int(GroupActivity.RUN),
)
QUEUED, HANDED = int(RequestState.QUEUED), int(RequestState.HANDED)
MOVING, LANDED = int(RequestState.MOVING), int(RequestState.LANDED)
DONE, CANCELLED = int(RequestState.DONE), int(RequestState.CANCELLED)


@jit
def settle(w: KernelWorld, group: int, tick: int) -> None:
    """Let the decode steps of a run that have ended by now have happened."""
    leader = w.ranks[group]
    if leader.kind != RUN or tick <= leader.since:
        return
    done, ticks = walk_group(w, group, leader.planned, tick - leader.since)
    if done == 0:
        return
    for r in range(group, group + leader.ranks):
        pass_run(w, r, done, ticks)
    leader.since += ticks
    leader.planned -= done


@jit
def meter(w: KernelWorld, tick: int) -> None:
    """Bring the meters of all ranks up to a tick, the steps under way included."""
    for r in range(w.clock[0].ranks):
        rank = w.ranks[r]
        settle(w, rank.leader, tick)
        kind = w.ranks[rank.leader].kind
        rank.part_ticks, rank.part_j = 0, 0.0
        if kind >= STEP:
            meter_part(w, r, tick, kind == STEP)


@part
def ready(w: KernelWorld, group: int, tick: int) -> None:
    """The group starts its next step at this tick."""
    w.ranks[group].kind = READY
    set_key(w, group, 4 * tick + START)


@part
def cut(w: KernelWorld, group: int, tick: int) -> None:
    """End a run with the step under way: who is in it, or what memory it finds, is about to change."""
    leader = w.ranks[group]
    if leader.kind != RUN or leader.since + leader.length <= tick:
        return
    before = leader.since
    settle(w, group, tick)
    leader.length -= leader.since - before
    if leader.since == tick and leader.started < tick and w.clock[0].now & 3 != OVER:
        ready(w, group, tick)
    elif leader.planned > 1:
        leader.planned = 1
        leader.length = walk_group(w, group, 1, NEVER)[1]
        set_key(w, group, 4 * (leader.since + leader.length) + END)


@part
def look(w: KernelWorld, tick: int) -> None:
    """Attend to the groups that were poked."""
    clock = w.clock[0]
    for place in range(clock.poke_count):
        group = w.ints[clock.pokes + place]
        w.ranks[group].poked = 0
        if w.ranks[group].kind == IDLE:
            ready(w, group, tick)
        else:
            cut(w, group, tick)
    clock.poke_count = 0


@part
def _receive(w: KernelWorld, r: int, tick: int) -> None:
    """Start the transfers of the requests handed over that have a seat and blocks here."""
    rank = w.ranks[r]
    while rank.intake >= 0 and not full(w, r):
        i = rank.intake
        request = w.requests[i]
        if request.state == HANDED:
            need = pages(w, r, request.goal)
            if need + growth(w, r, rank.verify) > free(w, r):
                return
            sender = w.ranks[request.rank]
            due = max(tick, sender.link_free) + int(request.goal * sender.move_ticks + 0.5)
            sender.link_free = due
            rank.used += need
            rank.moving += 1
            request.state = MOVING
            count_waiting(w, r, -1)
            rank.intake = pop(w.requests, i)
            time_out(w, i, due)
            trim(w, r)
        else:
            rank.intake = pop(w.requests, i)
            give_slot(w, i)


@jit
def _at_work(rank: Any) -> bool:
    """Whether anybody on a rank goes on without waiting for another rank."""
    return bool(rank.batch + rank.pre_count + rank.moving + rank.arrived > 0)


@part
def _take_over(w: KernelWorld, r: int) -> bool:
    """Of two ranks that hand over to each other and hold what the other waits for, one takes a request without its
    cache, to compute it again."""
    rank = w.ranks[r]
    while rank.intake >= 0 and w.requests[rank.intake].state != HANDED:
        i = rank.intake
        rank.intake = pop(w.requests, i)
        give_slot(w, i)
    if rank.intake < 0 or rank.peer >= 0 or _at_work(rank):
        return False
    i = rank.intake
    request = w.requests[i]
    sender = request.rank
    if _at_work(w.ranks[sender]):
        return False
    rank.intake = pop(w.requests, i)
    release(w, sender, i, private(w, sender, i, request.goal))
    off_prompt(w, i)
    poke(w, w.ranks[sender].leader)
    request.state, request.rank = QUEUED, r
    request.preemptions += 1
    enqueue(w, r, i)
    return True


@part
def _step_ticks(w: KernelWorld, r: int) -> int:
    rank = w.ranks[r]
    ticks = rank.stall
    if rank.step_prompt > 0:
        ticks += prompt_ticks(w, r)
    elif rank.step_decode:
        ticks += decode_ticks(w, r, rank.sum + rank.batch * rank.g)
    rank.own_ticks = ticks
    return int(ticks)


@part
def start(w: KernelWorld, group: int, tick: int) -> None:
    """Begin the next step of a group, or a run of equal ones, or rest."""
    leader = w.ranks[group]
    plain, ticks, steps = True, 0, NEVER
    for r in range(group, group + leader.ranks):
        rank = w.ranks[r]
        if rank.peer >= 0:
            cut(w, rank.peer, tick)
        if rank.besides > 0 or rank.level != rank.level_due:
            take_level(w, r)
        compose(w, r, tick)
        rank.budget, mixes = budget(w.clock[0].batching, rank.batch * rank.verify, rank.chunk)
        if rank.intake >= 0 and rank.peer < 0 and not rank.disturbed:
            _receive(w, r, tick)
        fill(w, r, tick, mixes)
        if rank.freed:
            rank.freed = 0
            poke_peer(w, r)
        ticks = max(ticks, _step_ticks(w, r))
        if rank.step_prompt > 0 or rank.stall > 0 or rank.disturbed:
            plain = False
    if ticks == 0:
        leader.kind = IDLE
        set_key(w, group, NEVER)
        for r in range(group, group + leader.ranks):
            # Who set somebody aside admits nobody in the same step, so there may be room by now.
            if w.ranks[r].disturbed or _take_over(w, r):
                ready(w, group, tick)
        return
    leader.since = leader.started = tick
    leader.kind, leader.planned = STEP, 1
    if plain:
        leader.kind = RUN
        for r in range(group, group + leader.ranks):
            if w.ranks[r].batch > 0:
                steps = min(steps, run_length(w, r))
        leader.planned, ticks = walk_group(w, group, steps, NEVER)
    leader.length = ticks
    set_key(w, group, 4 * (tick + ticks) + END)


@part
def _pass_prompts(w: KernelWorld, r: int, ticks: int) -> None:
    """Book the prompt tokens of a step and what they used; those computed before are waste."""
    rank = w.ranks[r]
    tokens = rank.step_prompt + (rank.batch * rank.verify if rank.step_decode else 0)
    per_token, per_pair = spend_step(w, r, ticks)
    left = rank.budget
    for place in range(rank.pre_count):
        request = w.requests[w.ints[rank.pre + place]]
        take = min(request.goal - request.done, left)
        if take == 0:
            break
        left -= take
        joules = take * per_token + take * (request.done + 0.5 * (take + 1)) * per_pair
        again = max(0, min(request.done + take, request.high) - request.done)
        request.j_waste += joules * again / take
        request.j_prefill += joules * (take - again) / take
        seconds = ticks / TICKS_PER_S * take / tokens
        request.device_s += seconds
        request.usd += seconds * rank.usd_per_s
        request.done += take
        request.recomputed += again
        request.computed += take - again
        request.high = max(request.high, request.done)
        request.steps += 1
        rank.pre_left -= take
        rank.prompt_done += take - again
        rank.recomputed += again


@part
def _pass_step(w: KernelWorld, r: int, ticks: int) -> None:
    """Let a single step of a rank have happened."""
    rank = w.ranks[r]
    if rank.step_prompt == 0:
        if rank.step_decode:
            pass_run(w, r, 1, ticks)
            if w.ranks[rank.leader].ranks > 1:
                rank.busy += rank.stall
        else:
            rank.busy += rank.stall
        return
    _pass_prompts(w, r, ticks)
    rank.busy += rank.own_ticks
    rank.steps += 1
    if rank.step_decode:
        move_on(w, r, 1)


@jit
def _finish(w: KernelWorld, r: int, i: int, context: int, tick: int) -> None:
    request = w.requests[i]
    publish(w, r, i, min(context, request.prompt + request.output - 1))
    share(w, r, i)
    release(w, r, i, private(w, r, i, context))
    if request.cancelled:
        w.ranks[r].cancels -= 1
    close(w, i, tick, DONE)
    poke_peer(w, r)


@part
def _hand_over(w: KernelWorld, r: int, i: int, tick: int) -> None:
    """The prompt is done; the request goes on in the token pool."""
    request = w.requests[i]
    if request.cancelled:
        w.ranks[r].cancels -= 1
        release(w, r, i, private(w, r, i, request.goal))
        close(w, i, tick, CANCELLED)
        poke_peer(w, r)
        return
    taker = w.ranks[request.token_rank]
    request.state = HANDED
    taker.intake = push(w.requests, taker.intake, i, request.rank_key, request.arrival)
    count_waiting(w, request.token_rank, 1)
    poke(w, taker.leader)


@part
def _end_prompts(w: KernelWorld, r: int, tick: int) -> None:
    """Prompts that are done give a token and go on to decode."""
    rank = w.ranks[r]
    place = 0
    while place < rank.pre_count:
        i = w.ints[rank.pre + place]
        request = w.requests[i]
        if request.done < request.goal:
            return
        leave_prefill(w, r, place)
        publish(w, r, i, request.goal)
        share(w, r, i)
        request.generated += 1
        if w.clock[0].counts:
            count_service(w, r, request.tenant, w.clock[0].output_weight)
        rank.decode_done += 1
        if request.first < 0:
            request.first = tick
            see(w, request.prompt_rank, PENDING, -request.prompt)
        if request.generated == request.output:
            _finish(w, r, i, request.goal, tick)
        elif r == request.prompt_rank and r != request.token_rank:
            _hand_over(w, r, i, tick)
        else:
            join_decode(w, r, i, request.goal)


@part
def end(w: KernelWorld, group: int, tick: int) -> None:
    """A step or a run of a group ends; what is done leaves."""
    leader = w.ranks[group]
    for r in range(group, group + leader.ranks):
        if leader.kind == RUN:
            pass_run(w, r, leader.planned, tick - leader.since)
        else:
            _pass_step(w, r, tick - leader.since)
    # From here on nothing is under way: who asks what memory is in flight must not count it twice.
    leader.kind = READY
    for r in range(group, group + leader.ranks):
        rank = w.ranks[r]
        if rank.peer >= 0:
            # What the other grew by before this moment it took from the store as it was before.
            settle(w, rank.peer, tick - 1)
        while rank.batch > 0 and w.ints[rank.due] <= rank.g:
            i = w.ints[rank.run]
            _finish(w, r, i, leave_decode(w, r, 0), tick)
        if rank.step_prompt > 0:
            _end_prompts(w, r, tick)
    ready(w, group, tick)


@part
def land(w: KernelWorld, i: int, tick: int) -> None:
    """A request's cache has crossed the link: its prompt rank is free of it."""
    request = w.requests[i]
    sender, taker = request.rank, w.ranks[request.token_rank]
    release(w, sender, i, private(w, sender, i, request.goal))
    off_prompt(w, i)
    poke(w, w.ranks[sender].leader)
    taker.moving -= 1
    if request.cancelled:
        taker.used -= pages(w, request.token_rank, request.goal)
        close(w, i, tick, CANCELLED)
    else:
        request.state = LANDED
        request.rank = request.token_rank
        request.home = request.token_rank
        request.left = taker.landed
        taker.landed = i
        taker.arrived += 1
    poke(w, taker.leader)

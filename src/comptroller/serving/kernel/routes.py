"""Which rank takes a request, and its place in the queue there."""

from __future__ import annotations

import numpy as np

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.books import close, count_dispatch, count_waiting, poke
from comptroller.serving.kernel.cache import occupied_blocks, pages, reachable_blocks
from comptroller.serving.kernel.decisions import choose, rank_key
from comptroller.serving.kernel.groups import settle
from comptroller.serving.kernel.ranks import full
from comptroller.serving.kernel.turns import enqueue
from comptroller.serving.policies.view import COLUMNS, KV, MATCH, PENDING, QUEUED, RESERVED
from comptroller.serving.state import GroupActivity, KernelWorld, PoolRole, RequestState

RUN = int(GroupActivity.RUN)
IN_QUEUE, REFUSED = int(RequestState.QUEUED), int(RequestState.REFUSED)
MIXED, PROMPT, TOKEN = int(PoolRole.MIXED), int(PoolRole.PROMPT), int(PoolRole.TOKEN)


@jit
def refresh(w: KernelWorld, tick: int) -> None:
    """Bring the cache column of the view up to date."""
    clock = w.clock[0]
    for r in range(clock.ranks):
        rank = w.ranks[r]
        settle(w, rank.leader, tick)
        w.floats[clock.seen + KV * clock.ranks + r] = occupied_blocks(w, r) * rank.block // rank.block_units


@part
def snapshot(w: KernelWorld, tick: int) -> None:
    """Take the view for later."""
    refresh(w, tick)
    clock = w.clock[0]
    size = clock.ranks * COLUMNS
    place = clock.snapshots + clock.snapshot_count % clock.snapshot_depth * size
    for column in range(size):
        w.floats[place + column] = w.floats[clock.seen + column]
    clock.snapshot_count += 1
    clock.next_snapshot += clock.snapshot_every


@part
def _visible(w: KernelWorld, tick: int) -> int:
    """Where the view stands that the router has at this tick."""
    clock = w.clock[0]
    if clock.snapshot_every == 0:
        return int(clock.seen)
    latest = max(0, (tick - clock.snapshot_delay) // clock.snapshot_every)
    return int(clock.snapshots + latest % clock.snapshot_depth * clock.ranks * COLUMNS)


@jit
def _holds(w: KernelWorld, r: int, i: int) -> bool:
    """Whether a rank could ever serve a request: context and cache are long enough."""
    rank, request = w.ranks[r], w.requests[i]
    total = request.prompt + request.output
    return bool(total <= rank.context and pages(w, r, total + rank.verify) <= rank.capacity)


@jit
def _candidates(w: KernelWorld, i: int, pool: int) -> int:
    """Write the ranks that may take a request to the scratch list; how many. Pool -1 is any."""
    clock = w.clock[0]
    entry = clock.candidates + 4 * int(w.jobs[w.requests[i].id].service)
    first, count = w.ints[entry], 0
    for place in range(w.ints[entry + 1]):
        r = w.ints[first + place]
        if (pool < 0 or w.ranks[r].pool == pool) and _holds(w, r, i):
            w.ints[clock.scratch + count] = r
            count += 1
    return count


@part
def _entry(w: KernelWorld, view_at: int, r: int, column: int) -> float:
    return float(w.floats[view_at + column * w.clock[0].ranks + r])


@part
def _pick(w: KernelWorld, i: int, policy: int, first: int, count: int, view_at: int) -> int:
    clock = w.clock[0]
    view = np.asarray(w.floats[view_at : view_at + clock.ranks * COLUMNS]).reshape(COLUMNS, clock.ranks).T
    return int(choose(policy, view, np.asarray(w.ints[first : first + count]), w.requests[i], clock))


@jit
def _fewest(w: KernelWorld, view_at: int, count: int, column: int) -> int:
    """Of the scratch list, the rank without a shared store that has least in a column."""
    best = -1
    for place in range(count):
        r = w.ints[w.clock[0].scratch + place]
        better = best < 0 or _entry(w, view_at, r, column) < _entry(w, view_at, best, column)
        if better and w.ranks[r].peer < 0:
            best = r
    return best


@part
def _prompt_rank(w: KernelWorld, i: int, view_at: int) -> int:
    """A rank of the prompt pool, or of the mixed one, whose queue is not long."""
    clock = w.clock[0]
    for turn in range(2):
        count = _candidates(w, i, PROMPT if turn == 0 else MIXED)
        if count > 0:
            r = _pick(w, i, clock.routing, clock.scratch, count, view_at)
            waits = _entry(w, view_at, r, PENDING) + w.requests[i].prompt > clock.max_pending
            if not (_entry(w, view_at, r, QUEUED) > 0 and waits):
                return int(r)
    return -1


@part
def _token_rank(w: KernelWorld, i: int, view_at: int) -> int:
    """A rank of the token pool, or of the mixed one, whose memory is not spoken for."""
    clock = w.clock[0]
    expected = w.requests[i].prompt + w.requests[i].predicted
    for turn in range(2):
        count = _candidates(w, i, TOKEN if turn == 0 else MIXED)
        if count > 0:
            r = _pick(w, i, clock.handoff, clock.scratch, count, view_at)
            taken = _entry(w, view_at, r, RESERVED)
            if taken + expected < w.ranks[r].capacity * w.ranks[r].block // w.ranks[r].block_units:
                return int(r)
    return -1


@part
def _route_split(w: KernelWorld, i: int, view_at: int) -> None:
    """Prompt, token and mixed pools, as Splitwise's mixed-pool scheduler fills them."""
    request = w.requests[i]
    prompt = _prompt_rank(w, i, view_at)
    if prompt >= 0 and w.ranks[prompt].peer >= 0:
        request.prompt_rank, request.token_rank = prompt, w.ranks[prompt].peer
        return
    token = _token_rank(w, i, view_at)
    if prompt < 0:
        prompt = _fewest(w, view_at, _candidates(w, i, TOKEN), PENDING)
        if prompt >= 0:
            w.ranks[prompt].pool = MIXED
    if token < 0:
        token = _fewest(w, view_at, _candidates(w, i, PROMPT), RESERVED)
        if token >= 0:
            w.ranks[token].pool = MIXED
    if prompt < 0 or token < 0:
        prompt = _fewest(w, view_at, _candidates(w, i, -1), PENDING)
        token = prompt
    if prompt < 0:
        # Every store is shared: whoever the policy names has to take it, long queue or not.
        count = _candidates(w, i, PROMPT)
        if count > 0:
            prompt = _pick(w, i, w.clock[0].routing, w.clock[0].scratch, count, view_at)
            token = w.ranks[prompt].peer
    request.prompt_rank, request.token_rank = prompt, token


@part
def _enqueue(w: KernelWorld, r: int, i: int) -> None:
    rank, request = w.ranks[r], w.requests[i]
    tag = rank.tags + request.tenant
    request.fair_start = max(rank.virtual, w.floats[tag])
    w.floats[tag] = request.fair_start + request.prompt + request.predicted
    request.epoch = rank.epoch
    request.rank_key = 0.0 if w.clock[0].counts else rank_key(w.clock[0].scheduling, request)
    request.state = IN_QUEUE
    request.rank = r
    enqueue(w, r, i)
    count_waiting(w, r, 1)
    if w.ranks[rank.leader].kind != RUN or w.clock[0].evicts or not full(w, r):
        poke(w, rank.leader)


@part
def dispatch(w: KernelWorld, i: int, tick: int) -> None:
    """Send a request that has just arrived to its rank, or refuse it."""
    clock, request = w.clock[0], w.requests[i]
    entry = clock.candidates + 4 * int(w.jobs[request.id].service)
    first, count, split = w.ints[entry], w.ints[entry + 1], w.ints[entry + 2]
    clock.turn = w.ints[entry + 3]
    view_at = _visible(w, tick)
    if clock.needs_kv and clock.snapshot_every == 0:
        refresh(w, tick)
    if request.prompt + request.output > clock.shortest:
        count = _candidates(w, i, -1)
        first = clock.scratch
    if count == 0:
        close(w, i, tick, REFUSED)
        return
    if clock.needs_match:
        for place in range(count):
            r = w.ints[first + place]
            settle(w, w.ranks[r].leader, tick)
            if w.ranks[r].peer >= 0:
                settle(w, w.ranks[r].peer, tick)
            hits = reachable_blocks(w, r, i, request.prompt)
            w.floats[view_at + MATCH * clock.ranks + r] = hits * w.ranks[r].prefix_tokens

    if split:
        _route_split(w, i, view_at)
    else:
        request.prompt_rank = _pick(w, i, clock.routing, first, count, view_at)
        request.token_rank = request.prompt_rank
    if request.prompt_rank < 0:
        close(w, i, tick, REFUSED)
        return
    w.ints[entry + 3] += 1
    if clock.counts:
        settle(w, w.ranks[request.prompt_rank].leader, tick)
    count_dispatch(w, i)
    _enqueue(w, request.prompt_rank, i)

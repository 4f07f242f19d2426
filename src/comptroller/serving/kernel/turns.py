"""Queues by tenant for policies that are asked anew before every admission, and the service that tenants have had.

A tenant's counter is what a virtual token counter holds (Sheng et al., Fairness in Serving Large Language Models, OSDI
2024, algorithm 2): prompt tokens at admission, output tokens as they are made, each with its weight. Of decoding
requests it is kept as a line over the rank's steps, so that runs of steps need no look at it. A tenant that comes back
is lifted to the least counter of those who wait, or to that of whoever left the queue last.
"""

from __future__ import annotations

from comptroller.serving.jit import jit
from comptroller.serving.kernel.decisions import rank_key
from comptroller.serving.kernel.queues import pop, push
from comptroller.serving.state import KernelWorld

QUEUE, WAITING, DECODING = range(3)
"""Fields of a tenant on a rank, three numbers each in the arena: its queue, live requests in it, those that decode."""


@jit
def counter(w: KernelWorld, r: int, tenant: int) -> float:
    """The service that a tenant has had on a rank."""
    rank = w.ranks[r]
    decoding = w.ints[rank.turns + 3 * tenant + DECODING]
    return float(w.floats[rank.counters + tenant] + w.clock[0].output_weight * decoding * float(rank.g))


@jit
def count_service(w: KernelWorld, r: int, tenant: int, amount: float) -> None:
    """A tenant has had so much service."""
    w.floats[w.ranks[r].counters + tenant] += amount


@jit
def count_decoding(w: KernelWorld, r: int, tenant: int, change: int) -> None:
    """A request of a tenant joins or leaves the batch at this step; what it has had till now is settled."""
    rank = w.ranks[r]
    w.ints[rank.turns + 3 * tenant + DECODING] += change
    w.floats[rank.counters + tenant] -= w.clock[0].output_weight * change * float(rank.g)


@jit
def _lift(w: KernelWorld, r: int, tenant: int) -> None:
    """A tenant without requests in the queue comes back: it brings no credit from when it was away."""
    rank = w.ranks[r]
    least, waits = 0.0, False
    for other in range(w.clock[0].tenants):
        if w.ints[rank.turns + 3 * other + WAITING] > 0:
            had = counter(w, r, other)
            least = had if not waits else min(least, had)
            waits = True
    if not waits and rank.last_turn >= 0:
        least, waits = counter(w, r, rank.last_turn), True
    if waits:
        count_service(w, r, tenant, max(0.0, least - counter(w, r, tenant)))


@jit
def count_in_queue(w: KernelWorld, r: int, i: int, change: int) -> None:
    """A live request joins or leaves its tenant's queue."""
    if w.clock[0].counts:
        w.ints[w.ranks[r].turns + 3 * w.requests[i].tenant + WAITING] += change


@jit
def enqueue(w: KernelWorld, r: int, i: int) -> None:
    """A request takes its place in a rank's queue, or in its tenant's there."""
    rank, request = w.ranks[r], w.requests[i]
    if not w.clock[0].counts:
        rank.queue = push(w.requests, rank.queue, i, request.rank_key, request.arrival)
        return
    place = rank.turns + 3 * request.tenant
    if w.ints[place + WAITING] == 0:
        _lift(w, r, request.tenant)
    w.ints[place + QUEUE] = push(w.requests, w.ints[place + QUEUE], i, 0.0, request.arrival)
    count_in_queue(w, r, i, 1)


@jit
def dequeue(w: KernelWorld, r: int, i: int) -> None:
    """The request at the head of a rank's queue, or of its tenant's, leaves it."""
    rank, request = w.ranks[r], w.requests[i]
    if not w.clock[0].counts:
        rank.queue = pop(w.requests, i)
        return
    place = rank.turns + 3 * request.tenant
    w.ints[place + QUEUE] = pop(w.requests, i)


@jit
def leave_queue(w: KernelWorld, r: int, i: int) -> None:
    """A request is admitted from the head of the queue; its prompt counts as service the first time."""
    dequeue(w, r, i)
    rank, request = w.ranks[r], w.requests[i]
    if w.clock[0].counts:
        count_in_queue(w, r, i, -1)
        rank.last_turn = request.tenant
        if request.started < 0:
            count_service(w, r, request.tenant, w.clock[0].input_weight * request.prompt)


@jit
def next_in_turn(w: KernelWorld, r: int) -> int:
    """Of the first request of every tenant, the one that the policy puts first; ties go by arrival. -1 for none."""
    rank, chosen, best = w.ranks[r], -1, 0.0
    for tenant in range(w.clock[0].tenants):
        i = w.ints[rank.turns + 3 * tenant + QUEUE]
        if i >= 0:
            request = w.requests[i]
            request.counter = counter(w, r, tenant)
            key = rank_key(w.clock[0].scheduling, request)
            first = chosen < 0 or key < best
            if not first and key == best:
                other = w.requests[chosen]
                first = request.arrival < other.arrival or (request.arrival == other.arrival and request.id < other.id)
            if first:
                chosen, best = int(i), key
    return chosen


@jit
def rank_anew(w: KernelWorld, r: int) -> None:
    """Every so many steps of a rank its policy is asked again of all that wait and run, of another epoch."""
    rank, every = w.ranks[r], w.clock[0].every
    if rank.steps // every == rank.epoch:
        return
    rank.epoch = rank.steps // every
    for place in range(rank.batch):
        _ask_again(w, r, w.ints[rank.run + place])
    for place in range(rank.pre_count):
        _ask_again(w, r, w.ints[rank.pre + place])
    old, fresh = rank.queue, -1
    while old >= 0:
        i = old
        old = pop(w.requests, i)
        _ask_again(w, r, i)
        fresh = push(w.requests, fresh, i, w.requests[i].rank_key, w.requests[i].arrival)
    rank.queue = fresh


@jit
def _ask_again(w: KernelWorld, r: int, i: int) -> None:
    w.requests[i].epoch = w.ranks[r].epoch
    w.requests[i].rank_key = rank_key(w.clock[0].scheduling, w.requests[i])

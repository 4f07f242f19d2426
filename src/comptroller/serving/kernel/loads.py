"""What a request waits for before its prompt is computed: blocks from stores outside the device, and its adapter."""

from __future__ import annotations

from comptroller.serving.jit import jit, part
from comptroller.serving.kernel.books import close, poke, poke_peer
from comptroller.serving.kernel.cache import find, pages, reachable_blocks, release
from comptroller.serving.kernel.stores import claim_slot, load_block, store_with
from comptroller.serving.state import KernelWorld, RequestState

LOADED, CANCELLED = int(RequestState.LOADED), int(RequestState.CANCELLED)


@jit
def load(w: KernelWorld, r: int, i: int, tick: int) -> int:
    """When everything is in the device that a request has outside of it: its adapter, and blocks in stores."""
    rank, request = w.ranks[r], w.requests[i]
    due = tick
    if rank.slots > 0 and request.adapter > 0:
        due = max(due, claim_slot(w, r, i, tick))
    if rank.store >= 0:
        request.ready = reachable_blocks(w, r, i, request.goal)
        there = max(tick, rank.load_free)
        loads = 0
        for place in range(request.held, request.ready):
            block = w.blocks[request.blocks + place]
            if find(w, r, block) < 0:
                there = load_block(w, r, store_with(w, rank.store, block), block, there)
                request.loaded += rank.prefix_tokens
                loads += 1
        if loads > 0:
            rank.load_free = there
            due = max(due, there)
    return int(due)


@part
def arrive_loaded(w: KernelWorld, i: int, tick: int) -> None:
    """A request's blocks and adapter are in the device: its prompt goes on in the next step."""
    request = w.requests[i]
    r = request.rank
    rank = w.ranks[r]
    rank.moving -= 1
    if request.cancelled:
        release(w, r, i, pages(w, r, request.goal) - request.held * rank.cache_blocks)
        close(w, i, tick, CANCELLED)
        poke_peer(w, r)
    else:
        request.state = LOADED
        rank.arrived += 1
        last, following = -1, rank.loaded
        # What lands in one tick goes on in the order in which it arrived, whatever the numbers of its rows.
        while following >= 0 and (
            w.requests[following].order < request.order or w.requests[following].arrival <= request.arrival
        ):
            last, following = following, w.requests[following].left
        request.left = following
        if last < 0:
            rank.loaded = i
        else:
            w.requests[last].left = i
    poke(w, rank.leader)

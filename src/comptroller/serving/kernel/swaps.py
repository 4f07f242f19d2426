"""Caches that cross the link to the host's memory and back: beside the steps, or while the step waits."""

from __future__ import annotations

from comptroller.serving.jit import jit
from comptroller.serving.kernel.books import time_out
from comptroller.serving.state import TICKS_PER_S, KernelWorld, RequestState

LOADING = int(RequestState.LOADING)


@jit
def swap_ticks(w: KernelWorld, r: int, tokens: int) -> int:
    """Ticks that so many tokens of cache take on the host link: their bytes, and the calls that move their chunks."""
    rank = w.ranks[r]
    ticks = int(tokens * rank.swap_ticks + 0.5)
    if rank.swap_chunk > 0:
        ticks += (tokens + rank.swap_chunk - 1) // rank.swap_chunk * rank.swap_chunk_ticks
    return int(ticks)


@jit
def stall(w: KernelWorld, r: int, i: int, tokens: int) -> None:
    """The step waits for a request's cache to cross the host link; the energy of waiting is waste."""
    rank, request = w.ranks[r], w.requests[i]
    ticks = swap_ticks(w, r, tokens)
    rank.stall += ticks
    joules = rank.idle_w * (ticks / TICKS_PER_S)
    rank.joules += joules
    request.j_waste += joules


@jit
def swap_out(w: KernelWorld, r: int, i: int, tick: int) -> None:
    """A request's cache goes to the host: all of it while the step waits, or beside the steps what is not there yet."""
    rank, request = w.ranks[r], w.requests[i]
    if rank.swap_beside:
        ticks = swap_ticks(w, r, request.goal - min(request.copied, request.goal))
        rank.load_free = max(tick, rank.load_free) + ticks
        request.copied = request.goal
    else:
        stall(w, r, i, request.goal)


@jit
def swap_in_beside(w: KernelWorld, r: int, i: int, tick: int) -> None:
    """A request's cache comes back over the link, behind what is on it, while others step on."""
    rank, request = w.ranks[r], w.requests[i]
    rank.load_free = max(tick, rank.load_free) + swap_ticks(w, r, request.goal)
    request.state, request.ready = LOADING, -1
    rank.moving += 1
    time_out(w, i, rank.load_free)
